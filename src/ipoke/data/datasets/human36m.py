"""Human3.6M: seven actors in a laboratory; two of them are the test."""

import re
from pathlib import Path

from ipoke.data.clip_rows import Split
from ipoke.data.datasets.layout import DatasetVideo, Found, Layout, at_least_one, named
from ipoke.data.discover import FoundVideo, IgnoredFile, find_videos

ACTORS: dict[str, Split] = {
    **{"S1": "train", "S5": "train", "S6": "train", "S7": "train", "S8": "train"},
    **{"S9": "test", "S11": "test"},
}
SEVERAL = re.compile(r"(?<![A-Za-z])ALL(?![a-z])")
"""In the name of videos that repeat what others show."""
ACTOR = re.compile(r"^S(\d+)(?=$|[_ .-])", re.IGNORECASE)


def find(root: Path, _test_videos: str | None) -> Found:
    """Find the videos by actor, who is in the name of a folder (S1/Videos/...) or at the start of a file's."""
    found, ignored = find_videos([root])
    parts = []
    for video in found:
        actor = _actor(video)
        if SEVERAL.search(video.path.stem):
            ignored.append(IgnoredFile(video.path, "ALL in its name"))
        elif actor is None:
            ignored.append(IgnoredFile(video.path, "no actor in its name or folders"))
        elif actor not in ACTORS:
            ignored.append(IgnoredFile(video.path, f"{actor} is in neither split"))
        else:
            parts.append(DatasetVideo(video, ACTORS[actor], actor))
    present = {part.object for part in parts}
    absent = [f"{actor} ({split})" for actor, split in ACTORS.items() if actor not in present]
    missing = [f"videos of {named(absent)}"] if absent else []
    at_least_one(root, parts, missing, "videos in folders such as S1/Videos/, or named such as S1_Walking.mp4")
    return Found(tuple(parts), tuple(ignored), tuple(missing))


def _actor(video: FoundVideo) -> str | None:
    for name in reversed(Path(video.name).parts):
        if match := ACTOR.match(name):
            return f"S{int(match[1])}"
    return None


HUMAN36M = Layout("Human3.6M", find, stride=1, resize="crop", rate_hz=6.25)
