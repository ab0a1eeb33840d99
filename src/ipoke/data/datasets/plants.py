"""Poking-Plants: videos of single plants; the end of each video is its test part."""

import re
from pathlib import Path

from ipoke.data.datasets.layout import DatasetVideo, Found, Layout, at_least_one
from ipoke.data.discover import FoundVideo, find_videos
from ipoke.errors import InputError
from ipoke.files import reason

TRAIN_SHARE = 0.8
PUBLISHED = 27
"""Videos of the published set, of 13 plants."""
OBJECTS_FILE = "objects.txt"
TAKE = re.compile(r"[-_ ]*(?:take|part|clip|video)?[-_ ]*\d+$", re.IGNORECASE)
"""What tells the takes of one plant apart at the end of a file's name."""


def find(root: Path, _test_videos: str | None) -> Found:
    """Find the videos, each twice: its first 80 % for training, the rest for the test.

    Which plant a video shows is what ``objects.txt`` says (lines of video and plant), else the folder it lies in, else
    its name without the number of the take.
    """
    videos, ignored = find_videos([root])
    told = _told(root / OBJECTS_FILE)
    parts = []
    for video in videos:
        plant = _plant(video, told)
        parts.append(DatasetVideo(video, "train", plant, (0.0, TRAIN_SHARE)))
        parts.append(DatasetVideo(video, "test", plant, (TRAIN_SHARE, 1.0)))
    missing = []
    if len(videos) < PUBLISHED:
        missing.append(f"{PUBLISHED - len(videos)} of the {PUBLISHED} published videos")
    known = {name for video in videos for name in (video.name, video.path.name, video.path.stem)}
    missing += [f"{name}, which {OBJECTS_FILE} names" for name in told if name not in known]
    at_least_one(root, parts, missing, "the published .mkv files, in folders per plant or in one")
    rest = tuple(file for file in ignored if file.path.name != OBJECTS_FILE)
    return Found(tuple(parts), rest, tuple(missing))


def _plant(video: FoundVideo, told: dict[str, str]) -> str:
    for name in (video.name, video.path.name, video.path.stem):
        if name in told:
            return told[name]
    folders = Path(video.name).parts[1:-1]
    return "/".join(folders) if folders else TAKE.sub("", video.path.stem) or video.path.stem


def _told(path: Path) -> dict[str, str]:
    """Read which plant each video shows.

    Raises:
        InputError: The file cannot be read, or a line is not a video and a plant.
    """
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); expected lines of video and plant") from error
    told = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) not in (0, 2):
            raise InputError(f"{path}: line {number}: got {line!r}, expected video and plant, such as fern_1.mkv fern")
        if words:
            told[words[0]] = words[1]
    return told


PLANTS = Layout("Poking-Plants", find, stride=2, resize="squeeze")
