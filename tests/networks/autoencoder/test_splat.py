import math

import pytest
import torch

from ipoke.networks.autoencoder.splat import find_coverage, forward_splat

SIDE = 24
LEVEL = torch.zeros(1, 1, SIDE, SIDE)


def constant(dx, dy):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE).clone()


def grid():
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([x, y])[None].float()


def test_what_stands_still_comes_from_where_it_is():
    motion = constant(0.0, 0.0)
    assert not forward_splat(motion, LEVEL).any()
    assert torch.equal(find_coverage(motion, motion), torch.ones_like(LEVEL))


@pytest.mark.parametrize(("dx", "dy"), [(3.0, -2.0), (-4.0, 1.0), (0.5, 0.25), (-2.25, 3.75)])
def test_a_shift_is_inverted_where_it_arrives(dx, dy):
    motion = constant(dx, dy)
    origin = forward_splat(motion, LEVEL)
    x, y = grid()[0]
    inside = (x - dx >= 0) & (x - dx <= SIDE - 1) & (y - dy >= 0) & (y - dy <= SIDE - 1)
    assert inside.sum() > 100
    torch.testing.assert_close(origin[0, :, inside], -motion[0, :, inside])
    assert torch.equal(find_coverage(motion, origin)[0, 0, inside], torch.ones(int(inside.sum())))


def test_where_the_picture_went_away_nothing_arrives():
    motion = constant(6.0, 0.0)
    shown = find_coverage(motion, forward_splat(motion, LEVEL))
    assert not shown[..., :4].any()
    assert shown[..., 6:].min() == 1


def test_a_smooth_motion_is_inverted_in_closed_form():
    matrix = torch.tensor([[-0.08, 0.10], [-0.05, 0.06]])
    centre = torch.full((1, 2, 1, 1), (SIDE - 1) / 2)
    motion = torch.einsum("ij,bjhw->bihw", matrix, grid() - centre)
    # q = c + (I + A)(p - c), so the way back from q is -A (I + A)^-1 (q - c).
    expected = torch.einsum("ij,bjhw->bihw", -matrix @ torch.linalg.inv(torch.eye(2) + matrix), grid() - centre)
    origin = forward_splat(motion, LEVEL)
    assert (origin - expected)[..., 3:-3, 3:-3].abs().max() < 0.1
    assert (origin + expected)[..., 3:-3, 3:-3].abs().max() > 0.5
    assert find_coverage(motion, origin)[..., 3:-3, 3:-3].min() == 1


def two_parts(order_of_left):
    """Let the left third go right onto the right third, which stands still."""
    motion, order = constant(0.0, 0.0), LEVEL.clone()
    motion[:, 0, :, :8] = 16.0
    order[..., :8] = order_of_left
    origin = forward_splat(motion, order)
    return origin[0, 0, :, 17:23], find_coverage(motion, origin)[..., 17:23]


def test_the_larger_order_hides_the_smaller():
    in_front, shown = two_parts(8.0)
    torch.testing.assert_close(in_front, torch.full((SIDE, 6), -16.0), atol=0.02, rtol=0)
    assert shown.min() == 1
    behind, shown = two_parts(-8.0)
    assert behind.abs().max() < 0.02
    assert shown.min() == 1


def test_a_mixture_of_two_parts_is_neither():
    mixed, shown = two_parts(math.log(3))
    torch.testing.assert_close(mixed, torch.full((SIDE, 6), -12.0), atol=1e-2, rtol=0)
    assert not shown.any()


def test_what_leaves_the_picture_leaves_no_trace():
    motion = constant(0.0, 0.0)
    motion[:, 0, :, -6:] = 100.0
    motion[:, 1, :4] = -50.0
    origin = forward_splat(motion, LEVEL)
    shown = find_coverage(motion, origin)
    assert not origin.any()
    assert not shown[..., :4, :].any()
    assert not shown[..., -6:].any()
    assert shown[..., 4:, :-6].min() == 1


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize(("dx", "dy"), [(4.0, 0.0), (-5.0, 2.0), (3.4, 0.0), (0.5, -11.5), (-6.25, 3.5)])
def test_a_part_that_went_away_is_not_shown_twice(dx, dy, width):
    motion, order = constant(0.0, 0.0), LEVEL.clone()
    motion[..., 12:16, 10 : 10 + width] = torch.tensor([dx, dy]).view(2, 1, 1)
    order[..., 12:16, 10 : 10 + width] = 8.0
    origin = forward_splat(motion, order)
    assert not find_coverage(motion, origin)[..., 12:16, 10 : 10 + width].any()


def test_still_ground_beside_a_fast_part_is_not_bent():
    motion, order = constant(0.0, 0.0), LEVEL.clone()
    motion[:, 0, 8:12, 2:5] = 12.0
    order[..., 8:12, 2:5] = 10.0
    origin = forward_splat(motion, order)
    assert origin[0, 0, 8:12, 14:17].max() < -11.9
    origin[..., 8:12, 14:17] = 0
    assert not origin.any()


@pytest.mark.parametrize(("factor", "least"), [(0.5, 1.0), (0.8, 1.0), (1.3, 1.0), (1.5, 0.9)])
def test_pixels_that_move_apart_or_together_arrive_everywhere(factor, least):
    motion = (grid() - SIDE / 2) * (factor - 1)
    expected = (grid() - SIDE / 2) * (1 / factor - 1)
    origin = forward_splat(motion, LEVEL)
    reached = (slice(None), slice(None), slice(7, -7), slice(7, -7))
    assert (origin - expected)[reached].abs().max() < 0.6
    assert find_coverage(motion, origin)[reached].min() >= least


def test_gaps_between_pixels_that_move_apart_are_closed():
    motion = constant(0.0, 0.0)
    motion[:, 0] = (grid() - SIDE / 2)[:, 0] * 0.9
    expected = (grid()[0, 0] - SIDE / 2) * (1 / 1.9 - 1)
    assert (forward_splat(motion, LEVEL)[0, 0] - expected)[4:-4, 4:-4].abs().max() < 0.6


def test_pictures_of_a_batch_do_not_meet():
    generator = torch.Generator().manual_seed(0)
    motion = 3 * torch.randn(3, 2, SIDE, SIDE, generator=generator)
    order = torch.randn(3, 1, SIDE, SIDE, generator=generator)
    origin = forward_splat(motion, order)
    torch.testing.assert_close(origin[1:2], forward_splat(motion[1:2], order[1:2]))
    torch.testing.assert_close(find_coverage(motion, origin)[1:2], find_coverage(motion[1:2], origin[1:2]))


def test_moving_a_picture_further_moves_its_origin_back():
    motion = constant(2.0, 1.0).double().requires_grad_()
    origin = forward_splat(motion, LEVEL.double())
    (gradient,) = torch.autograd.grad(origin[0, 0, 8:16, 8:16].sum(), motion)
    assert gradient[0, 0].sum().item() == pytest.approx(-64)
    assert not gradient[0, 1].any()


def test_gradients_stay_small_where_little_arrives():
    generator = torch.Generator().manual_seed(0)
    motion = (4 * torch.randn(4, 2, SIDE, SIDE, generator=generator)).requires_grad_()
    order = (20 * torch.rand(4, 1, SIDE, SIDE, generator=generator) - 10).requires_grad_()
    origin = forward_splat(motion, order)
    assert not find_coverage(motion, origin).requires_grad
    origin.square().mean().backward()
    for leaf in (motion, order):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() < 1
