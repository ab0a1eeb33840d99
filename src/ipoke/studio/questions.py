"""The JSON of the studio's calls, strictly checked."""

import base64
import binascii
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AliasChoices, Discriminator, Field, Tag, ValidationError, field_validator

from ipoke.core.values import Section
from ipoke.data.poke import Poke
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Given, Residual, Term
from ipoke.studio.limits import LIMITS
from ipoke.studio.problem import Problem, one_line
from ipoke.studio.writing import is_finite, written

PictureId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Number = Annotated[float, Field(ge=-1e5, le=1e5)]
OneTerm = tuple[Annotated[int, Field(ge=0, lt=2**53)], Annotated[int, Field(ge=0, lt=1000)], Number]


def _writable(history: Any) -> Any:
    if not is_finite(history):
        raise ValueError("got a number that is not finite")
    size = len(written(history))
    if size > LIMITS.history_bytes:
        raise ValueError(f"got {size} bytes, expected at most {LIMITS.history_bytes}")
    return history


History = Annotated[Any, AfterValidator(_writable)]
"""How a question came about, any JSON; the server stores and returns it unread."""
Terms = Annotated[tuple[OneTerm, ...], Field(min_length=1, max_length=LIMITS.terms)]

AnySection = TypeVar("AnySection", bound=Section)


class PokeJson(Section):
    """A poke, px of the picture."""

    x: Number
    y: Number
    dx: Number
    dy: Number


class GivenJson(Section):
    """A residual by its values."""

    given: Annotated[str, Field(max_length=LIMITS.given)]
    """Float32, little endian, in base64."""

    @field_validator("given")
    @classmethod
    def _is_base64(cls, given: str) -> str:
        try:
            base64.b64decode(given, validate=True)
        except binascii.Error as error:
            raise ValueError(f"not base64 ({error})") from error
        return given


def _kind(residual: object) -> Literal["terms", "given"]:
    return "given" if isinstance(residual, (dict, GivenJson)) else "terms"


OneResidual = Annotated[Annotated[Terms, Tag("terms")] | Annotated[GivenJson, Tag("given")], Discriminator(_kind)]


class Question(Section):
    """A request for clips of a picture; `request` gives it as the rest of the package takes it."""

    picture: PictureId
    pokes: Annotated[tuple[PokeJson, ...], Field(max_length=LIMITS.pokes)] = ()
    residuals: Annotated[tuple[OneResidual, ...], Field(min_length=1, max_length=LIMITS.samples)]
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    frames: Annotated[int, Field(ge=1, le=LIMITS.frames)] | None = None
    guidance: Annotated[bool, Field(validation_alias=AliasChoices("guidance", "reaches"))] = True
    """Until 0.2 ``reaches``, which is still read."""

    @field_validator("residuals")
    @classmethod
    def _have_weight(cls, residuals: tuple[Terms | GivenJson, ...]) -> tuple[Terms | GivenJson, ...]:
        for residual in residuals:
            if not isinstance(residual, GivenJson) and all(abs(weight) <= 1e-6 for _, _, weight in residual):
                raise ValueError("a residual has no term with a weight other than 0")
        return residuals

    def pixels(self, shape: tuple[int, ...], frames: int) -> int:
        """Count the pixels of all frames of all samples of a picture, of so many frames if the question sets none.

        Raises:
            Problem: More than one answer may have.
        """
        height, width = shape[:2]
        pixels = len(self.residuals) * (1 + (self.frames or frames)) * height * width
        if pixels > LIMITS.answer_pixels:
            raise Problem(
                413,
                f"{len(self.residuals)} samples of {self.frames or frames} frames of {width} x {height} px are "
                f"{pixels / 1e6:.0f} megapixels, expected at most {LIMITS.answer_pixels / 1e6:g}; ask for fewer",
            )
        return pixels

    def request(self) -> SampleRequest:
        """Request the clips."""
        pokes = tuple(Poke(poke.x, poke.y, poke.dx, poke.dy) for poke in self.pokes)
        residuals = tuple(map(_residual, self.residuals))
        return SampleRequest(pokes, residuals, self.temperature, self.frames, self.guidance)


def _residual(written: Terms | GivenJson) -> Residual:
    if isinstance(written, GivenJson):
        return Given(base64.b64decode(written.given))
    return tuple(Term(*term) for term in written)


class ExportQuestion(Question):
    """A question whose clips are saved in a file, with its history."""

    history: History = None
    start: PictureId | None = None
    """The picture at the start of a chain, in which clips continue from the last frames of others."""


class CommandQuestion(Question):
    """A question to write as a command."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "picture.png"


class PointQuestion(Section):
    """A place on a picture."""

    picture: PictureId
    x: Number
    y: Number


def parsed(kind: type[AnySection], data: bytes) -> AnySection:
    """Parse JSON.

    Raises:
        Problem: Not JSON, or a field that is missing, unknown or out of range; the first one is named.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > LIMITS.values:
        raise Problem(413, f"expected at most {LIMITS.values} values")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = one_line(".".join(str(part) for part in first["loc"]), 80)
        what = one_line(first["msg"], 200)
        if first["type"] == "json_invalid":
            raise Problem(400, f"not JSON: {what}") from error
        raise Problem(422, f"{where or 'body'}: {what[:1].lower()}{what[1:]}") from error
