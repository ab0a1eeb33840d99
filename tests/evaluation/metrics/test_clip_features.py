import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ipoke.evaluation.metrics import clip_features
from ipoke.evaluation.metrics.clip_features import (
    MOVING,
    WEIGHTS_SHA256,
    digest,
    motion_grid,
    random_conv3d,
    random_conv3d_weights,
)
from ipoke.evaluation.metrics.frechet import GaussianStatistics, frechet_distance

COUNT, FRAMES, SIDE = 96, 6, 32
KNOWN = [0.06749098, 0.01134122, 0.05794944, 0.01257749]


@pytest.fixture(scope="module")
def clips():
    """Blobs of all colours that move steadily before a smooth background."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    made = np.empty((COUNT, FRAMES, SIDE, SIDE, 3))
    for clip in made:
        clip[:] = gaussian_filter(rng.normal(size=(SIDE, SIDE, 3)), (4, 4, 0)) * 400 + rng.uniform(80, 160, 3)
        start, speed, colour = rng.uniform(8, 24, 2), rng.uniform(-1.5, 1.5, 2), rng.uniform(0, 255, 3)
        for t, frame in enumerate(clip):
            cx, cy = start + t * speed
            blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18)[..., None]
            frame[:] = frame * (1 - blob) + colour * blob
    return as_frames(made)


def as_frames(clips):
    return clips.round().clip(0, 255).astype(np.uint8)


def distances(features, originals, changed):
    reference = GaussianStatistics.of(features(originals))
    return [frechet_distance(reference, GaussianStatistics.of(features(each))) for each in changed]


def grows(values):
    return all(near < far for near, far in itertools.pairwise(values))


def frozen(clips, moving):
    """Let only the first frames move."""
    return clips[:, np.minimum(np.arange(FRAMES), moving - 1)]


def test_a_set_has_no_distance_to_itself(clips):
    assert distances(random_conv3d, clips, [clips, clips[::-1]]) == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("change", ["blur", "noise"])
def test_the_distance_grows_with_blur_and_noise(clips, change):
    noise = np.random.default_rng(1).normal(size=clips.shape)
    worse = {
        "blur": lambda size: gaussian_filter(clips.astype(float), (0, 0, size, size, 0)),
        "noise": lambda size: clips + 6 * size * noise,
    }[change]
    values = distances(random_conv3d, clips, [as_frames(worse(size)) for size in (0, 0.7, 1.5, 3)])
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert grows(values)


def test_the_distance_grows_as_time_freezes(clips):
    values = distances(random_conv3d, clips, [frozen(clips, moving) for moving in (FRAMES, 4, 2, 1)])
    assert grows(values)


def test_the_distance_grows_as_time_is_shuffled(clips):
    orders = [[0, 1, 2, 3, 4, 5], [0, 1, 3, 2, 4, 5], [0, 3, 1, 4, 2, 5], [0, 5, 1, 4, 2, 3]]
    values = distances(random_conv3d, clips, [clips[:, order] for order in orders])
    assert grows(values)


def test_other_clips_of_the_same_kind_are_nearer_than_changed_ones(clips):
    half = COUNT // 2
    few = [features[:, :16] for features in (random_conv3d(clips), random_conv3d(frozen(clips, 1)))]
    halves = [GaussianStatistics.of(rows) for rows in (few[0][:half], few[0][half:], few[1][half:])]
    assert frechet_distance(halves[0], halves[1]) < frechet_distance(halves[0], halves[2])


def test_features_do_not_depend_on_the_batch(clips):
    together = random_conv3d(clips[:4])
    assert together.shape == (4, 64)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([random_conv3d(clip[None]) for clip in clips[:4]]), rtol=1e-4)


def test_weights_are_those_that_define_the_metric():
    weights = random_conv3d_weights()
    assert digest(weights) == WEIGHTS_SHA256
    changed = [weights[0].copy(), *weights[1:]]
    changed[0][0, 0, 0, 0, 0] += 1
    assert digest(changed) != WEIGHTS_SHA256


def test_weights_are_orthogonal_and_half_of_the_first_are_blind_to_what_stands_still():
    weights = random_conv3d_weights()
    assert not weights[0][:MOVING].sum(2).any()
    assert weights[0][MOVING:].sum(2).any()
    for layer in weights:
        rows = layer.reshape(len(layer), -1) / 4096
        np.testing.assert_allclose(rows @ rows.T, 2 * np.eye(len(rows)), atol=0.01)


def test_other_weights_are_refused(monkeypatch):
    clip_features._weights.cache_clear()
    monkeypatch.setattr(clip_features, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="the metric is another one"):
        random_conv3d(np.zeros((1, 3, 8, 8, 3), np.uint8))


def test_the_value_of_a_known_clip_stays():
    ramp = np.arange(3 * 16 * 16 * 3, dtype=np.uint32).reshape(1, 3, 16, 16, 3) * 37 % 256
    features = random_conv3d(ramp.astype(np.uint8))[0]
    assert features[[0, 31, 32, 63]].tolist() == pytest.approx(KNOWN, rel=1e-4)


def test_motion_is_averaged_in_cells():
    optical_flow = np.zeros((2, 2, 2, 16, 16), np.float32)
    optical_flow[0, 1, 0, :4, 12:] = 3  # last frame, x, upper right cell
    optical_flow[1, 0, 1, 8:10, :4] = -2  # middle frame, y, half of a cell of the third row
    grid = motion_grid(optical_flow).reshape(2, 2, 2, 4, 4)
    assert grid[0, 1, 0, 0, 3] == 3
    assert grid[1, 0, 1, 2, 0] == -1
    assert np.count_nonzero(grid) == 2


def test_motion_that_is_too_small_is_told_by_its_size():
    motion = np.random.default_rng(0).normal(size=(COUNT, 2, 2, 18, 18)).astype(np.float32)
    values = distances(motion_grid, motion, [motion * size for size in (1, 0.9, 0.5, 0)])
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert grows(values)
