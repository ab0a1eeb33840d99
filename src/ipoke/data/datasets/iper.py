"""iPER: people who act in front of a camera; the data set's authors list the videos to train on."""

import re
from pathlib import Path

from ipoke.data.datasets.layout import DatasetVideo, Found, Layout, at_least_one, named
from ipoke.data.discover import FoundVideo, IgnoredFile, find_videos
from ipoke.errors import InputError
from ipoke.files import reason

LIST = "train.txt"
IDENTITY = re.compile(r"(\d+)[_/](\d+)[_/](\d+)$")
"""Actor, outfit and action, in a file's name or as three folders."""
EXPECTED = f"{LIST} with lines such as 001/1/1, and videos such as 001_1_1.mp4 or folders of frames 001/1/1"


def find(root: Path, _test_videos: str | None) -> Found:
    """Find the videos by actor, outfit and action; those on the authors' list are for training, all others test."""
    lists = sorted(root.rglob(LIST)) if root.is_dir() else []
    wanted = _listed(lists[0]) if lists else []
    found, ignored = find_videos([root])
    videos: dict[str, FoundVideo] = {}
    for video in found:
        identity = _identity(video.name if video.path.is_dir() else video.path.stem)
        if identity is None:
            ignored.append(IgnoredFile(video.path, "not named by actor, outfit and action"))
        elif identity in videos:
            ignored.append(IgnoredFile(video.path, f"the same as {videos[identity].name}"))
        else:
            videos[identity] = video
    missing = [] if lists else [f"{LIST}, the authors' list of training videos"]
    absent = [identity for identity in wanted if identity not in videos]
    missing += [f"{len(absent)} of the {len(wanted)} videos of {LIST}: {named(absent)}"] if absent else []
    listed = set(wanted)
    parts = tuple(
        DatasetVideo(video, "train" if identity in listed else "test", identity.split("_")[0])
        for identity, video in videos.items()
    )
    at_least_one(root, parts if lists else (), missing or ["all videos"], EXPECTED)
    rest = tuple(file for file in ignored if file.path not in lists)
    return Found(parts, rest, tuple(missing))


def _listed(path: Path) -> list[str]:
    """Read the authors' list.

    Raises:
        InputError: The file cannot be read, or a line is not actor, outfit and action.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); expected lines such as 001/1/1") from error
    identities = []
    for number, line in enumerate(lines, start=1):
        identity = _identity(line)
        if line and identity is None:
            raise InputError(f"{path}: line {number}: got {line!r}, expected actor, outfit and action such as 001/1/1")
        identities += [identity] if identity is not None else []
    return identities


def _identity(name: str) -> str | None:
    match = IDENTITY.search(name.replace("\\", "/").removesuffix(".mp4"))
    return "_".join(match.groups()) if match else None


IPER = Layout("iPER", find, stride=1, resize="squeeze")
