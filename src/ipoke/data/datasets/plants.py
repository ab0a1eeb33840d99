"""Poking-Plants: films of plants that are poked, each split in time."""

import re
from pathlib import PurePosixPath

from ipoke.core.errors import InputError
from ipoke.data.datasets.layout import DatasetVideo, Findings, Layout, Part, Root

VIDEOS = 27
"""Of 13 plants. Paper: Sec. 4.1."""
LIST = "objects.txt"
HALVES = (Part("train", 0, 80), Part("test", 80, 100))
"""The first 80 % of every video are for training, so both splits show the same plants, at other times."""
TAKE = re.compile(r"[ _.-]*(take|part)?[ _.-]*[0-9]+$", re.IGNORECASE)


def _find(root: Root) -> Findings:
    paths = [root.relative(video) for video in root.videos]
    missing = [f"{VIDEOS - len(paths)} of the {VIDEOS} videos"] if len(paths) < VIDEOS else []
    if root.lines is None:
        has_folders = len({path.parent for path in paths}) > 1
        objects = [_object(path, has_folders) for path in paths]
    else:
        named = dict(_named(root, line) for line in root.lines)
        missing += [f"{name}, which {LIST} names" for name in named if not any(name in _names(p) for p in paths)]
        objects = [_listed(root, named, path) for path in paths]
    videos = [DatasetVideo(video, HALVES, name) for video, name in zip(root.videos, objects, strict=True)]
    return Findings(tuple(videos), tuple(missing))


def _object(path: PurePosixPath, has_folders: bool) -> str:
    """Name the plant by its folder, where folders tell plants apart, else by the file without its take's number."""
    if has_folders and path.parent.name:
        return path.parent.name
    return TAKE.sub("", path.stem) or path.parent.name or path.stem


def _named(root: Root, line: str) -> tuple[str, str]:
    name, _, plant = line.rpartition(" ")
    if not name:
        raise InputError(f"{root.folder / LIST}: got {line!r}, expected a video and its plant, as in fern_2.mkv fern")
    return name.strip(), plant


def _names(path: PurePosixPath) -> tuple[str, str]:
    """Give the names by which the list may speak of a video: its path in the folder, or the file alone."""
    return path.as_posix(), path.name


def _listed(root: Root, named: dict[str, str], path: PurePosixPath) -> str:
    for name in _names(path):
        if name in named:
            return named[name]
    raise InputError(f"{root.folder / LIST}: does not name the plant of {path}, expected every video; add a line")


PLANTS = Layout(
    title="Poking-Plants",
    expected=f"{VIDEOS} videos such as fern_2.mkv or fern/2.mkv, and {LIST} (a video and its plant per line) "
    "where names do not tell plants apart",
    find=_find,
    stride=2,
    resize="squeeze",
    list_file=LIST,
)
