"""Laws of filling what is not known, and planted mistakes that each of them must catch."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from ipoke.networks.autoencoder import fill
from ipoke.networks.autoencoder.fill import LEAST_WEIGHT, filled

SIZES = ((64, 64), (32, 32), (24, 24), (10, 10), (40, 16))
POWERS_OF_TWO = (64, 32)


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_weights(*shape, seed):
    """Know a third of the pixels in part, a third in full, and a third not at all."""
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1).clamp(0, 1)


def with_holes(size, seed):
    """Make a picture and weights, with far values where nothing is known."""
    picture, weight = random(2, 3, *size, seed=seed), random_weights(2, 1, *size, seed=seed + 1)
    return torch.where(weight > 0, picture, 1e3 * picture), weight


def pushed_and_pulled(picture, weight):
    """Do the same slowly, in plain numbers, for one channel of a square whose side is a power of two."""
    side = len(picture)
    if side == 1:
        return [[picture[0][0] if weight[0][0] > 0 else 0.0]]
    half = range(side // 2)
    means, knowns = [[[0.0 for _ in half] for _ in half] for _ in range(2)]
    for y, x in itertools.product(half, half):
        four = [(2 * y + below, 2 * x + right) for below in (0, 1) for right in (0, 1)]
        known = sum(weight[row][column] for row, column in four)
        total = sum(weight[row][column] * picture[row][column] for row, column in four)
        means[y][x], knowns[y][x] = total / known if known else 0.0, known / 4
    coarser = pushed_and_pulled(means, knowns)

    def between(y, x):
        rows, columns = [max(0.0, min(place / 2 - 0.25, side / 2 - 1)) for place in (y, x)]
        top, left = math.floor(rows), math.floor(columns)
        return sum(
            (1 - abs(rows - row)) * (1 - abs(columns - column)) * coarser[row][column]
            for row, column in itertools.product((top, top + 1), (left, left + 1))
            if abs(rows - row) < 1 and abs(columns - column) < 1
        )

    return [
        [
            (weight[y][x] * picture[y][x] + LEAST_WEIGHT * between(y, x)) / (weight[y][x] + LEAST_WEIGHT)
            for x in range(side)
        ]
        for y in range(side)
    ]


def it_agrees_with_pixels_averaged_one_by_one(fills):
    for side, seed in ((8, 0), (16, 1)):
        picture, weight = with_holes((side, side), seed)
        slowly = [
            [pushed_and_pulled(channel.tolist(), known[0].tolist()) for channel in channels]
            for channels, known in zip(picture, weight, strict=True)
        ]
        torch.testing.assert_close(fills(picture, weight), torch.tensor(slowly, dtype=torch.float64))


def what_is_known_hardly_changes(fills):
    for size in SIZES:
        picture, weight = random(2, 3, *size, seed=2), (random(2, 1, *size, seed=3) > -0.5).double()
        change = (fills(picture, weight) - picture)[weight.expand_as(picture) == 1].abs()
        assert change.max() <= LEAST_WEIGHT / (1 + LEAST_WEIGHT) * (picture.max() - picture.min())


def a_hole_in_one_colour_gets_that_colour(fills):
    colour = torch.tensor([0.7, -0.4, 0.1]).double().view(3, 1, 1)
    for size in SIZES:
        weight = random_weights(2, 1, *size, seed=4)
        weight[..., size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 0
        picture = torch.where(weight > 0, colour, 50.0)
        torch.testing.assert_close(fills(picture, weight), colour.expand_as(picture))


def values_stay_between_those_that_are_known(fills):
    for size, seed in itertools.product(SIZES, (5, 6)):
        picture, weight = with_holes(size, seed)
        least = torch.where(weight > 0, picture, math.inf).amin((2, 3), keepdim=True)
        largest = torch.where(weight > 0, picture, -math.inf).amax((2, 3), keepdim=True)
        result = fills(picture, weight)
        assert (result >= least - 1e-9).all()
        assert (result <= largest + 1e-9).all()


def what_is_not_known_does_not_matter(fills):
    for size in SIZES:
        picture, weight = with_holes(size, seed=7)
        assert torch.equal(fills(picture, weight), fills(torch.where(weight > 0, picture, -8.0), weight))


def where_nothing_is_known_there_is_nothing(fills):
    for size in SIZES:
        assert not fills(random(2, 3, *size, seed=8), torch.zeros(2, 1, *size).double()).any()


def one_known_pixel_fills_the_picture(fills):
    for size, (y, x) in itertools.product(SIZES, ((0, 0), (7, 6), (-1, -1), (9, -2))):
        picture, weight = random(1, 3, *size, seed=9), torch.zeros(1, 1, *size).double()
        weight[..., y, x] = 1
        torch.testing.assert_close(fills(picture, weight), picture[..., y, x, None, None].expand_as(picture))


def only_how_weights_compare_counts(fills):
    for size, factor in itertools.product(SIZES, (1e-3, 1e-9, 7.0)):
        picture, weight = with_holes(size, seed=16)
        torch.testing.assert_close(fills(picture, factor * weight), fills(picture, weight))


def the_better_known_counts_more(fills):
    picture = torch.tensor([[1.0, -1.0], [50.0, 50.0]]).double().expand(1, 2, 2, 2)
    weight = torch.tensor([[0.9, 0.3], [0.0, 0.0]]).double().view(1, 1, 2, 2)
    torch.testing.assert_close(fills(picture, weight)[:, :, 1], torch.full((1, 2, 2), 0.5).double())


def a_hole_takes_after_what_lies_around_it(fills):
    for side in POWERS_OF_TWO:
        picture, weight = torch.zeros(1, 3, side, side).double(), torch.ones(1, 1, side, side).double()
        picture[..., side // 2 :] = 1
        middle, quarter = side // 2, side // 4
        for centre in (quarter, 3 * quarter):
            weight[..., middle - 2 : middle + 2, centre - 2 : centre + 2] = 0
        result = fills(picture, weight)[..., middle - 2 : middle + 2, :]
        assert result[..., quarter - 2 : quarter + 2].max() < 0.1
        assert result[..., 3 * quarter - 2 : 3 * quarter + 2].min() > 0.9


def sums_and_multiples_are_filled_alike(fills):
    for size in SIZES:
        first, weight = with_holes(size, seed=10)
        second, _ = with_holes(size, seed=11)
        torch.testing.assert_close(
            fills(2 * first - 3 * second, weight), 2 * fills(first, weight) - 3 * fills(second, weight)
        )


def a_flipped_or_turned_picture_is_filled_alike(fills):
    turns = [lambda x, times=times: x.rot90(times, (2, 3)) for times in (1, 2, 3)]
    for side, turn in itertools.product(POWERS_OF_TWO, (*turns, lambda x: x.flip(2), lambda x: x.flip(3))):
        picture, weight = with_holes((side, side), seed=12)
        torch.testing.assert_close(fills(turn(picture), turn(weight)), turn(fills(picture, weight)))


def pictures_and_channels_do_not_meet(fills):
    picture, weight = with_holes((32, 32), seed=13)
    together = fills(picture, weight)
    for n, channels in itertools.product(range(2), ([0, 1], [1, 2], [2, 0])):
        alone = fills(picture[n : n + 1, channels], weight[n : n + 1])
        torch.testing.assert_close(together[n : n + 1, channels], alone)


LAWS = (
    it_agrees_with_pixels_averaged_one_by_one,
    what_is_known_hardly_changes,
    a_hole_in_one_colour_gets_that_colour,
    values_stay_between_those_that_are_known,
    what_is_not_known_does_not_matter,
    where_nothing_is_known_there_is_nothing,
    one_known_pixel_fills_the_picture,
    only_how_weights_compare_counts,
    the_better_known_counts_more,
    a_hole_takes_after_what_lies_around_it,
    sums_and_multiples_are_filled_alike,
    a_flipped_or_turned_picture_is_filled_alike,
    pictures_and_channels_do_not_meet,
)


@pytest.mark.parametrize("law", LAWS)
def test_filled_obeys(law):
    law(filled)


def weight_ignored(picture, weight):
    return filled(picture, torch.ones_like(weight))


def known_or_not(picture, weight):
    return filled(picture, (weight > 0).double())


def nothing_filled(picture, weight):
    return torch.where(weight > 0, picture, 0)


def coarse_level_forgotten(picture, weight):
    return picture * weight / (weight + LEAST_WEIGHT)


def filled_with_the_mean_colour(picture, weight):
    mean = (picture * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)
    return (picture * weight + LEAST_WEIGHT * mean) / (weight + LEAST_WEIGHT)


def with_part_replaced(owner, name, other, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, other)
        return filled(*arguments)


def weights_not_averaged_along(picture, weight):
    def pool(x, side, average=F.avg_pool2d, **how):
        return torch.ones_like(average(x, side, **how)) if x.shape[1] == 1 else average(x, side, **how)

    return with_part_replaced(F, "avg_pool2d", pool, picture, weight)


def every_second_pixel_dropped(picture, weight):
    return with_part_replaced(F, "avg_pool2d", lambda x, side, **_: x[..., ::side, ::side], picture, weight)


def coarse_pixels_seen(picture, weight):
    def nearest(x, size, mode, interpolate=F.interpolate):
        return interpolate(x, size, mode=mode.replace("bilinear", "nearest"))

    return with_part_replaced(F, "interpolate", nearest, picture, weight)


def known_pixels_blurred(picture, weight):
    return with_part_replaced(fill, "LEAST_WEIGHT", 1.0, picture, weight)


def quarters_filled_apart(picture, weight):
    halves = [
        zip(*(x.chunk(2, 3) for x in half), strict=True)
        for half in zip(picture.chunk(2, 2), weight.chunk(2, 2), strict=True)
    ]
    return torch.cat([torch.cat([filled(*quarter) for quarter in half], 3) for half in halves], 2)


def positive_part_only(picture, weight):
    return filled(picture.clamp_min(0), weight)


def pushed_aside(picture, weight):
    return filled(picture, weight).roll(1, 3)


def averaged_over_the_batch(picture, weight):
    return filled(picture, weight).mean(0, keepdim=True).expand_as(picture)


def channels_mixed(picture, weight):
    return filled(picture, weight).mean(1, keepdim=True).expand_as(picture)


@pytest.mark.parametrize(
    ("defect", "law"),
    [
        (weight_ignored, it_agrees_with_pixels_averaged_one_by_one),
        (weight_ignored, a_hole_in_one_colour_gets_that_colour),
        (weight_ignored, values_stay_between_those_that_are_known),
        (weight_ignored, what_is_not_known_does_not_matter),
        (weight_ignored, where_nothing_is_known_there_is_nothing),
        (known_or_not, it_agrees_with_pixels_averaged_one_by_one),
        (known_or_not, the_better_known_counts_more),
        (nothing_filled, a_hole_in_one_colour_gets_that_colour),
        (nothing_filled, one_known_pixel_fills_the_picture),
        (coarse_level_forgotten, a_hole_in_one_colour_gets_that_colour),
        (coarse_level_forgotten, one_known_pixel_fills_the_picture),
        (filled_with_the_mean_colour, it_agrees_with_pixels_averaged_one_by_one),
        (filled_with_the_mean_colour, a_hole_takes_after_what_lies_around_it),
        (weights_not_averaged_along, it_agrees_with_pixels_averaged_one_by_one),
        (weights_not_averaged_along, a_hole_in_one_colour_gets_that_colour),
        (weights_not_averaged_along, one_known_pixel_fills_the_picture),
        (every_second_pixel_dropped, one_known_pixel_fills_the_picture),
        (every_second_pixel_dropped, a_flipped_or_turned_picture_is_filled_alike),
        (coarse_pixels_seen, it_agrees_with_pixels_averaged_one_by_one),
        (known_pixels_blurred, what_is_known_hardly_changes),
        (quarters_filled_apart, one_known_pixel_fills_the_picture),
        (positive_part_only, sums_and_multiples_are_filled_alike),
        (pushed_aside, what_is_known_hardly_changes),
        (pushed_aside, a_flipped_or_turned_picture_is_filled_alike),
        (averaged_over_the_batch, pictures_and_channels_do_not_meet),
        (channels_mixed, pictures_and_channels_do_not_meet),
    ],
)
def test_the_defect_is_caught(defect, law):
    with pytest.raises(AssertionError):
        law(defect)
