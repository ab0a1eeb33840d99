"""What the layout of a data set says before anything is decoded: videos, splits, objects, and what is missing."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ipoke.core.errors import InputError
from ipoke.core.files import reason
from ipoke.data.clip_rows import Resize, Split
from ipoke.data.discover import FoundVideo, IgnoredFile, find_in_folder


@dataclasses.dataclass(frozen=True)
class Part:
    """A stretch of a video, in per cent of its kept frames, and the split it belongs to."""

    split: Split
    start_percent: int = 0
    stop_percent: int = 100


@dataclasses.dataclass(frozen=True)
class DatasetVideo:
    """A video of a data set; ``object`` is who or what is seen, empty where the data set does not say."""

    video: FoundVideo
    parts: tuple[Part, ...]
    object: str = ""


@dataclasses.dataclass(frozen=True)
class Root:
    """The folder of a data set, the videos in it, and the lines of its list, if it has one."""

    folder: Path
    videos: tuple[FoundVideo, ...]
    lines: tuple[str, ...] | None
    test_videos: str | None
    """Pattern of the videos to hold out, where a layout takes one."""

    def relative(self, video: FoundVideo) -> PurePosixPath:
        """Give the path of a video from the folder on."""
        return PurePosixPath(video.path.relative_to(self.folder).as_posix())


@dataclasses.dataclass(frozen=True)
class Findings:
    """The videos of a data set in a fixed order, what of it is missing, and the files that are not used."""

    videos: tuple[DatasetVideo, ...]
    missing: tuple[str, ...] = ()
    ignored: tuple[IgnoredFile, ...] = ()
    list_sha256: str = ""
    """Of the list that was read, if there is one: it decides splits or objects."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a data set is distributed, and how the paper uses it."""

    title: str
    expected: str
    """What its folder holds, for people."""
    find: Callable[[Root], Findings]
    """Sorts the videos; raises `InputError` where the list is broken."""
    stride: int
    """Kept frames from one frame of a clip to the next."""
    resize: Resize
    rate_hz: float | None = None
    """Frames to keep per second; all of them if None."""
    list_file: str | None = None
    takes_test_videos: bool = False


def find_dataset(layout: Layout, inputs: Sequence[Path], test_videos: str | None) -> Findings:
    """Look a data set up in the folder in which it was distributed.

    Raises:
        InputError: Not one folder, nothing of the data set in it, a broken list, or a pattern of videos to hold out
            where the data set has a split of its own.
    """
    if len(inputs) != 1 or not inputs[0].is_dir():
        given = ", ".join(str(path) for path in inputs) or "none"
        raise InputError(f"--dataset: got {given}, expected one folder, which holds {layout.title}; check the path")
    if test_videos is not None and not layout.takes_test_videos:
        raise InputError(f"--test-videos: got {test_videos!r}, but {layout.title} has a split of its own; leave it out")
    folder = inputs[0]
    videos, ignored = find_in_folder(folder)
    lines, sha256 = _read_list(folder / layout.list_file) if layout.list_file else (None, "")
    found = layout.find(Root(folder, tuple(videos), lines, test_videos))
    if not found.videos:
        raise InputError(
            f"{folder}: nothing of {layout.title} can be used, got {len(videos)} videos, expected {layout.expected}"
        )
    unread = tuple(file for file in ignored if file.path != folder / str(layout.list_file))
    return dataclasses.replace(found, ignored=(*unread, *found.ignored), list_sha256=sha256)


def _read_list(path: Path) -> tuple[tuple[str, ...] | None, str]:
    """Read the lines of a list that are not empty, with the hash of it; None if there is no list."""
    if not path.exists():
        return None, ""
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected lines of text; check the file") from error
    return tuple(line.strip() for line in lines if line.strip()), hashlib.sha256(content).hexdigest()
