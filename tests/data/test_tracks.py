import itertools

import cv2
import numpy as np
import pytest

from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.tracks import advanced, followed_optical_flow, tracks, trusted_step

SIDE = 64


def texture(seed, side=SIDE):
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5).astype(np.float32)
    return np.clip((smooth - 128) * 3 + 128, 0, 255).astype(np.uint8)


def moving_square(steps, dx, dy, side=10):
    """Move a small textured square over a dim textured ground."""
    ground, square = texture(0) // 3, 155 + texture(1, side) // 3
    frames = []
    for step in range(steps + 1):
        frame, (x, y) = ground.copy(), (20 + dx * step, 24 + dy * step)
        frame[y : y + side, x : x + side] = square
        frames.append(frame)
    return np.stack(frames)


def test_a_small_fast_part_is_followed_where_one_search_loses_it():
    frames = moving_square(10, 2, 1)
    followed = tracks(frames)
    assert followed.shape == (10, 2, SIDE, SIDE)
    assert followed.dtype == np.float32
    inside = np.s_[:, 26:32, 22:28]
    for step in (2, 5, 10):
        error = followed[step - 1][inside] - np.array([2 * step, step]).reshape(2, 1, 1)
        assert np.hypot(*error).mean() < 0.15 * step
    lost = np.hypot(*(estimate_with_dis(frames[0], frames[-1])[inside] - np.array([20, 10]).reshape(2, 1, 1))).mean()
    assert np.hypot(*(followed[-1][inside] - np.array([20, 10]).reshape(2, 1, 1))).mean() < 0.5 * lost


def test_what_stands_still_stays():
    still = np.repeat(texture(0)[None], 5, axis=0)
    assert not tracks(still).any()
    followed = tracks(moving_square(6, 2, 0))
    assert np.abs(followed[:, :, :12]).max() < 0.2
    assert np.abs(followed[:, :, 48:]).max() < 0.2


def test_noise_does_not_drift():
    rng = np.random.default_rng(0)
    walls = np.clip(rng.normal(120, 1.0, (11, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    assert np.hypot(*tracks(walls)[-1]).mean() < 0.05


def test_a_step_that_explains_nothing_is_no_step():
    before, after = texture(0), texture(5)
    everywhere = np.full((2, SIDE, SIDE), 3.0, np.float32)
    trusted = trusted_step(before, before[:, ::-1], lambda first, last: everywhere)
    assert (trusted == 0).mean() > 0.4
    shifted = np.roll(before, (2, 3), (0, 1))
    right = np.stack([np.full((SIDE, SIDE), 3.0, np.float32), np.full((SIDE, SIDE), 2.0, np.float32)])
    assert (trusted_step(before, shifted, lambda first, last: right)[:, 4:-4, 4:-4] != 0).mean() > 0.9
    assert (trusted_step(before, shifted, lambda first, last: -right)[:, 4:-4, 4:-4] != 0).mean() < 0.5
    assert not trusted_step(after, after, lambda first, last: everywhere).any()


def test_steps_are_taken_where_the_points_are():
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    shift = np.stack([np.full_like(x, 4.0), np.full_like(x, -3.0)])
    grows = np.stack([0.1 * (x - 32), 0.2 * (y - 32)])
    there = advanced(shift, grows)
    expected = np.stack([4 + 0.1 * (x + 4 - 32), -3 + 0.2 * (y - 3 - 32)])
    np.testing.assert_allclose(there[:, 4:, :-5], expected[:, 4:, :-5], atol=1e-4)
    assert np.abs(advanced(grows, shift) - there)[:, 4:, :-5].max() > 0.3


@pytest.mark.parametrize("stride", [1, 2])
def test_the_optical_flow_of_a_run_is_that_of_each_of_its_clips(stride):
    frames, window = moving_square(8, 1, 1), 4
    fields = followed_optical_flow(frames, window, stride, estimate_with_dis)
    assert fields.shape == (len(frames) - window, 2, SIDE, SIDE)
    for start in (0, 3):
        position = np.zeros((2, SIDE, SIDE), np.float32)
        clip = frames[start : start + window + 1 : stride]
        for before, after in itertools.pairwise(clip):
            position = advanced(position, trusted_step(before, after, estimate_with_dis))
        np.testing.assert_array_equal(fields[start], position)
    x, y = 20 + 3 + 5, 24 + 3 + 5
    np.testing.assert_allclose(fields[3, :, y, x], (4, 4), atol=0.5)


def test_tracks_stay_within_a_pixel_where_one_search_is_lost_altogether():
    frames = moving_square(8, 3, -1, side=8)
    inside, wanted = np.s_[:, 24:32, 20:28], np.array([24, -8]).reshape(2, 1, 1)
    direct = np.hypot(*(estimate_with_dis(frames[0], frames[-1])[inside] - wanted))
    assert np.median(direct) > 10
    quick = np.hypot(*(tracks(frames)[-1][inside] - wanted))
    assert np.median(quick) < 1
    (stored,) = followed_optical_flow(frames, 8, 1, estimate_with_dis)
    assert np.median(np.hypot(*(stored[inside] - wanted))) < 0.5
    assert np.median(np.hypot(*(stored - tracks(frames)[-1])[inside])) < 1


def test_tracks_differ_from_steps_that_are_added_where_the_points_began():
    frames = moving_square(8, 3, -1, side=8)
    pairs = itertools.pairwise(frames)
    added = sum(trusted_step(before, after, estimate_with_dis)[:, 28, 24] for before, after in pairs)
    assert np.hypot(*(added - np.array([24, -8]))) > 10


def test_a_small_affine_motion_is_composed_in_closed_form():
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2
    place = np.stack([x, y])
    first, second = np.array([[0.06, -0.09], [0.04, 0.02]]), np.array([[-0.03, 0.08], [0.05, -0.07]])
    fields = [np.einsum("ij,jhw->ihw", matrix, place).astype(np.float32) for matrix in (first, second)]
    expected = np.einsum("ij,jhw->ihw", first + second @ (np.eye(2) + first), place)
    swapped = np.einsum("ij,jhw->ihw", second + first @ (np.eye(2) + second), place)
    got = advanced(*fields)[:, 8:-8, 8:-8]
    np.testing.assert_allclose(got, expected[:, 8:-8, 8:-8], atol=0.01)
    assert np.abs(got - swapped[:, 8:-8, 8:-8]).max() > 0.1


def test_each_pair_of_neighbours_is_estimated_once():
    frames, pairs = moving_square(9, 1, 0), []

    def estimate(first, last):
        pairs.append(tuple(int(np.abs(frames - one).sum((1, 2, 3)).argmin()) for one in (first, last)))
        return np.zeros((2, SIDE, SIDE), np.float32)

    assert followed_optical_flow(frames, 6, 3, estimate).shape == (4, 2, SIDE, SIDE)
    assert pairs == [(i, i + 3) for i in range(7)]


def test_noise_drifts_where_every_step_is_believed():
    rng = np.random.default_rng(0)
    walls = np.clip(rng.normal(120, 1.0, (11, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    (followed,) = followed_optical_flow(walls, 10, 1, estimate_with_dis)
    assert np.hypot(*followed).mean() < 0.05
    believed = np.zeros((2, SIDE, SIDE), np.float32)
    for before, after in itertools.pairwise(walls):
        believed = advanced(believed, estimate_with_dis(before, after))
    assert np.hypot(*believed).mean() > 1
