from pathlib import Path

import numpy as np
import pytest

from ipoke.data.clips import ClipSet
from ipoke.data.prepare import prepare
from miniature import film, squeezed

FRAMES = 3


def prepared(root, out, **more):
    return prepare([root], out, dataset="human36m", size=32, frames=FRAMES, **more)


@pytest.fixture
def root(tmp_path) -> Path:
    """Every subject once, by folder, or by file, at 50 Hz."""
    for name in (
        *(f"S{subject}/Videos/Walking 1.{subject}.mp4" for subject in (1, 5, 6, 7, 9, 11)),
        "more/S8_Walking.mp4",
    ):
        film(tmp_path / "h36m", name, 50, fps=50, px=0.25)
    return tmp_path / "h36m"


def test_subjects_are_the_splits(root, tmp_path):
    report = prepared(root, tmp_path / "set")
    assert {row.object: row.split for row in report.rows} == {
        **dict.fromkeys(("S1", "S5", "S6", "S7", "S8"), "train"),
        **dict.fromkeys(("S9", "S11"), "test"),
    }
    assert report.missing == report.ignored == ()


def test_every_eighth_frame_is_kept_of_50_hz(root, tmp_path):
    report = prepared(root, tmp_path / "set")
    settings = report.settings
    assert (settings.stride, settings.resize) == (1, "crop")
    assert {(row.keep_every, row.fps, row.frames) for row in report.rows} == {(8, 6.25, 7)}
    clip_set = ClipSet(tmp_path / "set")
    (index, *_) = (i for i in range(len(clip_set)) if clip_set.row(i).source.object == "S9" and clip_set.row(i).start)
    place = clip_set.row(index)
    assert place.first == 8
    frames = film(tmp_path, "S9/Videos/Walking 1.9.mp4", 50, px=0.25)[8 : 8 + 8 * FRAMES + 1 : 8, :, 8:40]
    assert np.sqrt(np.mean((clip_set.clip(index).astype(float) - squeezed(frames, 32)) ** 2)) < 4


@pytest.mark.parametrize(("fps", "keep_every"), [(50, 8), (25, 4), (30, 5), (24, 4), (6.25, 1), (3, 1)])
def test_the_rate_is_as_near_as_whole_frames_allow(tmp_path, fps, keep_every):
    film(tmp_path / "v", "S1/a.mp4", 30, fps=fps)
    (row,) = prepared(tmp_path / "v", tmp_path / "set").rows
    assert (row.keep_every, row.fps) == (keep_every, fps / keep_every)
    assert row.frames == len(range(0, 30, keep_every))


def test_compilations_and_strangers_are_ignored_and_absent_subjects_missing(tmp_path):
    for name in ("S1/_ALL.54.mp4", "S1/a.mp4", "S2/b.mp4", "S11/c.mp4", "S15/d.mp4", "e.mp4", "xS5/f.mp4"):
        film(tmp_path / "S9" / "v", name, 30, fps=25)
    report = prepared(tmp_path / "S9" / "v", tmp_path / "set")
    assert {row.video: row.object for row in report.rows} == {"v/S1/a.mp4": "S1", "v/S11/c.mp4": "S11"}
    assert {file.path.name: file.why[:13] for file in report.ignored} == {
        "_ALL.54.mp4": "a compilation",
        **dict.fromkeys(("b.mp4", "d.mp4", "e.mp4", "f.mp4"), "of none of th"),
    }
    assert report.missing == ("S5 (train)", "S6 (train)", "S7 (train)", "S8 (train)", "S9 (test)")


def test_the_folder_itself_may_be_of_a_subject_without_saying_so(tmp_path):
    film(tmp_path / "S9", "S1_a.mp4", 30, fps=25)
    assert [row.object for row in prepared(tmp_path / "S9", tmp_path / "set").rows] == ["S1"]
