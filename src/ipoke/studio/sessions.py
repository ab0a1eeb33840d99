"""The sessions that files carry, and the commands that sample the same."""

import base64
import shlex
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from ipoke.core.reading.payload import LARGEST_SESSION
from ipoke.core.values import Section
from ipoke.core.version import __version__
from ipoke.sampling.model import PokeModel
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Given, Noise, Residual, Term
from ipoke.studio.encoding import png
from ipoke.studio.pictures import Picture
from ipoke.studio.questions import ExportQuestion, History, Question, parsed
from ipoke.studio.writing import written

MEDIA = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "webp": "image/webp",
    "gif": "image/gif",
    "png": "image/png",
    "frames": "application/zip",
    "tracks": "application/json",
}
"""Media types by format."""


class StudioSession(Section):
    """The session in a file: enough to open the picture again with its pokes."""

    format: Literal["ipoke-studio-1"] = "ipoke-studio-1"
    ipoke: str
    model: str
    model_sha256: str
    question: Question
    history: History = None
    name: str
    image_png: Annotated[str, Field(max_length=LARGEST_SESSION)]
    """Base64."""
    start_png: Annotated[str, Field(max_length=LARGEST_SESSION)] | None = None
    """The picture at the start of its chain, if that is another."""


def session_of(
    model: PokeModel, picture: Picture, asked: ExportQuestion, start: Picture | None = None
) -> Callable[[], StudioSession]:
    """Return a function that writes the session; it needs no model, so it can run on another thread."""
    question = Question.model_validate(asked.model_dump(exclude={"history", "start"}))
    return lambda: StudioSession(
        ipoke=__version__,
        model=model.name,
        model_sha256=model.sha256,
        question=question,
        history=asked.history,
        name=picture.name,
        image_png=base64.b64encode(png(picture.image)).decode(),
        start_png=base64.b64encode(png(start.image)).decode() if start else None,
    )


def checked(session: dict[str, Any]) -> StudioSession:
    """Check a session that a file carried.

    Raises:
        Problem: It is damaged, or not one of the studio's.
    """
    return parsed(StudioSession, written(session | {"image_png": "", "start_png": None}))


def commands(model_name: str, question: Question, name: str) -> dict[str, str | None]:
    """Write the command line, where there is one, and the Python that sample the same."""
    request = question.request()
    plain = _plain(request.residuals)
    pokes = [
        f"ipoke.Poke(x={_exact(p.x)}, y={_exact(p.y)}, dx={_exact(p.dx)}, dy={_exact(p.dy)})" for p in request.pokes
    ]
    lines = [
        "import ipoke",
        "from ipoke.data.images import read_image",
        "",
        f"model = ipoke.load({model_name!r})",
        f"image = read_image({name!r})",
        f"pokes = [{', '.join(pokes)}]",
    ]
    options = f", temperature={_exact(request.temperature)}" if request.temperature != 1 else ""
    options += f", frames={request.frames}" if request.frames else ""
    options += "" if request.guidance else ", guidance=False"
    if plain is None:
        lines[2:2] = [
            "from ipoke.sampling.request import SampleRequest",
            "from ipoke.sampling.residual_terms import Given, Term",
        ]
        residuals = "".join(f"{_in_python(residual)}, " for residual in request.residuals).rstrip()
        lines += [
            f"request = SampleRequest(tuple(pokes), ({residuals}){options})",
            "picture = model.open(image)",
            "clips = picture.show(picture.draw(request))",
        ]
        return {"shell": None, "python": "\n".join(lines)}
    lines.append(f"clips = model.poke(image, pokes, samples={plain[1]}, seed={plain[0]}{options})")
    shell = None if request.frames else _shell(model_name, request, name, *plain)
    return {"shell": shell, "python": "\n".join(lines)}


def _shell(model_name: str, request: SampleRequest, name: str, seed: int, samples: int) -> str:
    words = ["ipoke", "poke", name]
    for poke in request.pokes:
        place = f"{_exact(poke.x)},{_exact(poke.y)}"
        words += ["--pin", place] if poke.is_pin else ["--poke", f"{place},{_exact(poke.dx)},{_exact(poke.dy)}"]
    words += ["--samples", str(samples), "--seed", str(seed), "--model", model_name]
    words += ["--temperature", _exact(request.temperature)] if request.temperature != 1 else []
    words += [] if request.guidance else ["--unguided"]
    return shlex.join([*words, "--out", "clips.webp"])


def _exact(number: float) -> str:
    """Write a number so that it reads back exactly."""
    return repr(number).removesuffix(".0")


def _in_python(residual: Residual) -> str:
    if isinstance(residual, Given | Noise):
        return repr(residual)
    return f"({''.join(f'Term{tuple(term)}, ' for term in residual).rstrip()})"


def _plain(residuals: Sequence[Residual]) -> tuple[int, int] | None:
    """Return seed and number of samples where residuals are the first samples of one seed."""
    first = residuals[0]
    if isinstance(first, Given | Noise):
        return None
    seed = first[0].seed
    is_plain = all(
        not isinstance(terms, Given | Noise) and terms == (Term(seed, number, terms[0].weight),) and terms[0].weight > 0
        for number, terms in enumerate(residuals)
    )
    return (seed, len(residuals)) if is_plain else None
