import pytest
import torch
import torch.nn.functional as F

from ipoke.autoencoder.affine_motion import LEAST_SHARE, NEIGHBOURS, chosen, fitted

SIDE, SIZE = 8, 64
OWN = NEIGHBOURS // 2


def affine_field():
    y, x = torch.meshgrid(torch.arange(SIZE).double(), torch.arange(SIZE).double(), indexing="ij")
    return torch.stack([5 + 0.1 * x - 0.05 * y, -3 + 0.02 * x + 0.2 * y])[None]


def only(of):
    """Give logits that leave one neighbour."""
    logits = torch.zeros(1, NEIGHBOURS, SIZE, SIZE, dtype=torch.float64)
    logits[:, of] = 500.0
    return logits


def none():
    return torch.zeros(1, NEIGHBOURS, SIZE, SIZE, dtype=torch.float64)


@pytest.mark.parametrize("neighbour", range(NEIGHBOURS))
def test_an_affine_field_is_said_exactly_by_the_map_of_any_neighbour(neighbour):
    field = affine_field()
    said = chosen(fitted(field, SIDE), only(neighbour))
    inner = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(said[inner], field[inner], atol=0.04, rtol=0)


def test_an_affine_field_is_said_exactly_by_all_maps_together():
    field = affine_field()
    inner = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(chosen(fitted(field, SIDE), none())[inner], field[inner], atol=0.04, rtol=0)


def test_maps_that_disagree_bend_what_lies_between_them_and_tear_nothing():
    maps = torch.zeros(1, 6, SIDE, SIDE, dtype=torch.float64)
    maps[:, 0, :, 4:] = 8.0
    said = chosen(maps, none())[0, 0, 30]
    assert said[:24].abs().max() == 0
    torch.testing.assert_close(said[40:], torch.full((24,), 8.0, dtype=torch.float64))
    steps = said.diff()
    assert (steps > -1e-9).all()
    assert steps.max() < 1.1  # a quadratic B-spline rises by 8 px over 16 px, by a pixel per pixel at most
    assert said[31] + said[32] == pytest.approx(8.0)


def test_a_choice_is_sharp():
    maps = torch.zeros(1, 6, SIDE, SIDE, dtype=torch.float64)
    maps[:, 0, :, 4:] = 8.0
    said = chosen(maps, only(OWN))[0, 0, 30]
    assert said[:32].abs().max() < 1e-6
    torch.testing.assert_close(said[32:], torch.full((32,), 8.0, dtype=torch.float64))


def test_what_stands_still_beside_a_moving_part_does_not_dilute_its_map():
    field = affine_field()
    part = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64)
    part[..., 19:22, :] = 1
    said = chosen(fitted(field * part, SIDE), only(OWN))
    torch.testing.assert_close(said[..., 19:22, :], field[..., 19:22, :], atol=0.1, rtol=0)
    diluted = F.interpolate(F.avg_pool2d(field * part, 8), scale_factor=8)
    assert (diluted - field)[..., 19:22, :].abs().max() > 5


def test_a_cell_in_which_next_to_nothing_moves_has_no_map():
    field = torch.zeros(1, 2, SIZE, SIZE)
    assert not fitted(field, SIDE).any()
    field[0, 0, 3, 3] = 0.5
    assert LEAST_SHARE == 1 / 64
    assert not fitted(field, SIDE).any()
    field[0, 0, 3, 3] = 6.0
    maps = fitted(field, SIDE)
    assert maps[0, :2, 0, 0].tolist() == pytest.approx([6.0, 0.0])
    assert not maps[0, :, 1:].any()


def test_least_squares_is_what_torch_solves():
    torch.manual_seed(0)
    field = 3 + torch.randn(1, 2, SIZE, SIZE, dtype=torch.float64)
    along = (torch.arange(8).double() - 3.5) / 8
    y, x = torch.meshgrid(along, along, indexing="ij")
    places = torch.stack([torch.ones_like(x), x, y], -1).reshape(64, 3)
    weight = ((field[0].norm(dim=0)[:8, 8:16] - 0.3) / 0.7).clamp(0, 1).reshape(64, 1).sqrt()
    wanted = torch.linalg.lstsq(weight * places, weight * field[0, :, :8, 8:16].reshape(2, 64).T).solution
    got = fitted(field, SIDE)[0, :, 0, 1].view(3, 2)
    torch.testing.assert_close(got, wanted, atol=0.02, rtol=0.02)


def test_gradients_reach_maps_and_shares():
    maps = torch.randn(2, 6, SIDE, SIDE, requires_grad=True)
    logits = torch.randn(2, NEIGHBOURS, 16, 16, requires_grad=True)
    chosen(maps, logits).square().sum().backward()
    for leaf in (maps, logits):
        assert leaf.grad is not None
        assert leaf.grad.abs().min() > 0
