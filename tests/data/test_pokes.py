import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipoke.core.errors import InputError
from ipoke.core.sections import PokeSettings
from ipoke.data.poke import Poke
from ipoke.data.pokes import (
    PIN_PX,
    PIN_REACH_PX,
    STILL_PX,
    foreground_mask,
    poke_map,
    sample_pins,
    sample_pokes,
    zero_poke,
)

SIZE = 64
MARGIN = PokeSettings().patch


def field_of_disc(radius=9.0, x=30.0, y=26.0, vector=(6.0, -3.0)):
    """A disc that moves and, within it, a little variation, on a background that trembles."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    disc = np.hypot(columns - x, rows - y) < radius
    noise = np.random.default_rng(0).normal(scale=0.05, size=(2, SIZE, SIZE))
    return (noise + disc * np.reshape(vector, (2, 1, 1))).astype(np.float32), disc


def field_with_moving_share(share):
    """The first rows of the inner region move by 4 px, the rest stands still."""
    inner = SIZE - 2 * MARGIN
    optical_flow = np.zeros((2, SIZE, SIZE), np.float32)
    optical_flow[0, : MARGIN + round(share * inner)] = 4
    return optical_flow


def zero_pokes(optical_flow, draws, foreground=None):
    drawn = [zero_poke(optical_flow, PokeSettings(), np.random.default_rng(i), foreground) for i in range(draws)]
    assert None not in drawn
    return [poke for poke in drawn if poke is not None]


def places(pokes):
    return {(int(p.y), int(p.x)) for p in pokes}


def many(optical_flow, settings=None, foreground=None, draws=300, count=None):
    settings = settings or PokeSettings()
    drawn = [
        sample_pokes(optical_flow, settings, np.random.default_rng(i), foreground, count=count) for i in range(draws)
    ]
    return [pokes for pokes in drawn if pokes is not None]


def test_pokes_lie_where_things_move_and_carry_the_vector_of_the_field():
    optical_flow, disc = field_of_disc()
    for pokes in many(optical_flow):
        for poke in pokes:
            assert disc[int(poke.y), int(poke.x)]
            assert (poke.dx, poke.dy) == tuple(optical_flow[:, int(poke.y), int(poke.x)].tolist())


def test_every_candidate_is_reached_and_no_other():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    hill = np.exp(-((columns - 40) ** 2 + (rows - 24) ** 2) / 60).astype(np.float32)
    optical_flow = np.stack((3 * hill, -2 * hill))
    length = np.hypot(*optical_flow.astype(np.float64))[MARGIN:-MARGIN, MARGIN:-MARGIN]
    length = (length - length.min()) / (length.max() - length.min())
    rows, columns = np.nonzero(length > length.mean() + 2 * length.std())
    expected = set(zip((rows + MARGIN).tolist(), (columns + MARGIN).tolist(), strict=True))
    assert set().union(*(places(pokes) for pokes in many(optical_flow, draws=1000))) == expected


def test_pokes_keep_the_margin_even_where_the_border_moves_most():
    optical_flow = np.zeros((2, SIZE, SIZE), np.float32)
    optical_flow[0, : MARGIN + 3] = 2
    optical_flow[0, :MARGIN] = 50
    for pokes in many(optical_flow):
        for poke in pokes:
            assert MARGIN <= poke.x < SIZE - MARGIN
            assert MARGIN <= poke.y < MARGIN + 3


@pytest.mark.parametrize(
    ("share", "bars_that_fail"),
    [(0.1, 0), (0.3, 1), (0.6, 2)],
)
def test_the_bar_falls_where_much_of_the_image_moves(share, bars_that_fail):
    optical_flow = field_with_moving_share(share)
    moving = optical_flow[0, MARGIN:-MARGIN, MARGIN:-MARGIN] / 4
    bars = [moving.mean() + k * moving.std() for k in (2, 1, 0)]
    assert [bool((moving > bar).any()) for bar in bars].index(True) == bars_that_fail
    drawn = many(optical_flow)
    assert len(drawn) == 300
    assert all(poke.dx == 4 for pokes in drawn for poke in pokes)


def test_a_mask_keeps_pokes_inside_it_and_is_left_only_where_nothing_moves_in_it():
    optical_flow, disc = field_of_disc()
    left = np.zeros((SIZE, SIZE), bool)
    left[:, :28] = True
    assert all(poke.x < 28 for pokes in many(optical_flow, foreground=left) for poke in pokes)
    nothing = np.zeros((SIZE, SIZE), bool)
    outside = many(optical_flow * disc, foreground=nothing)
    assert len(outside) == 300
    assert {place for pokes in outside for place in places(pokes)} <= {tuple(p) for p in np.argwhere(disc).tolist()}


@pytest.mark.parametrize("vector", [(0.0, 0.0), (3.0, 1.0)])
def test_a_still_or_uniformly_moving_image_has_nothing_to_poke(vector):
    optical_flow = np.broadcast_to(np.array(vector, np.float32)[:, None, None], (2, SIZE, SIZE)).copy()
    assert sample_pokes(optical_flow, PokeSettings(), np.random.default_rng(0)) is None
    assert zero_poke(optical_flow, PokeSettings(), np.random.default_rng(0)) is None


def test_the_number_of_pokes_is_uniform_from_one_to_the_most():
    optical_flow, _ = field_of_disc()
    counts = np.bincount([len(pokes) for pokes in many(optical_flow, draws=1000)], minlength=6)
    assert counts[0] == 0
    # Four standard deviations of a binomial with p = 1/5 around 200.
    assert np.all(np.abs(counts[1:] - 200) < 4 * np.sqrt(1000 * 0.2 * 0.8))
    assert {len(pokes) for pokes in many(optical_flow, PokeSettings(), count=5)} == {5}


def test_there_are_never_more_pokes_than_candidates():
    optical_flow = np.zeros((2, SIZE, SIZE), np.float32)
    optical_flow[0, 30, 30:32] = 3
    assert {len(pokes) for pokes in many(optical_flow)} == {1, 2}


def test_the_seed_decides():
    optical_flow, _ = field_of_disc()
    one, same, other = (
        [sample_pokes(optical_flow, PokeSettings(), rng) for _ in range(20)]
        for rng in map(np.random.default_rng, (1, 1, 2))
    )
    assert one == same != other


def test_too_small_a_field_is_refused():
    with pytest.raises(InputError, match="twice the margin"):
        sample_pokes(np.ones((2, 10, 10), np.float32), PokeSettings(), np.random.default_rng(0))


def test_a_zero_poke_pushes_the_background_as_the_foreground_moves():
    optical_flow, disc = field_of_disc()
    for poke in zero_pokes(optical_flow, draws=100):
        assert not disc[int(poke.y), int(poke.x)]
        assert np.hypot(poke.dx - 6, poke.dy + 3) < 0.5
        assert MARGIN <= min(poke.x, poke.y) <= max(poke.x, poke.y) < SIZE - MARGIN


def test_a_zero_poke_reaches_all_of_a_background_that_stands_perfectly_still():
    optical_flow = field_with_moving_share(0.2)
    pokes = zero_pokes(optical_flow, draws=200)
    assert all(optical_flow[0, int(p.y), int(p.x)] == 0 for p in pokes)
    assert len(places(pokes)) > 150


def test_a_zero_poke_lies_outside_the_mask():
    optical_flow, disc = field_of_disc()
    mask = np.ones((SIZE, SIZE), bool)
    mask[40:, 40:] = False
    assert all(min(poke.x, poke.y) >= 40 for poke in zero_pokes(optical_flow, draws=50, foreground=mask))
    assert zero_poke(optical_flow, PokeSettings(), np.random.default_rng(0), np.ones_like(disc)) is None


def test_pins_lie_at_rest_near_what_moves():
    optical_flow, disc = field_of_disc()
    moving = np.argwhere(disc)
    low, high = moving.min(0) - PIN_REACH_PX, moving.max(0) + PIN_REACH_PX
    drawn = [sample_pins(optical_flow, PokeSettings(max_pins=3), np.random.default_rng(i)) for i in range(400)]
    pins = [pin for pins in drawn for pin in pins]
    for pin in pins:
        assert pin.is_pin
        assert np.hypot(*optical_flow[:, int(pin.y), int(pin.x)]) < STILL_PX
        assert low[0] <= pin.y <= high[0]
        assert low[1] <= pin.x <= high[1]
    assert len(places(pins)) > 200
    counts = np.bincount([len(pins) for pins in drawn], minlength=4)
    assert np.all(np.abs(counts - 100) < 4 * np.sqrt(400 * 0.25 * 0.75))


def test_there_are_no_pins_by_default_nor_where_nothing_moves():
    optical_flow, _ = field_of_disc()
    for seed in range(20):
        assert sample_pins(optical_flow, PokeSettings(), np.random.default_rng(seed)) == []
        assert sample_pins(0 * optical_flow, PokeSettings(max_pins=3), np.random.default_rng(seed)) == []
        assert sample_pins(1 + 0 * optical_flow, PokeSettings(max_pins=3), np.random.default_rng(seed)) == []


def test_the_map_holds_each_poke_in_its_square_and_zeros_elsewhere():
    drawn = poke_map([Poke(x=20.0, y=33.0, dx=4.5, dy=-2.0)], size=SIZE)
    expected = np.zeros((2, SIZE, SIZE), np.float32)
    expected[0, 31:36, 18:23] = 4.5
    expected[1, 31:36, 18:23] = -2
    np.testing.assert_array_equal(drawn, expected)


def test_later_pokes_overwrite_and_pins_are_visible_but_negligible():
    drawn = poke_map([Poke(10.0, 10.0, 1.0, 1.0), Poke(12.0, 10.0, 7.0, 0.0), Poke(10.0, 12.0, 0.0, 0.0)], size=SIZE)
    assert drawn[:, 8, 8].tolist() == [1, 1]
    assert drawn[:, 8, 12].tolist() == [7, 0]
    assert drawn[:, 12, 10].tolist() == pytest.approx([PIN_PX, PIN_PX])
    assert 0 < PIN_PX < 0.01


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-0.5, SIZE - 0.51),
    y=st.floats(-0.5, SIZE - 0.51),
    half=st.integers(0, 4),
)
def test_squares_are_centred_on_the_nearest_pixel_and_clipped_at_the_border(x, y, half):
    drawn = poke_map([Poke(x, y, 1.0, 2.0)], size=SIZE, patch=2 * half + 1)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    near = np.maximum(np.abs(columns - np.floor(x + 0.5)), np.abs(rows - np.floor(y + 0.5))) <= half
    np.testing.assert_array_equal(drawn[0], near)
    np.testing.assert_array_equal(drawn[1], 2 * near)


@pytest.mark.parametrize(("x", "y"), [(-0.6, 3), (SIZE - 0.5, 3), (3, -1), (3, SIZE), (float("nan"), 3)])
def test_a_poke_outside_the_image_is_refused(x, y):
    with pytest.raises(InputError, match="outside the image of 64 x 64 px"):
        poke_map([Poke(float(x), float(y), 1.0, 1.0)], size=SIZE)


def test_grabcut_finds_a_bright_thing_in_the_middle_and_repeats_itself():
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    thing = np.hypot(columns - 33, rows - 30) < 13
    source = rng.integers(0, 40, (SIZE, SIZE, 3)).astype(np.uint8)
    source[thing] += np.array([180, 140, 20], np.uint8)
    mask = foreground_mask(source)
    assert (mask & thing).sum() / (mask | thing).sum() > 0.9
    np.testing.assert_array_equal(mask, foreground_mask(source))
