"""Human3.6M: seven actors filmed at 50 Hz, split by actor.

Differs from the original, whose released code squeezes whole frames and takes every second of those kept (3.125 Hz);
this is what the paper describes.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from ipoke.data.clip_rows import Split
from ipoke.data.datasets.layout import DatasetVideo, Findings, Layout, Part, Root
from ipoke.data.discover import IgnoredFile

SUBJECTS: Mapping[int, Split] = {
    **dict.fromkeys((1, 5, 6, 7, 8), "train"),
    **dict.fromkeys((9, 11), "test"),
}
NAMED = re.compile(r"(?<![A-Za-z0-9])S0*([0-9]+)(?![0-9])")
COMPILATION = "ALL"
"""In the names of videos that show all actions of an actor once more."""


def _find(root: Root) -> Findings:
    videos, ignored = [], []
    for video in root.videos:
        path = root.relative(video)
        subject = _subject(path)
        if COMPILATION in path.name:
            ignored.append(IgnoredFile(video.path, f"a compilation ({COMPILATION})"))
        elif subject not in SUBJECTS:
            ignored.append(IgnoredFile(video.path, f"of none of the subjects {_subjects()}"))
        else:
            videos.append(DatasetVideo(video, (Part(SUBJECTS[subject]),), f"S{subject}"))
    there = {video.object for video in videos}
    missing = [f"S{subject} ({split})" for subject, split in SUBJECTS.items() if f"S{subject}" not in there]
    return Findings(tuple(videos), tuple(missing), tuple(ignored))


def _subject(path: PurePosixPath) -> int:
    """Read the subject off the innermost folder, or the file, that names one; 0 if none does."""
    named = [int(match[1]) for part in path.parts for match in NAMED.finditer(part)]
    return named[-1] if named else 0


def _subjects() -> str:
    return ", ".join(f"S{subject}" for subject in SUBJECTS)


HUMAN36M = Layout(
    title="Human3.6M",
    expected=f"videos in folders, or with names, that name the subject ({_subjects()}), such as S1/Videos/Walking.mp4",
    find=_find,
    stride=1,
    resize="crop",
    rate_hz=6.25,
)
