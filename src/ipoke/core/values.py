"""Values that people's files hold: numbers, lists and texts with bounds, in tables that guess nothing."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ipoke.core.errors import shown


def _whole(value: object) -> object:
    """Take 1e5 for the whole number that it is."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _seen(text: str) -> str:
    """Refuse what no terminal and no TOML file shows as it is."""
    if not text.isprintable():
        raise ValueError("expected text without control characters")
    return text


WHOLE = BeforeValidator(_whole)
PositiveInt = Annotated[int, Field(gt=0, le=2**31), WHOLE]
Width = Annotated[int, Field(gt=0, le=16_384), WHOLE]
"""Channels, or groups of channels."""
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)]
MaybeWidths = Annotated[tuple[Width, ...], Field(max_length=8)]
Depth = Annotated[int, Field(gt=0, le=32), WHOLE]
"""Layers or blocks, one after the other."""
Stride = Annotated[int, Field(gt=0, le=8), WHOLE]
Clips = Annotated[int, Field(gt=0, le=10**11), WHOLE]
MaybeClips = Annotated[int, Field(ge=0, le=10**11), WHOLE]
Frames = Annotated[int, Field(gt=0, le=100), WHOLE]
Seed = Annotated[int, Field(ge=0, lt=2**63), WHOLE]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Start = Annotated[float, Field(ge=-100, le=100)]
"""What a bias or a logarithm is at the start."""
NonNegative = Annotated[float, Field(ge=0, le=1e9)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_seen)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PathText = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_seen)]


class Section(BaseModel):
    """A frozen table that refuses unknown keys, and guesses nothing: it reads no number out of a text or a flag."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def problem_of(error: ValidationError, location: str | None = None) -> str:
    """Say the first thing that is wrong with a table: where, what was got, what is expected.

    Args:
        error: Of pydantic.
        location: The key concerned, dotted, where pydantic names it otherwise.
    """
    first = error.errors(include_url=False)[0]
    location = ".".join(str(part) for part in first["loc"]) if location is None else location
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    if not location:
        return message
    if first["type"] in ("missing", "too_long"):
        return f"{location}: {message[0].lower()}{message[1:]}"
    return f"{location}: got {shown(first['input'])}; {message[0].lower()}{message[1:]}"
