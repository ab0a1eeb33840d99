"""Tai-Chi-HD: one person each, as the first-order motion model's loader cuts and sorts them."""

import fnmatch
from pathlib import Path

from ipoke.data.clip_rows import Split
from ipoke.data.datasets.layout import DatasetVideo, Found, Layout, at_least_one
from ipoke.data.discover import FoundVideo, IgnoredFile, find_videos
from ipoke.errors import InputError

SPLITS: tuple[Split, ...] = ("train", "test")


def find(root: Path, test_videos: str | None) -> Found:
    """Find the videos of the folders train/ and test/; or of one folder, with a pattern of what to hold out.

    Raises:
        InputError: There are neither folders nor a pattern, or both.
    """
    folders = [split for split in SPLITS if (root / split).is_dir()]
    if test_videos is not None and folders:
        raise InputError(f"{root}: has {' and '.join(folders)}/, which say what is held out; leave --test-videos out")
    if test_videos is None and not folders:
        raise InputError(
            f"{root}: nothing to prepare; missing: the folders train/ and test/; expected videos in both, or in one "
            "folder with --test-videos and a pattern of their names"
        )
    if test_videos is not None:
        videos, ignored = find_videos([root])
        held_out = {v.path for v in videos if fnmatch.fnmatchcase(v.path.name, test_videos)}
        if not held_out:
            example = videos[0].path.name
            raise InputError(f"--test-videos: no video matches {test_videos!r}, names are such as {example}")
        parts = [_part(video, "test" if video.path in held_out else "train") for video in videos]
        return Found(tuple(parts), tuple(ignored), ())
    parts, others, missing = [], [], []
    for split in SPLITS:
        found, ignored = _in_folder(root, split)
        parts += [_part(video, split) for video in found]
        others += ignored
        missing += [] if found else [f"the videos of {split}/"]
    at_least_one(root, parts, missing, "videos in the folders train/ and test/")
    return Found(tuple(parts), tuple(others), tuple(missing))


def _in_folder(root: Path, split: str) -> tuple[list[FoundVideo], list[IgnoredFile]]:
    """Look through one of the folders; that it lacks videos is for the caller to say."""
    folder = root / split
    if not folder.is_dir() or not any(folder.iterdir()):
        return [], []
    found, ignored = find_videos([folder])
    return [FoundVideo(video.path, f"{root.resolve().name}/{video.name}") for video in found], ignored


def _part(video: FoundVideo, split: Split) -> DatasetVideo:
    """Videos are named by recording and cut; pieces of one recording show one person."""
    return DatasetVideo(video, split, video.path.stem.split("#")[0])


TAICHI = Layout("Tai-Chi-HD", find, stride=2, resize="squeeze", takes_test_videos=True)
