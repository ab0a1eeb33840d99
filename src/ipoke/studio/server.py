"""The studio's server: one page, and a JSON API that the page uses, described in docs/studio_api.md."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ipoke.core.version import __version__
from ipoke.sampling.model import PokeModel, bundled_stills
from ipoke.studio.answers import Answers
from ipoke.studio.bodies import Bodies
from ipoke.studio.decoding import Decoder
from ipoke.studio.encoding import png
from ipoke.studio.exporting import parts_of
from ipoke.studio.guard import Guard
from ipoke.studio.jobs import Job, Steps
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.pictures import Picture, Pictures
from ipoke.studio.problem import Problem, one_line
from ipoke.studio.questions import AnySection, CommandQuestion, ExportQuestion, PointQuestion, Question, parsed
from ipoke.studio.sessions import MEDIA, checked, commands
from ipoke.studio.turns import Turns
from ipoke.studio.visitors import Visitor, visitor_of
from ipoke.studio.writing import written

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
Endpoint = Callable[[Request], Awaitable[Response]]


class Studio:
    """Answers calls with one model; holds the pictures and the jobs of all visitors."""

    def __init__(self, model: PokeModel, model_name: str, limits: Limits = LIMITS) -> None:
        self.model, self.model_name, self.limits = model, model_name, limits
        self.answers, self.decoder, self.bodies = Answers(model, limits), Decoder(limits), Bodies(limits)
        self.pictures, self.turns = (
            Pictures(bundled_stills(), limits),
            Turns(self.answers.draw_batch, limits, self.answers.ahead),
        )
        self.bundled_png = {picture.id: png(picture.image) for picture in self.pictures.bundled()}
        self._parsing = asyncio.Lock()
        self.files = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.suffix in TYPES}

    async def page(self, request: Request) -> Response:
        """Return the page, or one of its files."""
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            raise Problem(404, f"{one_line(name, 80)}: there is no such file")
        return Response(self.files[name], media_type=TYPES[Path(name).suffix], headers={"cache-control": "no-cache"})

    async def about(self, request: Request) -> Response:
        """Describe the server: version, model, bundled pictures, limits."""
        model = {
            "name": Path(self.model_name).name,
            "size": self.model.size,
            "frames": self.model.frames,
            "sha256": self.model.sha256,
            "predicts_motion": self.model.predicts_motion,
        }
        pictures = [{**picture.about(), "name": picture.name} for picture in self.pictures.bundled()]
        names = ("upload_bytes", "video_bytes", "pixels", "samples", "pokes", "frames")
        limits = {name: getattr(self.limits, name) for name in names}
        return _json({"version": __version__, "model": model, "pictures": pictures, "limits": limits})

    async def add_picture(self, request: Request) -> Response:
        """Store a picture."""
        visitor = visitor_in(request)
        self.pictures.check_room(visitor)
        async with self.bodies.read(request, visitor, self.limits.upload_bytes) as data:
            image = await self.decoder.picture(data, visitor)
        return _json(self.pictures.add(image, "picture.png", visitor).about())

    async def get_picture(self, request: Request) -> Response:
        """Return a picture."""
        id_ = request.path_params["id"]
        file = self.bundled_png.get(id_) or await self._one(request, "picture", id_, self.answers.png)
        return _file(_cut(file), "image/png")

    async def add_frame(self, request: Request) -> Response:
        """Store one frame of a video as a picture."""
        seconds, visitor = number(request, "at", 0.0), visitor_in(request)
        self.pictures.check_room(visitor)
        async with self.bodies.read(request, visitor, self.limits.video_bytes) as data:
            image, length = await self.decoder.frame(data, seconds, visitor)
        return _json({**self.pictures.add(image, "frame.png", visitor).about(), "seconds": length})

    async def preview(self, request: Request) -> Response:
        """Return the last frame of one clip."""
        question = await self._question(Question, request)
        image, facts = await self._one(request, "preview", question.picture, self.answers.preview, question)
        headers = {"x-milliseconds": str(facts["milliseconds"]), "x-reached": written(facts["reached"]).decode()}
        return Response(image, media_type="image/jpeg", headers=headers)

    async def clips(self, request: Request) -> Response:
        """Stream clips."""
        question = await self._question(Question, request)
        pixels = self._pixels(question.picture, question)
        return await self._lines(request, question.picture, self.answers.clips, question, pixels=pixels)

    async def correlation(self, request: Request) -> Response:
        """Map the motion correlation with a place."""
        place = await self._question(PointQuestion, request)
        return _json(await self._one(request, "correlation", place.picture, self.answers.correlation, place.x, place.y))

    async def transfer(self, request: Request) -> Response:
        """Stream the clip of a picture that has the residual of a video."""
        id_ = request.query_params.get("picture", "")
        self.pictures.get(id_)
        visitor = visitor_in(request)
        async with self.bodies.read(request, visitor, self.limits.video_bytes) as data:
            clip = await self.decoder.clip(data, self.model.size, self.model.frames + 1, visitor)
        return await self._lines(request, id_, self.answers.transfer, clip)

    async def continue_from(self, request: Request) -> Response:
        """Store the last frame of a clip as a picture."""
        question, visitor = await self._question(Question, request), visitor_in(request)
        self.pictures.check_room(visitor)
        image = await self._one(request, "continue", question.picture, self.answers.last_frame, question)
        return _json(self.pictures.add(image, "last-frame.png", visitor).about())

    async def export(self, request: Request) -> Response:
        """Return clips as a file."""
        kind: Any = request.query_params.get("format", "")
        if kind not in MEDIA:
            raise Problem(400, f"format: got {kind[:20]!r}, expected one of {', '.join(MEDIA)}")
        asked = await self._question(ExportQuestion, request)
        start = self.pictures.get(asked.start) if asked.start not in (None, asked.picture) else None
        job = self._job(
            *(request, "export", asked.picture, self.answers.export, asked, start, kind),
            pixels=self._pixels(asked.picture, asked),
        )
        return _file(await self._results(request, job), MEDIA[kind])

    async def reopen(self, request: Request) -> Response:
        """Open the session embedded in a file."""
        visitor = visitor_in(request)
        async with self.bodies.read(request, visitor, self.limits.video_bytes) as data:
            saved = await self.decoder.saved(data, visitor)
        session, image = checked(saved.session), saved.pictures.get("image_png")
        question = session.question.model_dump(mode="json")
        if session.question.picture not in {picture.id for picture in self.pictures.bundled()}:
            if image is None:
                raise Problem(415, "the session's picture is missing; open a file that the studio wrote")
            question["picture"] = self.pictures.add(image, session.name, visitor).id
        about = self.pictures.get(question["picture"]).about()
        start = saved.pictures.get("start_png")
        began = self.pictures.add(start, session.name, visitor).about() if start is not None else None
        is_same = session.model_sha256 == self.model.sha256
        facts = {"question": question, "history": session.history, "start": began, "same_model": is_same}
        return _json({**about, **facts})

    async def command(self, request: Request) -> Response:
        """Return commands that sample the same."""
        asked = await self._question(CommandQuestion, request)
        self.pictures.get(asked.picture)
        return _json(commands(self.model_name, asked, asked.name))

    async def _question(self, kind: type[AnySection], request: Request) -> AnySection:
        async with self.bodies.read(request, visitor_in(request), self.limits.json_bytes) as data:
            if len(data) <= self.limits.free_bytes:
                return parsed(kind, data)
            async with self._parsing:  # beside, for it may take a good part of a second
                return await asyncio.to_thread(lambda: parsed(kind, data))

    def _pixels(self, id_: str, question: Question) -> int:
        return question.pixels(self.pictures.get(id_).image.shape, self.model.frames)

    def _job(
        self, request: Request, kind: str, id_: str, answer: Callable[..., Steps], *arguments: Any, pixels: int = 0
    ) -> Job:
        picture: Picture = self.pictures.get(id_)
        self.pictures.close_some()
        return self.turns.add(visitor_in(request), kind, partial(answer, picture, *arguments), pixels)

    async def _one(self, request: Request, kind: str, id_: str, answer: Callable[..., Steps], *arguments: Any) -> Any:
        job = self._job(request, kind, id_, answer, *arguments)
        watch = asyncio.ensure_future(_cancel_when_gone(request, job))
        try:
            return await job.only()
        finally:
            watch.cancel()

    async def _results(self, request: Request, job: Job) -> AsyncIterator[Any]:
        """Wait for the first result, so that an error before it has a status of its own; return all of them."""
        results, watch = aiter(job), asyncio.ensure_future(_cancel_when_gone(request, job))
        try:
            first = await anext(results)
        except StopAsyncIteration:
            raise Problem(410, "cancelled, because the visitor left") from None
        finally:
            watch.cancel()
        return _results_of(job, first, results)

    async def _lines(
        self, request: Request, id_: str, answer: Callable[..., Steps], *arguments: Any, pixels: int = 0
    ) -> Response:
        results = await self._results(request, self._job(request, "clips", id_, answer, *arguments, pixels=pixels))

        async def lines() -> AsyncIterator[bytes]:
            try:
                async for result in results:
                    yield written(result) + b"\n"
            except Problem as problem:
                yield written({"kind": "error", "error": problem.words}) + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")


def make_app(studio: Studio, token: str | None = None) -> Starlette:
    """Create the application; with a token it may be open to other machines."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        await studio.decoder.begin()
        studio.turns.start()
        yield
        await studio.turns.stop()
        studio.decoder.close()

    calls: list[tuple[str, str, Endpoint]] = [
        ("GET", "/", studio.page),
        ("GET", "/static/{name}", studio.page),
        ("GET", "/api/about", studio.about),
        ("POST", "/api/pictures", studio.add_picture),
        ("GET", "/api/pictures/{id}", studio.get_picture),
        ("POST", "/api/frame", studio.add_frame),
        ("POST", "/api/preview", studio.preview),
        ("POST", "/api/clips", studio.clips),
        ("POST", "/api/correlation", studio.correlation),
        ("POST", "/api/affinity", studio.correlation),  # its name until 0.2
        ("POST", "/api/transfer", studio.transfer),
        ("POST", "/api/continue", studio.continue_from),
        ("POST", "/api/export", studio.export),
        ("POST", "/api/reopen", studio.reopen),
        ("POST", "/api/command", studio.command),
    ]
    app = Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in calls],
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={Problem: _problem_response, HTTPException: _http_error, ClientDisconnect: _client_left},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # to an address that the visitor's Host header would make up
    return app


def visitor_in(request: Request) -> Visitor:
    """Identify the sender of a request."""
    return visitor_of(request.client.host if request.client else None, request.headers.get("x-visitor", ""))


def number(request: Request, name: str, default: float) -> float:
    """Read a number of the query, 0 to 100,000.

    Raises:
        Problem: It is none.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1e5:
        raise Problem(400, f"{name}: got {text[:40]!r}, expected a number of seconds")
    return value


async def _cancel_when_gone(request: Request, job: Job) -> None:
    """Cancel a job once its visitor has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.05)
    job.cancel()


async def _results_of(job: Job, first: Any, others: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    """Yield results as they are taken; the job is cancelled when no more are."""
    try:
        yield first
        async for one in others:
            yield one
    finally:
        job.cancel()


async def _cut(file: bytes) -> AsyncIterator[bytes]:
    for part in parts_of(file):
        yield part


def _file(parts: AsyncIterator[bytes], media_type: str) -> Response:
    return StreamingResponse(parts, media_type=media_type)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(written(value), status, headers, "application/json")


async def _problem_response(request: Request, problem: Exception) -> Response:
    status, words = (problem.status, problem.words) if isinstance(problem, Problem) else (500, "internal error")
    return _json({"error": words}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    path, method = one_line(request.scope["path"], 80), one_line(request.method, 20)
    words = {404: f"{path}: there is no such call", 405: f"{path}: got {method}, which it does not take"}
    return _json({"error": words.get(status, "this cannot be answered")}, status, headers)


async def _client_left(request: Request, error: Exception) -> Response:
    return _json({"error": "the visitor left"}, 400)
