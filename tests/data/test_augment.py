import colorsys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from ipoke.core.sections import AugmentSettings
from ipoke.data import augment
from ipoke.data.augment import Augmentation, Colour, Geometry, adjust_colour, apply, draw
from ipoke.data.optical_flow import warp

SIZE = 64


def smooth(rng, channels, sigma):
    values = rng.standard_normal((SIZE, SIZE, channels)).astype(np.float32)
    values = cv2.GaussianBlur(values, (0, 0), sigma)
    return values / np.abs(values).max()


def moving_clip(seed):
    """Two smooth frames and the field between them, which comes to rest at the border."""
    rng = np.random.default_rng(seed)
    last = 128 + 120 * smooth(rng, 3, 4)
    ramp = np.clip(np.minimum(np.arange(SIZE), np.arange(SIZE)[::-1]) / 12, 0, 1)
    window = (ramp * ramp[:, None])[..., None].astype(np.float32)
    optical_flow = np.ascontiguousarray((6 * window * smooth(rng, 2, 9)).transpose(2, 0, 1))
    first = backwards(last, optical_flow)
    return np.stack((first, last)).round().astype(np.uint8), optical_flow


def backwards(image, optical_flow):
    tensor = torch.from_numpy(image.astype(np.float32)).movedim(-1, 0)[None]
    return warp(tensor, torch.from_numpy(optical_flow)[None])[0].movedim(0, -1).numpy()


def law_error(geometry, seed=0):
    """Mean difference, in levels, between the first frame and the last one warped back, both after augmentation."""
    frames, optical_flow = apply(Augmentation(None, geometry), *moving_clip(seed))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = columns + optical_flow[0], rows + optical_flow[1]
    inside = (x >= 0) & (x <= SIZE - 1) & (y >= 0) & (y <= SIZE - 1)
    length = np.hypot(*optical_flow)
    moved = length > length.max() / 5
    assert moved.sum() > 200
    return np.abs(backwards(frames[1], optical_flow) - frames[0])[inside & moved].mean()


def geometry(**changes):
    still = Geometry(
        size=SIZE, flipped=False, scale=1.0, angle_deg=0.0, shift=(0, 0), nearest=False, rotates_vectors=True
    )
    return replace(still, **changes)


MOVES = {
    "nothing": {},
    "flip": {"flipped": True},
    "shift": {"shift": (5, -9)},
    "small rotation": {"angle_deg": 15.0},
    "large rotation": {"angle_deg": -115.0},
    "zoom in": {"scale": 1.4},
    "zoom out": {"scale": 0.6},
    "far out": {"scale": 0.25, "angle_deg": 30.0},
    "all": {"flipped": True, "shift": (-6, 7), "angle_deg": 40.0, "scale": 0.8},
}
# At a quarter of its size the texture is 1 px fine, which bilinear sampling blurs.
TOLERANCE = {**dict.fromkeys(MOVES, 0.75), "far out": 3.0}


@pytest.mark.parametrize("name", MOVES)
def test_augment_then_warp_is_warp_then_augment(name):
    assert np.mean([law_error(geometry(**MOVES[name]), seed) for seed in range(4)]) < TOLERANCE[name]


@pytest.mark.parametrize("name", ["small rotation", "large rotation", "all"])
def test_the_law_sees_vectors_that_were_not_rotated(name):
    right = law_error(geometry(**MOVES[name]))
    wrong = law_error(geometry(**MOVES[name], rotates_vectors=False))
    assert wrong > 3 * right
    assert wrong > 2 * TOLERANCE[name]


def test_the_law_sees_vectors_that_were_not_mirrored_in_the_border(monkeypatch):
    monkeypatch.setattr(augment, "_mirrored", lambda _: np.zeros((SIZE, SIZE, 2), bool))
    assert law_error(geometry(**MOVES["zoom out"])) > 2 * TOLERANCE["zoom out"]


def test_rotating_by_a_right_angle_is_exact():
    frames, optical_flow = moving_clip(1)
    turned, field = apply(Augmentation(None, geometry(angle_deg=90.0)), frames, optical_flow)
    np.testing.assert_array_equal(turned, np.rot90(frames, k=-1, axes=(1, 2)))
    # A quarter turn clockwise takes right to down and down to left.
    expected = np.rot90(np.stack((-optical_flow[1], optical_flow[0])), k=-1, axes=(1, 2))
    np.testing.assert_allclose(field, expected, atol=1e-5)


def test_a_shift_moves_pixels_and_vectors_without_resampling():
    frames, optical_flow = moving_clip(2)
    moved, field = apply(Augmentation(None, geometry(shift=(3, -2))), frames, optical_flow)
    np.testing.assert_array_equal(moved[:, :-2, 3:], frames[:, 2:, :-3])
    np.testing.assert_array_equal(field[:, :-2, 3:], optical_flow[:, 2:, :-3])
    # Reflected about the border pixel, which is not repeated.
    np.testing.assert_array_equal(moved[:, :-2, :3], frames[:, 2:, 3:0:-1])
    np.testing.assert_array_equal(field[:, :-2, :3], optical_flow[:, 2:, 3:0:-1] * [[[-1]], [[1]]])


def test_a_flip_mirrors_the_vectors_also_where_the_original_is_followed():
    frames, optical_flow = moving_clip(2)
    for follows in (True, False):
        flipped, field = apply(
            Augmentation(None, geometry(flipped=True, rotates_vectors=follows)), frames, optical_flow
        )
        np.testing.assert_array_equal(flipped, frames[:, :, ::-1])
        np.testing.assert_allclose(field, optical_flow[:, :, ::-1] * [[[-1]], [[1]]], atol=1e-6)


def test_nearest_interpolation_makes_no_new_levels():
    frames = (np.random.default_rng(0).integers(0, 2, (2, SIZE, SIZE, 3)) * 255).astype(np.uint8)
    for nearest, levels in ((True, 2), (False, 200)):
        moved = augment.move_frames(geometry(angle_deg=10.0, nearest=nearest), frames)
        assert (len(np.unique(moved)) == 2) if nearest else (len(np.unique(moved)) > levels)


def test_all_frames_are_treated_alike():
    frames, optical_flow = moving_clip(0)
    still = np.repeat(frames[:1], 5, axis=0)
    settings = AugmentSettings(colour_probability=1, geometry_probability=1, flip_probability=0.5)
    for seed in range(10):
        moved, _ = apply(draw(settings, np.random.default_rng(seed), SIZE), still, optical_flow)
        assert (moved == moved[:1]).all()
        assert (moved != still).any()


def test_the_colour_of_a_thing_does_not_change_as_it_moves():
    frames, _ = moving_clip(0)
    frames[1] = frames[1] // 2  # another mean, as when something large comes into sight
    frames[1, 5, 5] = frames[0, 9, 9]
    colour = Colour(brightness=1.2, contrast=0.6, hue=0.1, saturation=1.3)
    changed = adjust_colour(colour, frames)
    assert changed[1, 5, 5].tolist() == changed[0, 9, 9].tolist()
    np.testing.assert_array_equal(changed[:1], adjust_colour(colour, frames[:1]))


def test_nothing_happens_with_probability_zero():
    frames, optical_flow = moving_clip(0)
    settings = AugmentSettings(colour_probability=0, geometry_probability=0, scale=(0.5, 2.0))
    for seed in range(20):
        drawn = draw(settings, np.random.default_rng(seed), SIZE)
        assert drawn == Augmentation(None, None)
        moved, field = apply(drawn, frames, optical_flow)
        np.testing.assert_array_equal(moved, frames)
        np.testing.assert_array_equal(field, optical_flow)


def test_draws_fill_their_ranges_and_keep_to_them():
    settings = AugmentSettings(scale=(0.9, 1.25), flip_probability=0.3, hue=(-0.15, 0.3))
    rng = np.random.default_rng(5)
    drawn = [draw(settings, rng, SIZE) for _ in range(2000)]
    colours = [d.colour for d in drawn if d.colour]
    moves = [d.geometry for d in drawn if d.geometry and d.geometry.angle_deg]
    for values, low, high in (
        ([c.brightness for c in colours], 0.6, 1.4),
        ([c.contrast for c in colours], 0.5, 1.5),
        ([c.saturation for c in colours], 0.6, 1.4),
        ([c.hue for c in colours], -0.15, 0.3),
        ([g.angle_deg for g in moves], -15, 15),
        ([g.scale for g in moves], 0.9, 1.25),
    ):
        assert low <= min(values) < low + 0.03 * (high - low)
        assert high - 0.03 * (high - low) < max(values) <= high
    for axis in (0, 1):
        assert {g.shift[axis] for g in moves} == {-3, -2, -1, 0, 1, 2, 3}
    for share, probability in (
        (len(colours), 0.8),
        (len(moves), 0.8),
        (sum(bool(d.geometry and d.geometry.flipped) for d in drawn), 0.3),
    ):
        assert abs(share - 2000 * probability) < 4 * np.sqrt(2000 * probability * (1 - probability))


def reference_colour(colour, image):
    """The four adjustments in floating point, as the common libraries define them."""
    luma = np.array([0.299, 0.587, 0.114])
    x = np.clip(image * colour.brightness, 0, 255)
    x = np.clip(colour.contrast * x + (1 - colour.contrast) * (x @ luma).mean(), 0, 255)
    turned = np.empty_like(x)
    for place in np.ndindex(x.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(x[place] / 255))
        turned[place] = np.multiply(colorsys.hsv_to_rgb((h + colour.hue) % 1, s, v), 255)
    return np.clip(colour.saturation * turned + (1 - colour.saturation) * (turned @ luma)[..., None], 0, 255)


@pytest.mark.parametrize(
    "colour",
    [
        Colour(1.0, 1.0, 0.0, 1.0),
        Colour(1.4, 1.0, 0.0, 1.0),
        Colour(0.6, 1.0, 0.0, 1.0),
        Colour(1.0, 0.5, 0.0, 1.0),
        Colour(1.0, 1.5, 0.0, 1.0),
        Colour(1.0, 1.0, 0.15, 1.0),
        Colour(1.0, 1.0, -0.15, 1.0),
        Colour(1.0, 1.0, 0.0, 0.6),
        Colour(1.0, 1.0, 0.0, 1.4),
        Colour(1.3, 0.7, -0.1, 1.2),
    ],
)
def test_colours_agree_with_their_definition(colour):
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    difference = np.abs(adjust_colour(colour, image[None])[0] - reference_colour(colour, image.astype(np.float64)))
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.99) < 8
    if colour == Colour(1.0, 1.0, 0.0, 1.0):
        assert difference.max() < 1e-9
