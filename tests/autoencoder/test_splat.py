import math

import pytest
import torch

from ipoke.autoencoder.splat import origins

SIDE = 24
LEVEL = torch.zeros(1, 1, SIDE, SIDE)


def constant(dx, dy):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE).clone()


def grid():
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([x, y])[None].float()


def test_what_stands_still_comes_from_where_it_is():
    origin, coverage = origins(constant(0.0, 0.0), LEVEL)
    assert not origin.any()
    torch.testing.assert_close(coverage, torch.ones_like(coverage))


@pytest.mark.parametrize(("dx", "dy"), [(3.0, -2.0), (-4.0, 1.0), (0.5, 0.25), (-2.25, 3.75)])
def test_a_shift_is_inverted_where_it_arrives(dx, dy):
    origin, coverage = origins(constant(dx, dy), LEVEL)
    x, y = grid()[0]
    inside = (x - dx >= 2) & (x - dx <= SIDE - 3) & (y - dy >= 2) & (y - dy <= SIDE - 3)
    assert inside.sum() > 100
    torch.testing.assert_close(origin[0, :, inside], constant(-dx, -dy)[0, :, inside])
    torch.testing.assert_close(coverage[0, 0, inside], torch.ones(int(inside.sum())))


def test_where_the_picture_went_away_nothing_is_covered():
    _, coverage = origins(constant(5.0, 0.0), LEVEL)
    assert not coverage[..., :4].any()
    assert coverage[..., 7:].min() > 0.99


def test_a_smooth_motion_is_inverted_in_closed_form():
    matrix = torch.tensor([[-0.08, 0.10], [-0.05, 0.06]])
    centre = torch.full((1, 2, 1, 1), (SIDE - 1) / 2)
    motion = torch.einsum("ij,bjhw->bihw", matrix, grid() - centre)
    # q = c + (I + A)(p - c), so the way back from q is -A (I + A)^-1 (q - c).
    expected = torch.einsum("ij,bjhw->bihw", -matrix @ torch.linalg.inv(torch.eye(2) + matrix), grid() - centre)
    origin, coverage = origins(motion, LEVEL)
    assert (origin - expected)[..., 3:-3, 3:-3].abs().max() < 0.1
    assert (origin + expected)[..., 3:-3, 3:-3].abs().max() > 0.5
    assert coverage[..., 3:-3, 3:-3].min() > 0.8


def two_parts(order_of_left):
    """Let the left third go right onto the right third, which stands still."""
    motion, order = constant(0.0, 0.0), LEVEL.clone()
    motion[:, 0, :, :8] = 16.0
    order[..., :8] = order_of_left
    return origins(motion, order)


def test_the_larger_order_hides_the_smaller():
    in_front, _ = two_parts(8.0)
    behind, _ = two_parts(-8.0)
    torch.testing.assert_close(in_front[0, 0, :, 17:23], torch.full((SIDE, 6), -16.0), atol=0.02, rtol=0)
    assert behind[0, 0, :, 17:23].abs().max() < 0.02
    level, _ = two_parts(math.log(3))
    torch.testing.assert_close(level[0, 0, :, 17:23], torch.full((SIDE, 6), -12.0), atol=1e-2, rtol=0)


def test_what_leaves_the_picture_leaves_no_trace():
    motion = constant(0.0, 0.0)
    motion[:, 0, :, -6:] = 100.0
    motion[:, 1, :4] = -50.0
    origin, coverage = origins(motion, LEVEL)
    assert not origin[..., 7:, : SIDE - 9].any()
    assert not coverage[..., :2, :].any()


def test_nothing_is_lost_inside():
    generator = torch.Generator().manual_seed(0)
    motion = constant(0.0, 0.0)
    motion[..., 8:-8, 8:-8] = 4 * torch.rand(1, 2, SIDE - 16, SIDE - 16, generator=generator) - 2
    _, coverage = origins(motion, LEVEL)
    # The average over 3 x 3 places keeps the sum as long as all of the border is full.
    assert coverage.sum().item() == pytest.approx(SIDE * SIDE, rel=1e-4)


def test_gaps_between_pixels_that_move_apart_are_closed():
    motion = constant(0.0, 0.0)
    motion[:, 0] = (grid() - SIDE / 2)[:, 0] * 0.9
    origin, coverage = origins(motion, LEVEL)
    x = grid()[0, 0]
    expected = -(x - SIDE / 2) * 0.9 / 1.9
    assert (origin[0, 0] - expected)[4:-4, 4:-4].abs().max() < 1.0
    assert coverage[..., 4:-4, 4:-4].min() > 0.3


def test_pictures_of_a_batch_do_not_meet():
    generator = torch.Generator().manual_seed(0)
    motion = 3 * torch.randn(3, 2, SIDE, SIDE, generator=generator)
    order = torch.randn(3, 1, SIDE, SIDE, generator=generator)
    for whole, alone in zip(origins(motion, order), origins(motion[1:2], order[1:2]), strict=True):
        torch.testing.assert_close(whole[1:2], alone)


def test_moving_a_picture_further_moves_its_origin_back():
    motion = constant(2.0, 1.0).double().requires_grad_()
    origin, _ = origins(motion, LEVEL.double())
    (gradient,) = torch.autograd.grad(origin[0, 0, 8:16, 8:16].sum(), motion)
    assert gradient[0, 0].sum().item() == pytest.approx(-64)
    assert not gradient[0, 1].any()


def test_gradients_stay_small_where_little_arrives():
    generator = torch.Generator().manual_seed(0)
    motion = (4 * torch.randn(4, 2, SIDE, SIDE, generator=generator)).requires_grad_()
    order = (20 * torch.rand(4, 1, SIDE, SIDE, generator=generator) - 10).requires_grad_()
    origin, coverage = origins(motion, order)
    (origin.square().mean() + coverage.mean()).backward()
    for leaf in (motion, order):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() < 1
