"""What a layout says about a folder: its videos, to which split each belongs, and what is missing."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from ipoke.data.clip_rows import Split
from ipoke.data.discover import FoundVideo, IgnoredFile
from ipoke.errors import InputError

NAMED = 5
"""Missing things of a kind that are named before the rest is counted."""


@dataclasses.dataclass(frozen=True)
class DatasetVideo:
    """A video, or a share of its frames, with its split and the object that is seen in it."""

    video: FoundVideo
    split: Split
    object: str
    share: tuple[float, float] = (0.0, 1.0)
    """Which part of the frames is meant, from and to."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds of a data set, and what it lacks; ``missing`` is a line per kind of thing."""

    videos: tuple[DatasetVideo, ...]
    ignored: tuple[IgnoredFile, ...]
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a data set is distributed, and how the paper cuts it into clips."""

    title: str
    find: Callable[[Path, str | None], Found]
    """Look through a folder, given the pattern of the videos to hold out if the layout itself does not say."""
    stride: int
    resize: Literal["crop", "squeeze"]
    rate_hz: float | None = None
    """Frames per second that are kept, about; all of them if None."""
    takes_test_videos: bool = False
    """Whether a person may say which videos are held out."""


def at_least_one(root: Path, videos: Sequence[DatasetVideo], missing: Sequence[str], expected: str) -> None:
    """Refuse a folder that holds nothing of a data set.

    Raises:
        InputError: There are no videos; the message lists what is missing.
    """
    if not videos:
        listed = "; ".join(missing)
        raise InputError(f"{root}: nothing to prepare; missing: {listed}; expected {expected}")


def named(things: Sequence[str]) -> str:
    """Name the first things of many, and count the rest."""
    more = f" and {len(things) - NAMED} more" if len(things) > NAMED else ""
    return ", ".join(things[:NAMED]) + more
