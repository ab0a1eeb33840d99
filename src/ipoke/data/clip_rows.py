"""The words of a prepared set: its settings, one row per source video, and the segments a row points to."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ipoke.core.errors import InputError, shown
from ipoke.core.reading.regular import is_folder, read_bounded
from ipoke.core.values import WHOLE, Section, problem_of

Count = Annotated[int, Field(ge=0, le=2**40), WHOLE]
Frames = Annotated[int, Field(gt=0, le=2**20), WHOLE]
MostFrames = Annotated[int, Field(ge=0, le=2**31), WHOLE]
Side = Annotated[int, Field(ge=0, le=2**20), WHOLE]
Text = Annotated[str, Field(max_length=4096)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,90}$")]
Shard = Annotated[str, Field(pattern=r"^shard-[0-9]{5,9}\.tar$")]
Ending = Annotated[str, Field(pattern=r"^(mp4|json|flow\.npz|extra\.npz)$")]
Split = Literal["train", "test"]
Resize = Literal["crop", "letterbox", "squeeze"]
"""How a frame becomes square: its centre, all of it between black bars, or all of it distorted."""
VERSION = 2
LARGEST_SIDE, MOST_FRAMES = 1024, 1000
"""Of the clips of a set: px, and frames after the first, each so many stored frames from the one before."""
LARGEST_SETTINGS, LARGEST_INDEX = 2**20, 2**29
"""Bytes of the two files; an index has about a kilobyte per video."""
SETTINGS_FILE, INDEX_FILE = "settings.json", "index.jsonl"


Number = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]


class ClipSetSettings(Section):
    """What all clips of a set have in common; stored as ``settings.json``."""

    format: Literal["ipoke-clips"] = "ipoke-clips"
    version: Literal[1, 2] = 1
    """2 where rows may say more than older programs read: `SourceRow.object`, `SourceRow.keep_every`."""
    size: Annotated[int, Field(gt=0, le=LARGEST_SIDE), WHOLE]
    """Side of the frames, px."""
    frames: Annotated[int, Field(gt=0, le=MOST_FRAMES), WHOLE]
    """Frames of a clip after its source frame."""
    stride: Annotated[int, Field(gt=0, le=MOST_FRAMES), WHOLE] = 1
    """Stored frames from one frame of a clip to the next."""
    resize: Resize | Literal["none"] = "none"
    """How frames that were not square became so; ``none``: they were drawn square."""
    optical_flow: Literal["dis", "raft", "exact"]
    """How displacements were found; ``exact``: the simulator knew them."""
    origin: Annotated[dict[Text, Text | Number | Share | bool], Field(max_length=64)] = Field(default={})
    """Everything else that decides the contents, such as the rule of the split or the simulator's seed."""

    @property
    def window(self) -> int:
        """Stored frames from the first to the last frame of a clip, the first not counted."""
        return self.frames * self.stride


class MemberRow(Section):
    """Where one file lies in a shard; ``crc32`` is that of its bytes."""

    offset: Count
    length: Annotated[int, Field(ge=0, le=2**31), WHOLE]
    crc32: Annotated[int, Field(ge=0, lt=2**32), WHOLE]


class SegmentRow(Section):
    """An unbroken run of frames of a source, stored whole; ``first`` counts kept frames of the video."""

    key: Key
    first: MostFrames
    frames: Frames
    shard: Shard
    members: Annotated[dict[Ending, MemberRow], Field(max_length=4)]
    """By file ending: ``mp4``, ``json``, ``flow.npz`` and, where there are further arrays, ``extra.npz``."""


class DroppedRow(Section):
    """Frames ``start`` to ``stop`` (excluded) of a source that were left out, and why."""

    start: MostFrames
    stop: MostFrames
    why: Text


class SourceRow(Section):
    """One source video, or one split's part of it, kept or not; a row of ``index.jsonl``.

    Writers leave ``segments`` empty.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
    video: Text
    split: Split
    frames: MostFrames
    """Frames that could be decoded, of those that are kept and lie in this part."""
    size: tuple[Side, Side]
    """Width and height of the video, px."""
    fps: Annotated[float, Field(ge=0, le=1e6)]
    """Stored frames per second."""
    sha256: Annotated[str, Field(max_length=128)]
    object: Text = ""
    """Who or what is seen, where the data set says so."""
    keep_every: Annotated[int, Field(gt=0, le=2**20), WHOLE] = 1
    """Frames of the video from one stored frame to the next."""
    segments: Annotated[tuple[SegmentRow, ...], Field(max_length=2**16)] = ()
    dropped: Annotated[tuple[DroppedRow, ...], Field(max_length=2**20)] = ()
    note: Text = ""
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
    if not is_folder(folder):
        raise InputError(f"{folder}: no such folder, expected a prepared set; make one with ipoke prepare")
    if not os.path.lexists(path):
        raise InputError(f"{folder}: not a prepared set ({SETTINGS_FILE} is missing); make one with ipoke prepare")
    try:
        return ClipSetSettings.model_validate_json(read_bounded(path, LARGEST_SETTINGS))
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("version",):
            raise InputError(
                f"{path}: got version {shown(first['input'])}, expected {VERSION}; update ipoke or prepare again"
            ) from error
        raise InputError(f"{path}: not the settings of a prepared set ({problem_of(error)})") from error


def read_rows(folder: Path, window: int = 0) -> tuple[list[SourceRow], int]:
    """Read the rows of the index, and how many of its bytes they fill; a last line that was cut off is left out.

    Args:
        folder: Of the set.
        window: Frames from the first to the last of a clip; a segment that is not longer holds none.

    Raises:
        InputError: The index cannot be read, or a row of it is broken.
    """
    path = folder / INDEX_FILE
    data = read_bounded(path, LARGEST_INDEX, "index") if os.path.lexists(path) else b""
    whole = data.rfind(b"\n") + 1
    rows: list[SourceRow] = []
    known: set[str] = set()
    for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
        try:
            row = SourceRow.model_validate_json(line)
        except ValidationError as error:
            raise InputError(f"{path}: row {number} is broken ({problem_of(error)}); prepare the set again") from error
        for name in (f"source {row.id}", *(f"segment {segment.key}" for segment in row.segments)):
            if name in known:
                raise InputError(f"{path}: row {number} is broken ({name} is a duplicate); prepare the set again")
            known.add(name)
        short = next((segment for segment in row.segments if segment.frames <= window), None)
        if short is not None:
            raise InputError(
                f"{path}: row {number} is broken ({short.key} has {short.frames} frames, expected more than {window}); "
                "prepare the set again"
            )
        rows.append(row)
    return rows, whole
