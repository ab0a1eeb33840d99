"""iPER: people who move before a static camera, split by a list of its authors."""

import re

from ipoke.core.errors import InputError
from ipoke.data.clip_rows import Split
from ipoke.data.datasets.layout import DatasetVideo, Findings, Layout, Part, Root
from ipoke.data.discover import IgnoredFile

LIST = "train.txt"
ID = re.compile(r"(?:^|.*[/_])([0-9]+)[/_]([0-9]+)[/_]([0-9]+)$")
"""Actor, outfit, action: ``001_1_2``, or a folder for each."""


def _find(root: Root) -> Findings:
    takes: dict[tuple[int, ...], DatasetVideo] = {}
    ignored = []
    trains = None if root.lines is None else {_listed(root, line): line for line in root.lines}
    for video in root.videos:
        path = root.relative(video)
        take = _take((path.with_suffix("") if video.path.is_file() else path).as_posix())
        if take is None:
            ignored.append(IgnoredFile(video.path, "its name is no actor, outfit and action"))
        elif take in takes:
            ignored.append(IgnoredFile(video.path, "a second video of the same actor, outfit and action"))
        else:
            split: Split = "train" if trains and take in trains else "test"
            takes[take] = DatasetVideo(video, (Part(split),), f"{take[0]:03d}")
    if not takes:
        return Findings((), ignored=tuple(ignored))
    if not trains:
        raise InputError(
            f"{root.folder / LIST}: got no list, expected the authors' list of training videos, with lines such as "
            "001_1_2; copy it there"
        )
    absent = [line for take, line in trains.items() if take not in takes]
    missing = (f"{len(absent)} of {len(trains)} videos that {LIST} lists: {', '.join(absent)}",) if absent else ()
    return Findings(tuple(takes.values()), missing, tuple(ignored))


def _take(name: str) -> tuple[int, ...] | None:
    match = ID.match(name)
    return tuple(int(number) for number in match.groups()) if match else None


def _listed(root: Root, line: str) -> tuple[int, ...]:
    take = _take(line.rstrip("/"))
    if take is None:
        raise InputError(f"{root.folder / LIST}: got {line!r}, expected actor, outfit and action, such as 001_1_2")
    return take


IPER = Layout(
    title="iPER",
    expected=f"{LIST}, the authors' list with lines such as 001_1_2 (actor, outfit, action), and videos such as "
    "001_1_2.mp4 or folders such as 001/1/2 of frames",
    find=_find,
    stride=1,
    resize="squeeze",
    list_file=LIST,
)
