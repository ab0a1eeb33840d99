"""The studio's server: one page, and a JSON API that the page uses, described in docs/studio_api.md."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ipoke.json_text import json_text
from ipoke.model import PokeModel, bundled_stills
from ipoke.studio.answers import Answers
from ipoke.studio.decoding import Decoder
from ipoke.studio.guard import Guard
from ipoke.studio.keeping import MEDIA, commands, kept, png, reopened, session_of
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.pictures import Picture, Pictures
from ipoke.studio.problem import Problem
from ipoke.studio.questions import AnySection, Keeping, Naming, Place, Question, parsed
from ipoke.studio.turns import Job, Steps, Turns
from ipoke.version import __version__

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
Endpoint = Callable[[Request], Awaitable[Response]]


class Studio:
    """What answers calls: one model, its visitors' turns, and their pictures."""

    def __init__(self, model: PokeModel, model_name: str, limits: Limits = LIMITS) -> None:
        self.model, self.model_name, self.limits = model, model_name, limits
        self.answers, self.decoder = Answers(model), Decoder(limits)
        self.pictures, self.turns = (
            Pictures(bundled_stills(), limits),
            Turns(self.answers.together, limits, self.answers.ahead),
        )
        self.files = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.suffix in TYPES}

    async def page(self, request: Request) -> Response:
        """Give the page, or one of the files that it is made of."""
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            raise Problem(404, f"{name[:80]}: there is no such file")
        return Response(self.files[name], media_type=TYPES[Path(name).suffix], headers={"cache-control": "no-cache"})

    async def about(self, request: Request) -> Response:
        """Say what this server is and can."""
        model = {
            "name": Path(self.model_name).name,
            "size": self.model.size,
            "frames": self.model.frames,
            "sha256": self.model.sha256,
            "says_motion": self.model.autoencoder.says_motion,
        }
        pictures = [{**picture.about(), "name": picture.name} for picture in self.pictures.bundled()]
        names = ("upload_bytes", "video_bytes", "pixels", "samples", "pokes", "frames")
        limits = {name: getattr(self.limits, name) for name in names}
        return JSONResponse({"version": __version__, "model": model, "pictures": pictures, "limits": limits})

    async def add_picture(self, request: Request) -> Response:
        """Take a picture."""
        data = await body(request, self.limits.upload_bytes)
        return JSONResponse(self.pictures.add(await self.decoder.picture(data), "picture.png").about())

    async def give_picture(self, request: Request) -> Response:
        """Give a picture back."""
        return Response(png(self.pictures.get(request.path_params["id"]).image), media_type="image/png")

    async def add_frame(self, request: Request) -> Response:
        """Take one frame of a video as a picture."""
        seconds = number(request, "at", 0.0)
        data = await body(request, self.limits.video_bytes)
        image, length = await self.decoder.frame(data, seconds)
        return JSONResponse({**self.pictures.add(image, "frame.png").about(), "seconds": length})

    async def preview(self, request: Request) -> Response:
        """Give the last frame of one clip."""
        question = await self._asked(Question, request)
        image, facts = await self._one(request, "preview", question.picture, self.answers.preview, question)
        headers = {"x-milliseconds": str(facts["milliseconds"]), "x-reached": json_text(facts["reached"])}
        return Response(image, media_type="image/jpeg", headers=headers)

    async def clips(self, request: Request) -> Response:
        """Stream clips."""
        question = await self._asked(Question, request)
        return await self._lines(request, question.picture, self.answers.clips, question)

    async def affinity(self, request: Request) -> Response:
        """Map what moves along."""
        place = await self._asked(Place, request)
        return JSONResponse(
            await self._one(request, "affinity", place.picture, self.answers.affinity, place.x, place.y)
        )

    async def transfer(self, request: Request) -> Response:
        """Stream the picture as it moves like a video."""
        id_ = request.query_params.get("picture", "")
        self.pictures.get(id_)
        data = await body(request, self.limits.video_bytes)
        clip = await self.decoder.clip(data, self.model.size, self.model.frames + 1)
        return await self._lines(request, id_, self.answers.transfer, clip)

    async def go_on(self, request: Request) -> Response:
        """Make the last frame of a clip a picture."""
        question = await self._asked(Question, request)
        image = await self._one(request, "continue", question.picture, self.answers.last_frame, question)
        return JSONResponse(self.pictures.add(image, "last-frame.png").about())

    async def export(self, request: Request) -> Response:
        """Give clips as a file."""
        kind: Any = request.query_params.get("format", "")
        if kind not in MEDIA:
            raise Problem(400, f"format: got {kind[:20]!r}, expected one of {', '.join(MEDIA)}")
        asked = await self._asked(Keeping, request)
        if len(json_text(asked.history)) > self.limits.history_bytes:
            raise Problem(413, f"history: expected at most {self.limits.history_bytes} bytes")
        picture = self.pictures.get(asked.picture)
        start = self.pictures.get(asked.start) if asked.start not in (None, asked.picture) else None
        clips, motion = await self._one(request, "export", asked.picture, self.answers.sampled, asked)
        session = session_of(self.model, picture, asked, start)
        unit = picture.opened(self.model).still.px_per_model_px
        file = await asyncio.to_thread(kept, kind, clips, motion, unit, session)
        return Response(file, media_type=MEDIA[kind])

    async def reopen(self, request: Request) -> Response:
        """Open the session that a file carries."""
        session, image, start = reopened(await body(request, self.limits.video_bytes))
        question = session.question.model_dump(mode="json")
        if session.question.picture not in {picture.id for picture in self.pictures.bundled()}:
            question["picture"] = self.pictures.add(image, session.name).id
        about = self.pictures.get(question["picture"]).about()
        began = self.pictures.add(start, session.name).about() if start is not None else None
        is_same = session.model_sha256 == self.model.sha256
        facts = {"question": question, "history": session.history, "start": began, "same_model": is_same}
        return JSONResponse({**about, **facts})

    async def command(self, request: Request) -> Response:
        """Say what samples the same without the page."""
        asked = await self._asked(Naming, request)
        self.pictures.get(asked.picture)
        return JSONResponse(commands(self.model_name, asked, asked.name))

    async def _asked(self, kind: type[AnySection], request: Request) -> AnySection:
        return parsed(kind, await body(request, self.limits.json_bytes))

    def _job(self, request: Request, kind: str, id_: str, answer: Callable[..., Steps], *arguments: Any) -> Job:
        picture: Picture = self.pictures.get(id_)
        visitor = request.headers.get("x-visitor", "")[:64] or (request.client.host if request.client else "")
        return self.turns.add(visitor, kind, partial(answer, picture, *arguments))

    async def _one(self, request: Request, kind: str, id_: str, answer: Callable[..., Steps], *arguments: Any) -> Any:
        job = self._job(request, kind, id_, answer, *arguments)
        watch = asyncio.ensure_future(_gone(request, job))
        try:
            return await job.only()
        finally:
            watch.cancel()

    async def _lines(self, request: Request, id_: str, answer: Callable[..., Steps], *arguments: Any) -> Response:
        results = aiter(self._job(request, "clips", id_, answer, *arguments))
        first = await anext(results)

        async def lines() -> AsyncIterator[bytes]:
            yield _line(first)
            try:
                async for result in results:
                    yield _line(result)
            except Problem as problem:
                yield _line({"kind": "error", "error": problem.words})

        return StreamingResponse(lines(), media_type="application/x-ndjson")


def make_app(studio: Studio, token: str | None = None) -> Starlette:
    """Make the application; with a token it may be open to other machines."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        studio.turns.start()
        yield
        await studio.turns.stop()
        studio.decoder.close()

    calls: list[tuple[str, str, Endpoint]] = [
        ("GET", "/", studio.page),
        ("GET", "/static/{name}", studio.page),
        ("GET", "/api/about", studio.about),
        ("POST", "/api/pictures", studio.add_picture),
        ("GET", "/api/pictures/{id}", studio.give_picture),
        ("POST", "/api/frame", studio.add_frame),
        ("POST", "/api/preview", studio.preview),
        ("POST", "/api/clips", studio.clips),
        ("POST", "/api/affinity", studio.affinity),
        ("POST", "/api/transfer", studio.transfer),
        ("POST", "/api/continue", studio.go_on),
        ("POST", "/api/export", studio.export),
        ("POST", "/api/reopen", studio.reopen),
        ("POST", "/api/command", studio.command),
    ]
    return Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in calls],
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={Problem: _said, HTTPException: _not_found, ClientDisconnect: _left},
        lifespan=lifespan,
    )


async def body(request: Request, most: int) -> bytes:
    """Read what was sent.

    Raises:
        Problem: Nothing was sent, or more than ``most`` bytes.
    """
    too_much = Problem(413, f"too large: expected at most {most / 1e6:g} MB")
    with contextlib.suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > most:
            raise too_much
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise too_much
    if not data:
        raise Problem(400, "nothing was sent; send it as the body of the request")
    return bytes(data)


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


async def _gone(request: Request, job: Job) -> None:
    """Give a job up once its visitor has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.05)
    job.is_given_up = True


def _line(result: dict[str, Any]) -> bytes:
    return json_text(result).encode() + b"\n"


async def _said(request: Request, problem: Exception) -> Response:
    status, words = (problem.status, problem.words) if isinstance(problem, Problem) else (500, "something went wrong")
    return JSONResponse({"error": words}, status_code=status)


async def _not_found(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.url.path[:80]
    words = {404: f"{path}: there is no such call", 405: f"{path}: got {request.method}, which it does not take"}
    return JSONResponse({"error": words.get(status, "this cannot be answered")}, status_code=status)


async def _left(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the visitor left"}, status_code=400)
