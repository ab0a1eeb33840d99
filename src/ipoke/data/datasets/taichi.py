"""Tai-Chi-HD as the loader of the first-order model cuts it: a folder for each split."""

from collections.abc import Mapping

from ipoke.core.errors import InputError
from ipoke.data.clip_rows import Split
from ipoke.data.datasets.layout import DatasetVideo, Findings, Layout, Part, Root
from ipoke.data.discover import IgnoredFile, check_matches, matches

FOLDERS: Mapping[str, Split] = {"train": "train", "test": "test"}


def _find(root: Root) -> Findings:
    splits: list[Split | None] = [FOLDERS.get(root.relative(video).parts[0]) for video in root.videos]
    if root.test_videos is not None:
        if any(splits):
            raise InputError(
                f"--test-videos: got {root.test_videos!r}, but {root.folder} is split into train and test; leave it out"
            )
        check_matches(root.videos, root.test_videos)
        splits = ["test" if matches(video, root.test_videos) else "train" for video in root.videos]
    pairs = list(zip(root.videos, splits, strict=True))
    return Findings(
        tuple(DatasetVideo(video, (Part(split),)) for video, split in pairs if split),
        tuple(f"videos in {name}/" for name, split in FOLDERS.items() if split not in splits and not root.test_videos),
        tuple(IgnoredFile(video.path, "neither in train nor in test") for video, split in pairs if not split),
    )


TAICHI = Layout(
    title="Tai-Chi-HD",
    expected="videos in folders train and test, or in one folder with --test-videos to say what to hold out",
    find=_find,
    stride=2,
    resize="squeeze",
    takes_test_videos=True,
)
