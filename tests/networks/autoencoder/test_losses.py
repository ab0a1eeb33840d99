import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ipoke.data.optical_flow import warp
from ipoke.networks.autoencoder.losses import (
    MOST_WEIGHT,
    SMALL_ERROR_PX,
    feature_matching,
    gradient_penalty,
    hinge_discriminator,
    hinge_generator,
    kl_to_standard_normal,
    motion_error,
    pyramid_l1,
)

SIDE = 32


def test_kl_in_closed_form():
    mean, logvar = torch.full((2, 5, 3, 3), 0.7), torch.full((2, 5, 3, 3), -1.2)
    expected = 5 * 0.5 * (0.7**2 + math.exp(-1.2) - 1 + 1.2)
    assert kl_to_standard_normal(mean, logvar).item() == pytest.approx(expected, rel=1e-5)
    assert kl_to_standard_normal(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)) == 0


def test_kl_agrees_with_the_library():
    torch.manual_seed(0)
    mean, logvar = torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(kl_to_standard_normal(mean, logvar), expected)


def test_hinges_in_closed_form():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert hinge_discriminator(real, fake).item() == pytest.approx(0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3))
    assert hinge_discriminator(torch.ones(2), -torch.ones(5)) == 0
    assert hinge_generator(fake).item() == pytest.approx(2 / 3)


def test_feature_matching_averages_over_layers_not_over_features():
    real = [torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 200)]
    fake = [torch.full((1, 2), 3.0, requires_grad=True), torch.full((1, 200), -1.0)]
    loss = feature_matching(real, fake)
    assert loss.item() == pytest.approx(2)
    loss.backward()
    assert real[0].grad is None
    assert fake[0].grad is not None


def test_the_gradient_penalty_of_analytic_critics():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(gradient_penalty((x * weight).flatten(1).sum(1), x), weight.square().sum())
    factor = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(0.5 * factor * x.square().flatten(1).sum(1), x)
    squares = x.detach().square().flatten(1).sum(1).mean()
    torch.testing.assert_close(penalty, factor.detach() ** 2 * squares)
    penalty.backward()
    torch.testing.assert_close(factor.grad, 2 * factor.detach() * squares)


def test_the_pyramid_in_closed_form():
    target = torch.zeros(2, 3, 3, 16, 16)
    assert pyramid_l1(target + 0.3, target).item() == pytest.approx(0.3)
    fine = torch.tensor([1.0, -1.0]).repeat(8).expand_as(target)
    assert pyramid_l1(fine, target) == 0
    coarse = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(4).expand_as(target)
    assert pyramid_l1(coarse, target).item() == pytest.approx(0.5)


def grid():
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([x, y])[None].float()


def constant(dx, dy):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE)


PLAIN = torch.zeros(1, 3, SIDE, SIDE)


def test_the_exact_motion_has_no_error():
    motion = 0.1 * (grid() - SIDE / 2)
    assert motion_error(motion, motion, PLAIN, PLAIN).item() == pytest.approx(0, abs=1e-6)
    assert motion_error(-motion, motion, PLAIN, PLAIN).item() > 1
    assert motion_error(motion.flip(1), motion, PLAIN, PLAIN).item() > 0.5


@pytest.mark.parametrize("off", [0.1, 1.0, 5.0])
def test_the_motion_error_in_closed_form(off):
    still, moving = constant(0.0, 0.0), constant(3.0, -4.0)
    rounded = math.sqrt(2 * off**2 + SMALL_ERROR_PX**2) - SMALL_ERROR_PX
    assert motion_error(still + off, still, PLAIN, PLAIN).item() == pytest.approx(rounded, rel=1e-4)
    weight = 1 + MOST_WEIGHT
    assert motion_error(moving - off, moving, PLAIN, PLAIN).item() == pytest.approx(weight * rounded, rel=1e-4)
    slow = constant(0.0, 1.5)
    assert motion_error(slow + off, slow, PLAIN, PLAIN).item() == pytest.approx(2.5 * rounded, rel=1e-4)


def test_predicting_no_motion_is_left_behind():
    predicted = torch.zeros(1, 2, SIDE, SIDE, requires_grad=True)
    wanted = constant(0.0, 0.0).clone()
    wanted[:, 0, :4, :4] = 2.0
    motion_error(predicted, wanted, PLAIN, PLAIN).backward()
    assert predicted.grad is not None
    assert (predicted.grad[:, 0, :4, :4] < 0).all()
    assert not predicted.grad[:, :, 5:].any()
    assert not predicted.grad[:, 1].any()


def test_the_motion_error_ignores_hidden_points():
    source, frame = PLAIN.clone(), PLAIN.clone()
    frame[:, :, :, SIDE // 2 :] = 1.0
    wrong = constant(0.0, 0.0).clone()
    wrong[:, :, :, SIDE // 2 :] = 7.0
    still = constant(0.0, 0.0)
    everything = motion_error(wrong, still, source, source).item()
    assert motion_error(wrong, still, source, frame).item() < 1e-3 * everything


def test_points_that_look_alike_count_fully_after_they_moved():
    source = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    motion = constant(4.0, 0.0)
    frame = warp(source, -motion)
    full = motion_error(constant(3.0, 0.0), motion, PLAIN, PLAIN).item()
    assert motion_error(constant(3.0, 0.0), motion, source, frame).item() == pytest.approx(
        full * (SIDE - 4) / SIDE, rel=0.05
    )


@pytest.mark.parametrize(("mismatch", "share"), [(0.0, 1.0), (0.15, math.exp(-0.25)), (0.3, math.exp(-1)), (1.2, 0.0)])
def test_a_point_counts_by_how_alike_it_looks(mismatch, share):
    still, wrong = constant(0.0, 0.0), constant(2.0, -1.0)
    full = motion_error(wrong, still, PLAIN, PLAIN).item()
    assert motion_error(wrong, still, PLAIN, PLAIN + mismatch).item() == pytest.approx(share * full, abs=1e-5)


def test_the_pull_of_a_motion_error_has_the_same_size_far_away_and_ends_at_the_target():
    wanted = constant(3.0, -4.0)
    pulls = []
    for share in (0.0, 0.5, 1.0):
        predicted = (share * wanted).clone().requires_grad_()
        motion_error(predicted, wanted, PLAIN, PLAIN).backward()
        assert predicted.grad is not None
        pulls.append(predicted.grad[0].sum((1, 2)))
    torch.testing.assert_close(pulls[0], (1 + MOST_WEIGHT) * torch.tensor([-0.6, 0.8]), rtol=0.01, atol=0)
    torch.testing.assert_close(pulls[1], pulls[0], rtol=0.02, atol=0)
    assert not pulls[2].any()
