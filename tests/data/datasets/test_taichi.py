import os
from pathlib import Path

import numpy as np
import pytest

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.data.prepare import prepare
from miniature import film, squeezed


def prepared(root, out, size=32, frames=3, **more):
    return prepare([root], out, dataset="taichi", size=size, frames=frames, **more)


def splits_of(report):
    return {row.video.partition("/")[2]: row.split for row in report.rows}


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder for each split, with films and folders of frames, one of which the loader called a film."""
    for name in ("train/a#1.mp4", "train/test#2.mp4", "train/frames", "test/train#3.mp4"):
        film(tmp_path / "taichi", name, 12)
    return tmp_path / "taichi"


@pytest.fixture
def flat(tmp_path) -> Path:
    for name in ("hedge_1.mp4", "hedge_2.mp4", "lake_1.mp4"):
        film(tmp_path / "flat", name, 12)
    return tmp_path / "flat"


def test_the_folders_are_the_splits(root, tmp_path):
    report = prepared(root, tmp_path / "set")
    assert splits_of(report) == {
        "test/train#3.mp4": "test",
        "train/a#1.mp4": "train",
        "train/test#2.mp4": "train",
        "train/frames": "train",
    }
    assert report.missing == report.ignored == ()
    clip_set = ClipSet(tmp_path / "set", split="test")
    assert (clip_set.stride, clip_set.settings.resize) == (2, "squeeze")
    assert clip_set.settings.origin["test"] == "of the data set"
    frames = film(tmp_path, "test/train#3.mp4", 12)[1:8:2]
    assert np.sqrt(np.mean((clip_set.clip(1).astype(float) - squeezed(frames, 32)) ** 2)) < 4


def test_a_folder_that_is_not_there_is_missing_and_others_are_ignored(root, tmp_path):
    (root / "test" / "train#3.mp4").unlink()
    film(root, "more/b.mp4", 12)
    report = prepared(root, tmp_path / "set")
    assert report.missing == ("videos in test/",)
    assert [(file.path.name, file.why) for file in report.ignored] == [("b.mp4", "neither in train nor in test")]
    lines = list(report.lines())
    assert "missing: videos in test/" in lines
    assert lines[-1] == "one split has no clips; add what is missing"


def test_without_the_folders_a_pattern_says_what_to_hold_out(flat, tmp_path):
    report = prepared(flat, tmp_path / "set", test_videos="hedge_*")
    assert splits_of(report) == {"hedge_1.mp4": "test", "hedge_2.mp4": "test", "lake_1.mp4": "train"}
    assert report.missing == ()
    assert ClipSet(tmp_path / "set").settings.origin == {
        "made_by": "prepare",
        "dataset": "taichi",
        "test": "videos hedge_*",
    }


def test_neither_folders_nor_pattern_and_both_are_refused(root, flat, tmp_path):
    for folder, pattern, said in (
        (flat, None, r"nothing of Tai-Chi-HD can be used, got 3 videos, expected .*train and test.*--test-videos"),
        (flat, "dojo_*", "no video matches 'dojo_"),
        (root, "a*", "is split into train and test"),
    ):
        with pytest.raises(InputError, match=said):
            prepared(folder, tmp_path / "set", test_videos=pattern)
    assert not (tmp_path / "set").exists()


def test_what_is_asked_for_wins(flat, tmp_path):
    prepared(flat, tmp_path / "set", test_videos="hedge_*", stride=1, resize="letterbox")
    settings = ClipSet(tmp_path / "set").settings
    assert (settings.stride, settings.resize) == (1, "letterbox")


def test_real_footage(tmp_path):
    folder = Path(os.environ.get("IPOKE_DATA", "")) / "taichi"
    if "IPOKE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs videos of Tai-Chi-HD in the folder taichi of the folder that IPOKE_DATA names")
    few = tmp_path / "taichi"
    few.mkdir()
    names = [min(folder.glob(f"{scene}_*"), key=lambda path: path.stat().st_size).name for scene in ("hedge", "lake")]
    for name in names:
        (few / name).symlink_to(folder / name)
    report = prepared(few, tmp_path / "set", test_videos="hedge_*", size=64, frames=10)
    assert splits_of(report) == dict(zip(names, ("test", "train"), strict=True))
    assert all(row.size == (256, 256) and row.fps == 30 for row in report.rows)
    assert min(report.clips("train"), report.clips("test")) > 30
    clip_set = ClipSet(tmp_path / "set")
    assert clip_set.clip(0).shape == (11, 64, 64, 3)
    lengths = [np.hypot(*clip_set.optical_flow(i)).max() for i in range(0, len(clip_set), 10)]
    assert 2 < np.median(lengths) < 30
