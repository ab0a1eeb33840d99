"""Clips as files that carry their session, sessions read back from them, and the commands that sample the same."""

import base64
import io
import shlex
import zipfile
from fractions import Fraction
from typing import Annotated, Any, Literal

import av
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from pydantic import Field

from ipoke.data.images import image_of
from ipoke.data.video import video_bytes
from ipoke.errors import InputError
from ipoke.json_text import json_text
from ipoke.model import PokeModel
from ipoke.render import film_strip, grid
from ipoke.residual_terms import Given, Residual, Term
from ipoke.session import FPS
from ipoke.settings import Section
from ipoke.studio.carrying import carried, carry
from ipoke.studio.pictures import Picture
from ipoke.studio.problem import Problem
from ipoke.studio.questions import Keeping, Question, parsed
from ipoke.version import __version__

Format = Literal["mp4", "webm", "webp", "gif", "png", "frames", "tracks"]
MEDIA = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "webp": "image/webp",
    "gif": "image/gif",
    "png": "image/png",
    "frames": "application/zip",
    "tracks": "application/json",
}
"""The formats, and their types."""
TRACK_EVERY_PX = 4
"""Distance between followed points, px of the model; poked points come first."""
LARGEST_SESSION = 8_000_000


class StudioSession(Section):
    """What a file carries: enough to open the picture again as it was poked."""

    format: Literal["ipoke-studio-1"] = "ipoke-studio-1"
    ipoke: str
    model: str
    model_sha256: str
    question: Question
    history: Any = None
    name: str
    image_png: Annotated[str, Field(max_length=LARGEST_SESSION)]
    """Base64."""
    start_png: Annotated[str, Field(max_length=LARGEST_SESSION)] | None = None
    """The picture that it began with, where that is another."""


def session_of(model: PokeModel, picture: Picture, asked: Keeping, start: Picture | None = None) -> StudioSession:
    """Write down what was asked of which picture, and with which one it began."""
    question = Question.model_validate(asked.model_dump(exclude={"history", "start"}))
    return StudioSession(
        ipoke=__version__,
        model=model.name,
        model_sha256=model.sha256,
        question=question,
        history=asked.history,
        name=picture.name,
        image_png=base64.b64encode(png(picture.image)).decode(),
        start_png=base64.b64encode(png(start.image)).decode() if start else None,
    )


def reopened(
    file: bytes,
) -> tuple[StudioSession, UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h2 w2 3"] | None]:
    """Read the session that a file carries, its picture, and the one that it began with where that is another.

    Raises:
        Problem: It carries none, or a damaged one.
    """
    payload = carried(file, 2 * LARGEST_SESSION)
    if payload is None:
        raise Problem(415, "the file carries no session of the studio; open one that the studio wrote")
    session = parsed(StudioSession, payload)
    try:
        image = image_of(base64.b64decode(session.image_png, validate=True), "the session's picture")
        if session.start_png is None:
            return session, image, None
        return session, image, image_of(base64.b64decode(session.start_png, validate=True), "the session's start")
    except (InputError, ValueError) as error:
        raise Problem(415, f"the session's picture is damaged ({error})") from error


def kept(
    kind: Format,
    clips: UInt8[np.ndarray, "n t h w 3"],
    motion: Float32[np.ndarray, "n t 2 s s"] | None,
    px_per_model_px: float,
    session: StudioSession,
) -> bytes:
    """Encode clips as a file that carries its session; several samples side by side.

    Args:
        kind: Of file.
        clips: Frame 0 is the picture.
        motion: Where the pixels of the model's still are in every later frame, px of the model.
        px_per_model_px: Length of one of those in px of the picture.
        session: What was asked.

    Raises:
        Problem: Tracks of a model that does not say motion.
    """
    payload, pokes = session.model_dump_json().encode(), session.question.poke_list()
    if kind == "tracks":
        return _tracks(clips, motion, px_per_model_px, session)
    if kind == "frames":
        return _frames(clips, payload)
    if kind == "png":
        return carry(kind, png(film_strip(clips, pokes)), payload)
    played = list(clips[0] if len(clips) == 1 else grid(clips, pokes))
    return carry(kind, _webm(played) if kind == "webm" else video_bytes(f".{kind}", played, FPS), payload)


def commands(model_name: str, question: Question, name: str) -> dict[str, str | None]:
    """Write the command line, where there is one, and the Python that sample the same."""
    residuals = question.residual_list()
    plain = _plain(residuals)
    pokes = [
        f"ipoke.Poke(x={_written(p.x)}, y={_written(p.y)}, dx={_written(p.dx)}, dy={_written(p.dy)})"
        for p in question.pokes
    ]
    lines = [
        "import ipoke",
        "from ipoke.data.images import read_image",
        "",
        f"model = ipoke.load({model_name!r})",
        *(["model.reaches = False"] if not question.reaches else []),
        f"image = read_image({name!r})",
        f"pokes = [{', '.join(pokes)}]",
    ]
    extra = f", temperature={_written(question.temperature)}" if question.temperature != 1 else ""
    extra += f", frames={question.frames}" if question.frames else ""
    if plain is None:
        lines.insert(2, "from ipoke.residual_terms import Given, Term")
        written = ", ".join(map(_in_python, residuals))
        lines += ["picture = model.open(image)", f"clips = picture.show(picture.draw(pokes, [{written}]{extra}))"]
        return {"shell": None, "python": "\n".join(lines)}
    lines.append(f"clips = model.poke(image, pokes, samples={plain[1]}, seed={plain[0]}{extra})")
    shell = None if question.frames else _shell(model_name, question, name, *plain)
    return {"shell": shell, "python": "\n".join(lines)}


def _shell(model_name: str, question: Question, name: str, seed: int, samples: int) -> str:
    words = ["ipoke", "poke", name]
    for poke in question.poke_list():
        place = f"{_written(poke.x)},{_written(poke.y)}"
        words += ["--pin", place] if poke.is_pin else ["--poke", f"{place},{_written(poke.dx)},{_written(poke.dy)}"]
    words += ["--samples", str(samples), "--seed", str(seed), "--model", model_name]
    words += ["--temperature", _written(question.temperature)] if question.temperature != 1 else []
    words += [] if question.reaches else ["--as-drawn"]
    return shlex.join([*words, "--out", "clips.webp"])


def _written(value: float) -> str:
    """Write a number so that it reads back as the same, whole ones without a point."""
    return repr(value).removesuffix(".0")


def _in_python(residual: Residual) -> str:
    if isinstance(residual, Given):
        return f"Given({residual.values!r})"
    return f"({''.join(f'Term{tuple(term)}, ' for term in residual).rstrip()})"


def _plain(residuals: list[Residual]) -> tuple[int, int] | None:
    """Give seed and number of samples where residuals are the first samples of one seed."""
    if isinstance(residuals[0], Given):
        return None
    seed = residuals[0][0].seed
    plain = all(
        not isinstance(terms, Given) and terms == (Term(seed, number, terms[0].weight),) and terms[0].weight > 0
        for number, terms in enumerate(residuals)
    )
    return (seed, len(residuals)) if plain else None


def _tracks(
    clips: UInt8[np.ndarray, "n t h w 3"],
    motion: Float32[np.ndarray, "n t 2 s s"] | None,
    px_per_model_px: float,
    session: StudioSession,
) -> bytes:
    if motion is None:
        raise Problem(400, "tracks: this model does not say where pixels go; keep frames instead")
    _, frames, height, width, _ = clips.shape
    side = motion.shape[-1]
    pokes = session.question.poke_list()
    offset = np.array([(max(height, width) - width) // 2, (max(height, width) - height) // 2])
    starts = [((np.array([p.x, p.y]) + offset) / px_per_model_px).round().astype(int) for p in pokes]
    middle = TRACK_EVERY_PX // 2
    starts += [
        np.array([x, y]) for y in range(middle, side, TRACK_EVERY_PX) for x in range(middle, side, TRACK_EVERY_PX)
    ]
    tracks = []
    for start in starts:
        x, y = start.clip(0, side - 1)
        path = np.concatenate([np.zeros((1, 2)), motion[0, :, :, y, x]])
        points = (np.array([x, y]) + path) * px_per_model_px - offset
        seen = (points >= -0.5).all(1) & (points < [width - 0.5, height - 0.5]).all(1)
        tracks.append(
            [[round(float(px), 2), round(float(py), 2), int(v)] for (px, py), v in zip(points, seen, strict=True)]
        )
    table = {
        "format": "ipoke-tracks-1",
        "width": width,
        "height": height,
        "frames": frames,
        "tracks": tracks,
        "session": session.model_dump(mode="json"),
    }
    return json_text(table).encode()


def _frames(clips: UInt8[np.ndarray, "n t h w 3"], payload: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("session.json", payload)
        for sample, clip in enumerate(clips):
            for frame, image in enumerate(clip):
                archive.writestr(f"sample-{sample + 1}/frame-{frame:03d}.png", png(image))
    return buffer.getvalue()


def _webm(frames: list[UInt8[np.ndarray, "h w 3"]]) -> bytes:
    buffer = io.BytesIO()
    height, width = (side + side % 2 for side in frames[0].shape[:2])
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=Fraction(FPS).limit_denominator())
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "b:v": "0", "cpu-used": "4"}
        for frame in frames:
            even = np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode a picture without loss."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
