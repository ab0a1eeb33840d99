import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ipoke.core.pixels import clip_from_frames, frames_from_clip


def test_all_256_levels_come_back_exactly():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    clip = clip_from_frames(levels)
    assert clip.dtype == torch.float32
    assert clip.shape == (1, 3, 16, 16)
    assert (clip.min(), clip.max()) == (-1, 1)
    np.testing.assert_array_equal(frames_from_clip(clip), levels)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=4, max_side=5).map(lambda shape: (*shape, 3))))
def test_frames_of_any_shape_come_back_exactly(frames):
    np.testing.assert_array_equal(frames_from_clip(clip_from_frames(frames)), frames)


def test_views_and_mirrored_frames_are_read_right():
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(frames_from_clip(clip_from_frames(frames[:, ::-1, ::2])), frames[:, ::-1, ::2])


def test_channels_move_to_the_front():
    frames = np.zeros((2, 4, 5, 3), np.uint8)
    frames[1, 2, 3, 0] = 255
    assert clip_from_frames(frames)[1, 0, 2, 3] == 1
    assert clip_from_frames(frames).sum() == -frames.size + 2


@given(st.floats(-1, 1, width=32))
def test_values_between_levels_go_to_the_nearest(value):
    level = int(frames_from_clip(torch.full((1, 3, 1, 1), value))[0, 0, 0, 0])
    assert abs((value + 1) * 127.5 - level) <= 0.5 + 1e-4


def test_rounding_noise_is_forgiven():
    clip = torch.tensor([-1 - 5e-5, 1 + 5e-5, 0.0]).view(1, 3, 1, 1)
    assert frames_from_clip(clip).flatten().tolist() == [0, 255, 128]


@pytest.mark.parametrize("value", [1.001, -1.001, 255.0, float("nan"), float("inf"), float("-inf")])
def test_values_out_of_range_raise(value):
    clip = torch.zeros(1, 3, 4, 4)
    clip[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match=r"expected \[-1, 1\]"):
        frames_from_clip(clip)


def test_what_needs_a_gradient_can_be_shown():
    clip = torch.zeros(1, 3, 2, 2, requires_grad=True)
    assert frames_from_clip(clip).max() == 128
