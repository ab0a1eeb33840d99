"""Other futures of simulated clips are those of the clip's own scene and poke; points are followed through frames."""

import json
import shutil

import cv2
import numpy as np
import pytest

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.evaluation.metrics.true_futures import followed_points, grid_points, true_futures
from ipoke.scenes.writing import scene_clip


@pytest.fixture(scope="module")
def clips(clip_set):
    return ClipSet(clip_set, split="train")


def with_origin(clip_set, folder, **origin):
    """Copy a set and say that it is from elsewhere."""
    shutil.copytree(clip_set, folder)
    settings = json.loads((folder / "settings.json").read_text())
    settings["origin"] = settings["origin"] | origin if origin else {}
    (folder / "settings.json").write_text(json.dumps(settings))
    return ClipSet(folder)


def texture(size=96):
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def test_futures_start_from_the_stored_clip(clips):
    for index in (0, len(clips) - 1):
        futures, stored, extras = true_futures(clips, index, 3, seed=0), clips.clip(index), clips.extras(index)
        poke = futures.poke
        assert [poke.x, poke.y, poke.dx, poke.dy] == extras["poke"].tolist()
        assert futures.keypoint_names == tuple(extras["keypoint_names"])
        assert futures.keypoint_names[-1] == "poked"
        for half in (futures.truths, futures.oracle):
            assert half.frames.shape == (3, *stored.shape)
            assert half.frames.dtype == np.uint8
            assert half.keypoints.shape == (3, *extras["keypoints"].shape)
            assert (half.frames[:, 0] == half.frames[0, 0]).all()
            assert np.abs(half.frames[0, 0].astype(int) - stored[0]).mean() < 5
            assert (half.keypoints[:, 0] == extras["keypoints"][0]).all()


def test_futures_differ_from_each_other_and_from_the_stored_one(clips):
    futures = true_futures(clips, 1, 4, seed=0)
    _, stored = scene_clip(1, int(clips.row(1).source.id[-6:]), size=64, frames=clips.frames)
    ends = [stored.keypoints[-1], *futures.truths.keypoints[:, -1], *futures.oracle.keypoints[:, -1]]
    assert all(np.abs(ends[i] - ends[j]).max() > 1e-3 for i in range(9) for j in range(i))
    targets = [end[-1] for end in ends]
    asked = stored.keypoints[0, -1] + (futures.poke.dx, futures.poke.dy)
    assert np.linalg.norm(np.mean(targets, 0) - asked) < 4


def test_the_first_futures_do_not_depend_on_how_many_but_on_the_seed(clips):
    few, many, other = (true_futures(clips, 0, n, seed=seed) for n, seed in ((1, 0), (3, 0), (1, 1)))
    for name in ("truths", "oracle"):
        assert (getattr(few, name).keypoints[0] == getattr(many, name).keypoints[0]).all()
        assert (getattr(few, name).frames[0] == getattr(many, name).frames[0]).all()
        assert (getattr(few, name).keypoints != getattr(other, name).keypoints).any()


def test_sets_without_known_futures_are_refused(clip_set, clips, tmp_path):
    with pytest.raises(InputError, match="not a simulated set"):
        true_futures(with_origin(clip_set, tmp_path / "video"), 0, 1, seed=0)
    with pytest.raises(InputError, match="clip 0 differs from what this version simulates"):
        true_futures(with_origin(clip_set, tmp_path / "other", seed=2), 0, 1, seed=0)
    with pytest.raises(InputError, match="got 0"):
        true_futures(clips, 0, 0, seed=0)


def test_points_are_followed_to_where_they_go():
    image = texture()
    frames = np.stack([image[16 - t : 80 - t, 16 - 2 * t : 80 - 2 * t] for t in range(6)])
    points = np.array([[20, 24], [30.5, 31.25], [40, 22.5]])
    followed = followed_points(frames, points)
    assert followed.shape == (6, 3, 2)
    assert followed.dtype == np.float32
    assert (followed[0] == points).all()
    steps = np.arange(6)[:, None, None] * np.array([2, 1])
    assert np.abs(followed - points - steps).max() < 0.4


def test_points_between_pixels_take_what_lies_between(monkeypatch):
    field = np.mgrid[:8, :8][::-1].astype(np.float32)
    monkeypatch.setattr("ipoke.evaluation.metrics.true_futures.tracks", lambda frames: np.stack([field, 2 * field]))
    points = np.array([[1.0, 2.0], [2.5, 4.25], [20.0, -3.0]])
    followed = followed_points(np.zeros((3, 8, 8, 3), np.uint8), points)
    assert followed[:, :2] == pytest.approx(np.stack([points, 2 * points, 3 * points])[:, :2])
    assert followed[1, 2] == pytest.approx(points[2] + [7, 0])


def test_still_points_stay_exactly():
    points = grid_points(64)
    followed = followed_points(np.repeat(texture(64)[None], 4, axis=0), points)
    assert (followed == points).all()


def test_on_scenes_following_beats_standing_still():
    followed_error, still_error = [], []
    for index in range(12):
        _, clip = scene_clip(3, index, size=64)
        start, end = clip.keypoints[0], clip.keypoints[-1]
        followed_error += np.linalg.norm(followed_points(clip.frames, start)[-1] - end, axis=1).tolist()
        still_error += np.linalg.norm(start - end, axis=1).tolist()
    assert np.mean(followed_error) < 0.75 * np.mean(still_error)


def test_a_grid_covers_the_picture_evenly():
    points = grid_points(64)
    assert points.shape == (64, 2)
    assert points.mean(0).tolist() == [31.5, 31.5]
    assert (points.min(), points.max()) == (3.5, 59.5)
    assert grid_points(64, 64).tolist() == [[31.5, 31.5]]
    assert grid_points(64, 20).min() == 11.5
    for step in (0, 65):
        with pytest.raises(ValueError, match="step"):
            grid_points(64, step)
