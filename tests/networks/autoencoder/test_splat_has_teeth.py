"""Laws of the inversion of displacements, and planted mistakes that each of them must catch."""

import itertools
import math

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from ipoke.data.optical_flow import warp
from ipoke.networks.autoencoder import splat
from ipoke.networks.autoencoder.splat import GAP, LARGEST_MISS, SMALLEST_MISS, find_coverage, forward_splat

HEIGHT, WIDTH = 14, 18
LARGEST_ORDER = 10.0


def constant(dx, dy):
    return torch.tensor([dx, dy], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, HEIGHT, WIDTH).clone()


def level(motion):
    return torch.zeros_like(motion[:, :1])


def random(*shape, seed, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_orders(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * LARGEST_ORDER


def from_the_middle(height=HEIGHT, width=WIDTH):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x - (width - 1) / 2, y - (height - 1) / 2])[None].double()


def linear(matrix, drift, middle):
    """Make a motion that is linear in the place, and its exact inverse."""
    matrix, drift = torch.tensor(matrix).double(), torch.tensor(drift).double().view(1, 2, 1, 1)
    motion = torch.einsum("ij,bjhw->bihw", matrix, middle) + drift
    # (I + A)^-1 (q - d) is where q comes from.
    back = torch.linalg.inv(torch.eye(2).double() + matrix)
    return motion, torch.einsum("ij,bjhw->bihw", back, middle - drift) - middle


def part_before_ground(dx, dy, width):
    """Send an upright part over a ground that stands still, and tell which ground stays free and where it arrives."""
    motion, order = constant(0.0, 0.0), torch.zeros(1, 1, HEIGHT, WIDTH).double()
    part = (slice(None), slice(None), slice(5, 10), slice(8, 8 + width))
    motion[part], order[part] = torch.tensor([dx, dy]).double().view(2, 1, 1), LARGEST_ORDER
    x, y = torch.arange(WIDTH) - 8 - dx, torch.arange(HEIGHT)[:, None] - 5 - dy
    ground = motion[0, 0] == 0
    free = ground & ((x <= -1) | (x >= width) | (y <= -1) | (y >= 5))
    arrives = ground & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= 4)
    return motion, order, free, arrives


def pushed_one_by_one(motion, order):
    """Do the same slowly, in plain numbers: what arrives at a place, or else next to it, or else two places away."""
    count, _, height, width = motion.shape
    origin, shares = torch.zeros_like(motion), torch.zeros_like(order)
    for n in range(count):
        arrivals = {}
        for y, x in itertools.product(range(height), range(width)):
            dx, dy = motion[n, :, y, x].tolist()
            left, top = math.floor(x + dx), math.floor(y + dy)
            for column, row in itertools.product((left, left + 1), (top, top + 1)):
                share = (1 - abs(x + dx - column)) * (1 - abs(y + dy - row))
                if 0 <= column < width and 0 <= row < height and share > 0:
                    arrivals.setdefault((row, column), []).append((share, math.exp(order[n, 0, y, x]), dx, dy))
        for y, x in itertools.product(range(height), range(width)):
            shares[n, 0, y, x] = sum(share for share, *_ in arrivals.get((y, x), []))
            for reach in range(3):
                around = itertools.product(range(y - reach, y + reach + 1), range(x - reach, x + reach + 1))
                found = [one for place in around for one in arrivals.get(place, [])]
                if found:
                    total = sum(share * weight for share, weight, _, _ in found)
                    origin[n, 0, y, x] = -sum(share * weight * dx for share, weight, dx, _ in found) / total
                    origin[n, 1, y, x] = -sum(share * weight * dy for share, weight, _, dy in found) / total
                    break
    return origin, shares


def asked_one_by_one(motion, origin):
    """Ask slowly, in plain numbers, how far from each place its origin goes."""
    count, _, height, width = motion.shape
    answer = torch.zeros_like(motion[:, :1])
    for n, y, x in itertools.product(range(count), range(height), range(width)):
        back_x, back_y = origin[n, :, y, x].tolist()
        if not (-0.5 < x + back_x < width - 0.5 and -0.5 < y + back_y < height - 0.5):
            continue
        column, row = min(max(x + back_x, 0), width - 1), min(max(y + back_y, 0), height - 1)
        goes = [0.0, 0.0]
        for right, below in itertools.product(
            {math.floor(column), math.ceil(column)}, {math.floor(row), math.ceil(row)}
        ):
            share = (1 - abs(column - right)) * (1 - abs(row - below))
            goes = [sum_ + share * move for sum_, move in zip(goes, motion[n, :, below, right].tolist(), strict=True)]
        miss = math.hypot(goes[0] + back_x, goes[1] + back_y)
        answer[n, 0, y, x] = min(1, max(0, (LARGEST_MISS - miss) / (LARGEST_MISS - SMALLEST_MISS)))
    return answer


def what_stands_still_comes_from_itself(invert):
    assert not invert(constant(0.0, 0.0), random_orders(1, 1, HEIGHT, WIDTH, seed=0)).any()


def a_shift_of_the_whole_picture_is_inverted(invert):
    for dx, dy in ((3.0, -2.0), (-4.0, 3.0), (1.25, -0.4), (-0.3, 2.8)):
        motion = constant(dx, dy)
        origin = invert(motion, level(motion))
        x, y = (from_the_middle() - motion).abs()[0]
        arrives = (x < WIDTH / 2) & (y < HEIGHT / 2)
        torch.testing.assert_close(origin[0, :, arrives], -motion[0, :, arrives])
        went_away = (x > WIDTH / 2 + 2.5) | (y > HEIGHT / 2 + 2.5)
        assert not origin[0, :, went_away].any()


def a_smooth_motion_is_inverted(invert):
    motion, expected = linear([[0.06, -0.09], [0.05, -0.04]], [1.3, -0.7], from_the_middle(40, 56))
    miss = (invert(motion, level(motion)) - expected)[..., 5:-5, 5:-5].norm(dim=1)
    assert miss.max() < 0.1
    assert miss.mean() < 0.04


def gaps_of_a_stretched_picture_are_closed(invert):
    for factor in (1.5, 1.9, 2.5, 3.0, 5.0):
        motion, expected = linear([[factor - 1, 0.0], [0.0, factor - 1]], [0.0, 0.0], from_the_middle())
        error = (invert(motion, level(motion)) - expected)[..., 4:-4, 4:-4].abs().max()
        # A displacement from at most two places away.
        assert error <= 2 * (1 - 1 / factor) + 1e-3


def the_larger_order_hides_the_smaller(invert):
    motion, order = constant(0.0, 0.0), torch.zeros(1, 1, HEIGHT, WIDTH).double()
    motion[0, :, 4, 6], motion[0, :, 9, 5] = torch.tensor([2.0, 3.0]).double(), torch.tensor([3.0, -2.0]).double()
    motion[0, :, 7, 8] = torch.tensor([30.0, 30.0]).double()
    for first, second in ((0.5, -0.7), (LARGEST_ORDER, -LARGEST_ORDER), (-LARGEST_ORDER, LARGEST_ORDER)):
        order[0, 0, 4, 6], order[0, 0, 9, 5] = first, second
        share = torch.tensor(first - second).double().sigmoid()
        expected = -(share * motion[0, :, 4, 6] + (1 - share) * motion[0, :, 9, 5])
        torch.testing.assert_close(invert(motion, order)[0, :, 7, 8], expected)


def a_part_that_leaves_the_picture_leaves_no_trace(invert):
    for far in ((-9.3, 0.4), (17.0, 1.2), (0.3, -8.5), (-0.2, 12.0), (1e5, -1e5)):
        motion = constant(0.0, 0.0)
        motion[0, :, 2:6, 3:8] = torch.tensor(far).double().view(2, 1, 1)
        assert not invert(motion, level(motion)).any()


def still_ground_beside_a_fast_part_is_not_bent(invert):
    for (dx, dy), width in itertools.product(((5.0, 0.0), (-6.5, 2.0), (3.3, -3.7), (0.4, 4.0)), (1, 2, 5)):
        motion, order, free, arrives = part_before_ground(dx, dy, width)
        origin = invert(motion, order)
        assert not origin[..., free].any()
        torch.testing.assert_close(
            origin[..., arrives], -motion[..., 5:6, 8].expand(1, 2, int(arrives.sum())), atol=1e-3, rtol=0
        )


def it_agrees_with_pixels_pushed_one_by_one(invert):
    motion, order = random(2, 2, 8, 11, seed=3, scale=1.5), random(2, 1, 8, 11, seed=4)
    origin = invert(motion, order)
    slowly, shares = pushed_one_by_one(motion, order)
    whole, gap = (shares >= GAP).expand_as(origin), (shares == 0).expand_as(origin)
    most = (shares > 0.1).expand_as(origin)
    assert whole.double().mean() > 0.5
    assert gap.sum() > 20
    torch.testing.assert_close(origin[whole], slowly[whole])
    torch.testing.assert_close(origin[most], slowly[most], atol=2e-3, rtol=0)
    torch.testing.assert_close(origin[gap], slowly[gap], atol=2e-3, rtol=0)


def pictures_do_not_meet(invert):
    motion, order = random(3, 2, HEIGHT, WIDTH, seed=5, scale=6), random_orders(3, 1, HEIGHT, WIDTH, seed=6)
    alone = [invert(motion[n : n + 1], order[n : n + 1]) for n in range(3)]
    torch.testing.assert_close(invert(motion, order), torch.cat(alone))


def origins_go_against_a_motion_of_the_whole_picture(invert):
    def origin_inside(shift):
        motion = shift.view(1, 2, 1, 1).expand(1, 2, HEIGHT, WIDTH)
        return invert(motion, level(motion))[0, :, 5:-5, 5:-5].mean((1, 2))

    for shift in ([0.3, -0.6], [2.0, -1.0], [1.7, 2.2]):
        slope = torch.autograd.functional.jacobian(origin_inside, torch.tensor(shift).double())
        torch.testing.assert_close(slope, -torch.eye(2).double())
    torch.autograd.gradcheck(origin_inside, torch.tensor([0.3, -0.6], dtype=torch.float64, requires_grad=True))


def order_has_exact_gradients(invert):
    motion, order = random(1, 2, 3, 4, seed=7), random(1, 1, 3, 4, seed=8).requires_grad_()
    torch.autograd.gradcheck(lambda o: invert(motion, o), order)


def no_pixel_pulls_at_more_origins_than_lie_around_it(invert):
    """A pixel reaches 6 x 6 places, gaps between them filled, and makes up at most all of each: slopes of -36 to 0."""
    for seed, scale in itertools.product(range(3), (0.02, 1, 8)):
        motion = random(2, 2, HEIGHT, WIDTH, seed=seed, scale=scale).float().requires_grad_()
        order = random_orders(2, 1, HEIGHT, WIDTH, seed=seed + 50).float().requires_grad_()
        by_motion, by_order = torch.autograd.grad(invert(motion, order).sum(), (motion, order))
        assert -36 <= by_motion.min() <= by_motion.max() <= 1e-4
        assert by_order.isfinite().all()
        assert by_order.abs().max() < 36 * 4 * max(scale, 1)


LAWS_OF_ORIGINS = (
    what_stands_still_comes_from_itself,
    a_shift_of_the_whole_picture_is_inverted,
    a_smooth_motion_is_inverted,
    gaps_of_a_stretched_picture_are_closed,
    the_larger_order_hides_the_smaller,
    a_part_that_leaves_the_picture_leaves_no_trace,
    still_ground_beside_a_fast_part_is_not_bent,
    it_agrees_with_pixels_pushed_one_by_one,
    pictures_do_not_meet,
    origins_go_against_a_motion_of_the_whole_picture,
    order_has_exact_gradients,
    no_pixel_pulls_at_more_origins_than_lie_around_it,
)


@pytest.mark.parametrize("law", LAWS_OF_ORIGINS)
def test_origins_obey(law):
    law(forward_splat)


def where_nothing_moves_only_the_place_itself_is_true(tell):
    for dx, dy, expected in (
        (0.0, 0.0, 1),
        (0.6, -0.6, 1),
        (1.75, 0.0, 0.5),
        (0.0, -2.125, 0.25),
        (-1.8, 1.8, 0),
        (9, 0, 0),
    ):
        told = tell(constant(0.0, 0.0), constant(dx, dy))[..., 3:-3, 3:-3]
        torch.testing.assert_close(told, torch.full_like(told, expected))


def what_comes_from_outside_is_not_true(tell):
    motion = constant(6.0, 0.0)
    assert not tell(motion, -motion)[..., :6].any()
    assert (tell(motion, -motion)[..., 6:] == 1).all()


def a_shift_of_the_whole_picture_arrives(tell):
    for dx, dy in ((5.0, -2.0), (-4.0, 6.0), (1.25, -0.4), (-0.3, 4.8)):
        motion = constant(dx, dy)
        told = tell(motion, forward_splat(motion, level(motion)))[0, 0]
        x, y = (from_the_middle() - motion).abs()[0]
        assert (told[(x < WIDTH / 2) & (y < HEIGHT / 2)] == 1).all()
        assert not told[(x > WIDTH / 2 + 2.5) | (y > HEIGHT / 2 + 2.5)].any()


def a_smooth_motion_arrives_everywhere_inside(tell):
    for matrix in ([[0.06, -0.09], [0.05, -0.04]], [[-0.3, -0.7], [0.7, -0.3]], [[0.4, 0.0], [0.0, 0.4]]):
        motion, exact = linear(matrix, [1.3, -0.7], from_the_middle(40, 56))
        for origin in (forward_splat(motion, level(motion)), exact):
            assert (tell(motion, origin)[..., 12:-12, 12:-12] == 1).all()


def a_part_that_went_away_is_seen_once(tell):
    for (dx, dy), width in itertools.product(
        ((5.0, 0.0), (-4.0, 2.0), (-6.5, 2.0), (3.3, -3.7), (0.4, 5.0)), (1, 2, 3)
    ):
        motion, order, free, arrives = part_before_ground(dx, dy, width)
        told = tell(motion, forward_splat(motion, order))
        assert not told[..., 5:10, 8 : 8 + width].any()
        assert (told[..., free | arrives] == 1).all()


def it_agrees_with_pixels_asked_one_by_one(tell):
    motion = random(2, 2, 8, 11, seed=9, scale=0.8)
    for origin in (
        forward_splat(motion, random(2, 1, 8, 11, seed=10)),
        random(2, 2, 8, 11, seed=11, scale=0.8),
        9 * motion,
    ):
        told = tell(motion, origin)
        assert (told == 0).any()
        assert (told > 0).any()
        torch.testing.assert_close(told, asked_one_by_one(motion, origin))


def answers_of_pictures_do_not_meet(tell):
    motion, origin = random(3, 2, HEIGHT, WIDTH, seed=12), random(3, 2, HEIGHT, WIDTH, seed=13)
    alone = [tell(motion[n : n + 1], origin[n : n + 1]) for n in range(3)]
    torch.testing.assert_close(tell(motion, origin), torch.cat(alone))


def nothing_learns_from_the_answer(tell):
    motion, origin = random(1, 2, 5, 6, seed=14).requires_grad_(), random(1, 2, 5, 6, seed=15).requires_grad_()
    assert not tell(motion, origin).requires_grad


LAWS_OF_ARRIVAL = (
    what_comes_from_outside_is_not_true,
    where_nothing_moves_only_the_place_itself_is_true,
    a_shift_of_the_whole_picture_arrives,
    a_smooth_motion_arrives_everywhere_inside,
    a_part_that_went_away_is_seen_once,
    it_agrees_with_pixels_asked_one_by_one,
    answers_of_pictures_do_not_meet,
    nothing_learns_from_the_answer,
)


@pytest.mark.parametrize("law", LAWS_OF_ARRIVAL)
def test_coverage_obeys(law):
    law(find_coverage)


def sign_flipped(motion, order):
    return -forward_splat(motion, order)


def axes_swapped(motion, order):
    return forward_splat(motion.flip(1), order).flip(1)


def answers_axes_swapped(motion, order):
    return forward_splat(motion, order).flip(1)


def only_negated(motion, order):
    return -motion + 0 * order


def order_reversed(motion, order):
    return forward_splat(motion, -order)


def order_ignored(motion, order):
    return forward_splat(motion, torch.zeros_like(order))


def order_not_learned(motion, order):
    return forward_splat(motion, order.detach()) + 0 * order


def caught_at_the_border(motion, order):
    height, width = motion.shape[-2:]
    middle = from_the_middle(height, width).to(motion.dtype)
    rim = torch.tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 2, 1, 1)
    return forward_splat((middle + motion).clamp(-rim, rim) - middle, order)


def rounded_to_whole_pixels(motion, order):
    return forward_splat(motion.round(), order)


def bent_by_what_arrives_beside(motion, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splat, "GAP", math.inf)
        return forward_splat(motion, order)


def gaps_left_open(motion, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splat, "GAP_WEIGHT", 0.0)
        return forward_splat(motion, order)


def averaged_over_the_batch(motion, order):
    return forward_splat(motion.mean(0, keepdim=True).expand_as(motion), order)


def everything_is_true(motion, origin):
    return torch.ones_like(find_coverage(motion, origin))


def asked_in_place(motion, origin):
    return told(motion + origin)


def asked_on_the_other_side(motion, origin):
    return told(warp(motion, -origin) + origin)


def sum_taken_for_difference(motion, origin):
    return told(warp(motion, origin) - origin)


def asked_with_axes_swapped(motion, origin):
    return told(warp(motion, origin.flip(1)) + origin)


def all_or_nothing(motion, origin):
    return find_coverage(motion, origin).round()


def only_along_x(motion, origin):
    return told((warp(motion, origin) + origin)[:, :1])


def learned_from(motion, origin):
    return find_coverage(motion, origin) + 0 * origin[:, :1]


def asked_of_the_first_picture(motion, origin):
    return find_coverage(motion[:1].expand_as(motion), origin)


def told(difference):
    miss = difference.detach().norm(dim=1, keepdim=True)
    return ((LARGEST_MISS - miss) / (LARGEST_MISS - SMALLEST_MISS)).clamp(0, 1)


@pytest.mark.parametrize(
    ("defect", "law"),
    [
        (sign_flipped, a_shift_of_the_whole_picture_is_inverted),
        (sign_flipped, a_smooth_motion_is_inverted),
        (sign_flipped, origins_go_against_a_motion_of_the_whole_picture),
        (sign_flipped, no_pixel_pulls_at_more_origins_than_lie_around_it),
        (axes_swapped, a_shift_of_the_whole_picture_is_inverted),
        (axes_swapped, a_smooth_motion_is_inverted),
        (answers_axes_swapped, a_shift_of_the_whole_picture_is_inverted),
        (answers_axes_swapped, origins_go_against_a_motion_of_the_whole_picture),
        (only_negated, a_smooth_motion_is_inverted),
        (only_negated, it_agrees_with_pixels_pushed_one_by_one),
        (order_reversed, the_larger_order_hides_the_smaller),
        (order_ignored, the_larger_order_hides_the_smaller),
        (order_ignored, it_agrees_with_pixels_pushed_one_by_one),
        (order_not_learned, order_has_exact_gradients),
        (caught_at_the_border, a_part_that_leaves_the_picture_leaves_no_trace),
        (rounded_to_whole_pixels, a_shift_of_the_whole_picture_is_inverted),
        (bent_by_what_arrives_beside, still_ground_beside_a_fast_part_is_not_bent),
        (bent_by_what_arrives_beside, it_agrees_with_pixels_pushed_one_by_one),
        (gaps_left_open, gaps_of_a_stretched_picture_are_closed),
        (gaps_left_open, it_agrees_with_pixels_pushed_one_by_one),
        (averaged_over_the_batch, pictures_do_not_meet),
        (everything_is_true, where_nothing_moves_only_the_place_itself_is_true),
        (everything_is_true, a_shift_of_the_whole_picture_arrives),
        (everything_is_true, a_part_that_went_away_is_seen_once),
        (asked_in_place, a_smooth_motion_arrives_everywhere_inside),
        (asked_in_place, a_part_that_went_away_is_seen_once),
        (asked_on_the_other_side, a_smooth_motion_arrives_everywhere_inside),
        (asked_on_the_other_side, a_part_that_went_away_is_seen_once),
        (sum_taken_for_difference, a_shift_of_the_whole_picture_arrives),
        (asked_with_axes_swapped, a_part_that_went_away_is_seen_once),
        (asked_with_axes_swapped, it_agrees_with_pixels_asked_one_by_one),
        (all_or_nothing, where_nothing_moves_only_the_place_itself_is_true),
        (all_or_nothing, it_agrees_with_pixels_asked_one_by_one),
        (only_along_x, where_nothing_moves_only_the_place_itself_is_true),
        (only_along_x, a_part_that_went_away_is_seen_once),
        (learned_from, nothing_learns_from_the_answer),
        (asked_of_the_first_picture, answers_of_pictures_do_not_meet),
    ],
)
def test_the_defect_is_caught(defect, law):
    with pytest.raises((AssertionError, GradcheckError)):
        law(defect)


def test_gradients_through_the_shares_would_have_no_bound(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "detach", lambda tensor: tensor)
    with pytest.raises(AssertionError):
        no_pixel_pulls_at_more_origins_than_lie_around_it(forward_splat)
