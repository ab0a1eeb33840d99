"""The words of a prepared set: its settings, one row per source video, and the segments a row points to."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ipoke.errors import InputError
from ipoke.files import reason
from ipoke.settings import PositiveInt, Section

Count = Annotated[int, Field(ge=0)]
Split = Literal["train", "test"]
Resize = Literal["crop", "letterbox", "squeeze"]
"""How a frame becomes square: its centre, all of it between black bars, or all of it distorted."""
VERSION = 2
SETTINGS_FILE, INDEX_FILE = "settings.json", "index.jsonl"


class ClipSetSettings(Section):
    """What all clips of a set have in common; stored as ``settings.json``."""

    format: Literal["ipoke-clips"] = "ipoke-clips"
    version: Literal[1, 2] = 1
    """2 where rows may say more than older programs read: `SourceRow.object`, `SourceRow.keep_every`."""
    size: PositiveInt
    """Side of the frames, px."""
    frames: PositiveInt
    """Frames of a clip after its source frame."""
    stride: PositiveInt = 1
    """Stored frames from one frame of a clip to the next."""
    resize: Resize | Literal["none"] = "none"
    """How frames that were not square became so; ``none``: they were drawn square."""
    optical_flow: Literal["dis", "raft", "exact"]
    """How displacements were found; ``exact``: the simulator knew them."""
    origin: dict[str, str | int | float | bool] = Field(default={})
    """Everything else that decides the contents, such as the rule of the split or the simulator's seed."""

    @property
    def window(self) -> int:
        """Stored frames from the first to the last frame of a clip, the first not counted."""
        return self.frames * self.stride


class MemberRow(Section):
    """Where one file lies in a shard; ``crc32`` is that of its bytes."""

    offset: Count
    length: Count
    crc32: Count


class SegmentRow(Section):
    """An unbroken run of frames of a source, stored whole; ``first`` counts kept frames of the video."""

    key: str
    first: Count
    frames: PositiveInt
    shard: str
    members: dict[str, MemberRow]
    """By file ending: ``mp4``, ``json``, ``flow.npz`` and, where there are further arrays, ``extra.npz``."""


class DroppedRow(Section):
    """Frames ``start`` to ``stop`` (excluded) of a source that were left out, and why."""

    start: Count
    stop: Count
    why: str


class SourceRow(Section):
    """One source video, or one split's part of it, kept or not; a row of ``index.jsonl``.

    Writers leave ``segments`` empty.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
    video: str
    split: Split
    frames: Count
    """Frames that could be decoded, of those that are kept and lie in this part."""
    size: tuple[Count, Count]
    """Width and height of the video, px."""
    fps: Annotated[float, Field(ge=0)]
    """Stored frames per second."""
    sha256: str
    object: str = ""
    """Who or what is seen, where the data set says so."""
    keep_every: PositiveInt = 1
    """Frames of the video from one stored frame to the next."""
    segments: tuple[SegmentRow, ...] = ()
    dropped: tuple[DroppedRow, ...] = ()
    note: str = ""
    """What a person should know about this source, such as that its end is broken."""

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what version 1 did not have and says nothing, so that its sets stay the same to the byte."""
        unsaid = {"object": "", "keep_every": 1}
        return {name: value for name, value in write(self).items() if unsaid.get(name) != value}


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """An unbroken run of frames at the size of the set, with the displacements of every clip in it.

    ``optical_flow[s]`` leads from frame s to frame s + window (frames times stride), px; ``first`` is the segment's
    place in its video; ``arrays`` is anything else worth keeping per segment, without Python objects.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    optical_flow: Float[np.ndarray, "n 2 h w"]
    first: int = 0
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def read_settings(folder: Path) -> ClipSetSettings:
    """Read what the clips of a prepared set have in common.

    Raises:
        InputError: No prepared set is there, or one that is broken or newer than this program.
    """
    path = folder / SETTINGS_FILE
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected a prepared set; make one with ipoke prepare")
    if not path.is_file():
        raise InputError(f"{folder}: not a prepared set ({SETTINGS_FILE} is missing); make one with ipoke prepare")
    try:
        return ClipSetSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check its permissions") from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("version",):
            raise InputError(
                f"{path}: got version {first['input']}, expected {VERSION}; update ipoke or prepare again"
            ) from error
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: not the settings of a prepared set ({where}: {reason_of(first['msg'])})") from error


def read_rows(folder: Path) -> tuple[list[SourceRow], int]:
    """Read the rows of the index, and how many of its bytes they fill; a last line that was cut off is left out.

    Raises:
        InputError: The index cannot be read, or a row of it is broken.
    """
    path = folder / INDEX_FILE
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check its permissions") from error
    whole = data.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            rows.append(SourceRow.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{path}: row {number} is broken ({where or 'row'}: {reason_of(first['msg'])}); prepare the set again"
            ) from error
    return rows, whole


def reason_of(message: str) -> str:
    """Bring a validator's message to one short line."""
    line = " ".join(message.split())
    return line[0].lower() + line[1:]
