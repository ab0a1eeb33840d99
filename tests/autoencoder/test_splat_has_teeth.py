"""Laws of the inversion of displacements, and planted mistakes that each of them must catch."""

import itertools
import math

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from ipoke.autoencoder.splat import origins

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


def pushed_one_by_one(motion, order):
    """Do the same slowly, in plain numbers: the average origin of what arrives at each place, and the sum of shares."""
    count, _, height, width = motion.shape
    origin, coverage = torch.zeros_like(motion), torch.zeros_like(order)
    for n in range(count):
        arrivals = {}
        for y, x in itertools.product(range(height), range(width)):
            dx, dy = motion[n, :, y, x].tolist()
            left, top = math.floor(x + dx), math.floor(y + dy)
            for column, row in itertools.product((left, left + 1), (top, top + 1)):
                share = (1 - abs(x + dx - column)) * (1 - abs(y + dy - row))
                if 0 <= column < width and 0 <= row < height and share > 0:
                    arrivals.setdefault((row, column), []).append((share, math.exp(order[n, 0, y, x]), dx, dy))
        for (row, column), found in arrivals.items():
            total = sum(share * weight for share, weight, _, _ in found)
            origin[n, 0, row, column] = -sum(share * weight * dx for share, weight, dx, _ in found) / total
            origin[n, 1, row, column] = -sum(share * weight * dy for share, weight, _, dy in found) / total
            coverage[n, 0, row, column] = sum(share for share, *_ in found)
    return origin, coverage


def what_stands_still_comes_from_itself(invert):
    motion = constant(0.0, 0.0)
    origin, coverage = invert(motion, random_orders(1, 1, HEIGHT, WIDTH, seed=0))
    assert not origin.any()
    torch.testing.assert_close(coverage, torch.ones_like(coverage))


def a_shift_of_the_whole_picture_is_inverted(invert):
    for dx, dy in ((3.0, -2.0), (-4.0, 3.0), (1.25, -0.4), (-0.3, 2.8)):
        motion = constant(dx, dy)
        origin, coverage = invert(motion, level(motion))
        x, y = (from_the_middle() - motion).abs()[0]
        arrives = (x < WIDTH / 2 - 2) & (y < HEIGHT / 2 - 2)
        torch.testing.assert_close(origin[0, :, arrives], -motion[0, :, arrives])
        torch.testing.assert_close(coverage[0, 0, arrives], torch.ones_like(coverage[0, 0, arrives]))
        went_away = (x > WIDTH / 2 + 1.5) | (y > HEIGHT / 2 + 1.5)
        assert not coverage[0, 0, went_away].any()


def a_smooth_motion_is_inverted(invert):
    matrix = torch.tensor([[0.06, -0.09], [0.05, -0.04]], dtype=torch.float64)
    drift = torch.tensor([1.3, -0.7], dtype=torch.float64).view(1, 2, 1, 1)
    middle = from_the_middle(40, 56)
    motion = torch.einsum("ij,bjhw->bihw", matrix, middle) + drift
    # (I + A)^-1 (q - d) is where q comes from.
    back = torch.linalg.inv(torch.eye(2).double() + matrix)
    expected = torch.einsum("ij,bjhw->bihw", back, middle - drift) - middle
    origin, coverage = invert(motion, level(motion))
    inside = (slice(None), slice(None), slice(5, -5), slice(5, -5))
    assert (origin - expected)[inside].norm(dim=1).max() < 0.1
    assert (origin - expected)[inside].norm(dim=1).mean() < 0.04
    assert 0.8 < coverage[inside].min() < coverage[inside].max() < 1.2


def the_larger_order_hides_the_smaller(invert):
    motion, order = constant(0.0, 0.0), torch.zeros(1, 1, HEIGHT, WIDTH).double()
    motion[0, :, 4, 6], motion[0, :, 9, 5] = torch.tensor([2.0, 3.0]).double(), torch.tensor([3.0, -2.0]).double()
    motion[0, :, 7, 8] = torch.tensor([30.0, 30.0]).double()
    for first, second in ((0.5, -0.7), (LARGEST_ORDER, -LARGEST_ORDER), (-LARGEST_ORDER, LARGEST_ORDER)):
        order[0, 0, 4, 6], order[0, 0, 9, 5] = first, second
        origin, _ = invert(motion, order)
        share = torch.tensor(first - second).double().sigmoid()
        expected = -(share * motion[0, :, 4, 6] + (1 - share) * motion[0, :, 9, 5])
        torch.testing.assert_close(origin[0, :, 7, 8], expected, atol=1e-3, rtol=0)


def a_part_that_leaves_the_picture_leaves_no_trace(invert):
    for far in ((-9.3, 0.4), (17.0, 1.2), (0.3, -8.5), (-0.2, 12.0), (1e5, -1e5)):
        motion = constant(0.0, 0.0)
        motion[0, :, 2:6, 3:8] = torch.tensor(far).double().view(2, 1, 1)
        origin, coverage = invert(motion, level(motion))
        assert not origin.any()
        assert not coverage[..., 3:5, 4:7].any()
        assert coverage.max() <= 1 + 1e-9
        coverage[..., 1:7, 2:9] = 1
        torch.testing.assert_close(coverage, torch.ones_like(coverage))


def what_stays_inside_is_all_there(invert):
    motion = constant(0.0, 0.0)
    motion[..., 6:-6, 6:-6] = random(1, 2, HEIGHT - 12, WIDTH - 12, seed=1, scale=2).clamp(-3, 3)
    _, coverage = invert(motion, random_orders(1, 1, HEIGHT, WIDTH, seed=2))
    assert coverage.sum().item() == pytest.approx(HEIGHT * WIDTH)
    assert coverage.min() < 0.8
    assert coverage.max() > 1.2


def it_agrees_with_pixels_pushed_one_by_one(invert):
    motion, order = random(2, 2, 8, 11, seed=3, scale=1.5), random(2, 1, 8, 11, seed=4)
    origin, coverage = invert(motion, order)
    slowly, shares = pushed_one_by_one(motion, order)
    filled = (shares > 0.3).expand_as(origin)
    assert filled.double().mean() > 0.5
    torch.testing.assert_close(origin[filled], slowly[filled], atol=2e-3, rtol=0)
    for n, y, x in itertools.product(range(2), range(8), range(11)):
        around = shares[n, 0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        torch.testing.assert_close(coverage[n, 0, y, x], around.mean())


def pictures_do_not_meet(invert):
    motion, order = random(3, 2, HEIGHT, WIDTH, seed=5, scale=6), random_orders(3, 1, HEIGHT, WIDTH, seed=6)
    alone = [invert(motion[n : n + 1], order[n : n + 1]) for n in range(3)]
    for together, *apart in zip(invert(motion, order), *alone, strict=True):
        torch.testing.assert_close(together, torch.cat(apart))


def origins_go_against_a_motion_of_the_whole_picture(invert):
    def origin_inside(shift):
        motion = shift.view(1, 2, 1, 1).expand(1, 2, HEIGHT, WIDTH)
        return invert(motion, level(motion))[0][0, :, 5:-5, 5:-5].mean((1, 2))

    for shift in ([0.3, -0.6], [2.0, -1.0], [1.7, 2.2]):
        slope = torch.autograd.functional.jacobian(origin_inside, torch.tensor(shift).double())
        torch.testing.assert_close(slope, -torch.eye(2).double())
    torch.autograd.gradcheck(origin_inside, torch.tensor([0.3, -0.6], dtype=torch.float64, requires_grad=True))


def coverage_and_order_have_exact_gradients(invert):
    motion, order = random(1, 2, 3, 4, seed=7).requires_grad_(), random(1, 1, 3, 4, seed=8).requires_grad_()
    torch.autograd.gradcheck(lambda m: invert(m, order.detach())[1], motion)
    torch.autograd.gradcheck(lambda o: invert(motion.detach(), o)[0], order)


def no_pixel_pulls_at_more_origins_than_lie_around_it(invert):
    """A pixel reaches 6 x 6 places, gaps between them filled, and makes up at most all of each: slopes of -36 to 0."""
    for seed, scale in itertools.product(range(3), (0.02, 1, 8)):
        motion = random(2, 2, HEIGHT, WIDTH, seed=seed, scale=scale).float().requires_grad_()
        order = random_orders(2, 1, HEIGHT, WIDTH, seed=seed + 50).float().requires_grad_()
        origin, coverage = invert(motion, order)
        by_motion, by_order = torch.autograd.grad(origin.sum(), (motion, order), retain_graph=True)
        assert -36 <= by_motion.min() <= by_motion.max() <= 1e-4
        assert by_order.isfinite().all()
        assert by_order.abs().max() < 36 * 4 * max(scale, 1)
        (coverage_by_motion,) = torch.autograd.grad(coverage.sum(), motion)
        assert coverage_by_motion.isfinite().all()
        assert coverage_by_motion.abs().max() < 2


LAWS = (
    what_stands_still_comes_from_itself,
    a_shift_of_the_whole_picture_is_inverted,
    a_smooth_motion_is_inverted,
    the_larger_order_hides_the_smaller,
    a_part_that_leaves_the_picture_leaves_no_trace,
    what_stays_inside_is_all_there,
    it_agrees_with_pixels_pushed_one_by_one,
    pictures_do_not_meet,
    origins_go_against_a_motion_of_the_whole_picture,
    coverage_and_order_have_exact_gradients,
    no_pixel_pulls_at_more_origins_than_lie_around_it,
)


@pytest.mark.parametrize("law", LAWS)
def test_origins_obey(law):
    law(origins)


def sign_flipped(motion, order):
    origin, coverage = origins(motion, order)
    return -origin, coverage


def axes_swapped(motion, order):
    origin, coverage = origins(motion.flip(1), order)
    return origin.flip(1), coverage


def answers_axes_swapped(motion, order):
    origin, coverage = origins(motion, order)
    return origin.flip(1), coverage


def only_negated(motion, order):
    return -motion, torch.ones_like(order) + 0 * motion[:, :1]


def order_reversed(motion, order):
    return origins(motion, -order)


def order_ignored(motion, order):
    return origins(motion, torch.zeros_like(order))


def caught_at_the_border(motion, order):
    height, width = motion.shape[-2:]
    middle = from_the_middle(height, width).to(motion.dtype)
    rim = torch.tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 2, 1, 1)
    return origins((middle + motion).clamp(-rim, rim) - middle, order)


def rounded_to_whole_pixels(motion, order):
    return origins(motion.round(), order)


def coverage_cut_off(motion, order):
    origin, coverage = origins(motion, order)
    return origin, coverage.clamp(max=1)


def coverage_detached(motion, order):
    origin, coverage = origins(motion, order)
    return origin, coverage.detach() + 0 * motion.sum()


def averaged_over_the_batch(motion, order):
    return origins(motion.mean(0, keepdim=True).expand_as(motion), order)


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
        (only_negated, what_stays_inside_is_all_there),
        (order_reversed, the_larger_order_hides_the_smaller),
        (order_ignored, the_larger_order_hides_the_smaller),
        (order_ignored, it_agrees_with_pixels_pushed_one_by_one),
        (caught_at_the_border, a_part_that_leaves_the_picture_leaves_no_trace),
        (rounded_to_whole_pixels, a_shift_of_the_whole_picture_is_inverted),
        (coverage_cut_off, what_stays_inside_is_all_there),
        (coverage_detached, coverage_and_order_have_exact_gradients),
        (averaged_over_the_batch, pictures_do_not_meet),
    ],
)
def test_the_defect_is_caught(defect, law):
    with pytest.raises((AssertionError, GradcheckError)):
        law(defect)


def test_gradients_through_the_shares_would_have_no_bound(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "detach", lambda tensor: tensor)
    with pytest.raises(AssertionError):
        no_pixel_pulls_at_more_origins_than_lie_around_it(origins)
