"""Finding the videos among files and folders, and giving each a name and an id that do not change."""

import dataclasses
import fnmatch
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ipoke.core.errors import InputError
from ipoke.core.files import reason
from ipoke.core.reading.regular import is_folder, open_regular, regular_file
from ipoke.data.images import is_animated
from ipoke.data.video import VIDEO_ENDINGS, frame_files, natural_key


@dataclasses.dataclass(frozen=True)
class FoundVideo:
    """A video file or a folder of frames; ``name`` is its path from the folder that was given, that folder included."""

    path: Path
    name: str


@dataclasses.dataclass(frozen=True)
class IgnoredFile:
    """A file that was met and is not taken for a video, and why."""

    path: Path
    why: str


def find_videos(inputs: Sequence[Path]) -> tuple[list[FoundVideo], list[IgnoredFile]]:
    """Look through files and folders, all levels down, in an order that depends on the names alone.

    A file that is given by itself is taken for a video whatever its ending. In folders, endings decide; two or more
    still images in a folder without videos are the frames of one video.

    Raises:
        InputError: A path does not exist or cannot be read, or there is no video at all.
    """
    videos: dict[Path, FoundVideo] = {}
    ignored: list[IgnoredFile] = []
    for given in inputs:
        if is_folder(given):
            found, others = find_in_folder(given)
            ignored += others
        else:
            found = [FoundVideo(regular_file(given, "video"), _encodable(given.name))]
        for video in found:
            videos.setdefault(video.path.resolve(), video)
    if not videos:
        where = ", ".join(str(given) for given in inputs) or "no paths were given"
        others = f"; {len(ignored)} other files were ignored, {ignored[0].path.name} first" if ignored else ""
        raise InputError(f"no video found in {where}{others}; expected files such as .mp4, .mkv, .avi or .gif")
    return list(videos.values()), ignored


def find_in_folder(folder: Path) -> tuple[list[FoundVideo], list[IgnoredFile]]:
    """Look through one folder, as `find_videos`; there may be no video.

    Raises:
        InputError: A folder cannot be read.
    """
    ignored: list[IgnoredFile] = []
    return list(_find_in(folder, ignored)), ignored


def matches(video: FoundVideo, pattern: str) -> bool:
    """Tell whether the name, the last part of it, or the path of a video matches a pattern such as ``*_wave2*``."""
    return any(
        fnmatch.fnmatchcase(name, pattern) for name in (video.name, Path(video.name).name, video.path.as_posix())
    )


def check_matches(videos: Sequence[FoundVideo], pattern: str) -> None:
    """Refuse a pattern of videos to hold out that none of them matches.

    Raises:
        InputError: None does.
    """
    if not any(matches(video, pattern) for video in videos):
        such = f", names are such as {videos[0].name}" if videos else ""
        raise InputError(f"--test-videos: no video matches {pattern!r}{such}")


def _find_in(folder: Path, ignored: list[IgnoredFile]) -> Iterator[FoundVideo]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({reason(error)}); check its permissions") from error

    top = folder.resolve().name
    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
        here = Path(where)
        seen = sorted((name for name in files if not name.startswith(".")), key=natural_key)
        names = [name for name in seen if (here / name).is_file()]
        ignored += [IgnoredFile(here / name, "a pipe, a device or a broken link") for name in seen if name not in names]
        videos = [name for name in names if _is_video(here / name)]
        stills = [file.name for file in frame_files(here) if file.name not in videos]
        is_one_video = not videos and len(stills) > 1
        relative = Path(top) / here.relative_to(folder)
        if is_one_video:
            yield FoundVideo(here, _encodable(relative.as_posix()))
        for name in videos:
            yield FoundVideo(here / name, _encodable((relative / name).as_posix()))
        for name in names:
            if name in stills and not is_one_video:
                ignored.append(IgnoredFile(here / name, "a single image"))
            elif name not in stills and name not in videos:
                ignored.append(IgnoredFile(here / name, "not a video"))


def _encodable(name: str) -> str:
    """Escape bytes of a file name that are no UTF-8, which JSON cannot hold."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_video(path: Path) -> bool:
    ending = path.suffix.lower()
    if ending == ".webp":
        return is_animated(path)
    return ending in VIDEO_ENDINGS or ending in (".gif", ".apng")


def content_sha256(path: Path) -> str:
    """Hash the bytes of a video file, or the names and bytes of a folder's frames.

    Raises:
        InputError: A file cannot be read.
    """
    digest = hashlib.sha256()
    is_folder = path.is_dir()
    try:
        for file in frame_files(path) if is_folder else [path]:
            if is_folder:
                digest.update(os.fsencode(file.name) + b"\0")
            with open_regular(file, "video") as content:
                while chunk := content.read(2**20):
                    digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check its permissions") from error
    return digest.hexdigest()


def source_id(name: str, sha256: str) -> str:
    """Give a video an id that is its own: a readable part, and a hash of name and contents.

    >>> source_id("a/walk one.mp4", "00")
    'walk_one-21721130'
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem).strip("_")[:60] or "video"
    return f"{readable}-{hashlib.sha256(f'{name}:{sha256}'.encode()).hexdigest()[:8]}"
