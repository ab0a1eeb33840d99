import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ipoke.autoencoder.clip_decoder import DecodedFrames
from ipoke.autoencoder.losses import (
    displacement_error,
    feature_matching,
    gradient_penalty,
    hinge_discriminator,
    hinge_generator,
    kl_to_standard_normal,
    pyramid_l1,
)
from ipoke.data.optical_flow import warp

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


def decoded(displacement):
    clip = torch.zeros(len(displacement), 2, 3, SIDE, SIDE)
    nothing = torch.zeros_like(displacement)
    return DecodedFrames(clip, clip, torch.stack([nothing + 99, displacement], 1), clip[:, :, :1])


def grid():
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([x, y])[None].float()


def constant(dx, dy):
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE)


PLAIN = torch.zeros(1, 3, SIDE, SIDE)


def test_the_exact_backward_field_has_no_displacement_error():
    matrix = torch.tensor([[-0.2, 0.1], [-0.05, -0.1]])
    centre = torch.full((1, 2, 1, 1), (SIDE - 1) / 2)
    forward = torch.einsum("ij,bjhw->bihw", matrix, grid() - centre)
    # q = c + (I + A)(p - c), so the way back from q is -A (I + A)^-1 (q - c).
    backward = torch.einsum("ij,bjhw->bihw", -matrix @ torch.linalg.inv(torch.eye(2) + matrix), grid() - centre)
    assert displacement_error(decoded(backward), forward, PLAIN, PLAIN).item() < 1e-5
    assert displacement_error(decoded(-forward), forward, PLAIN, PLAIN).item() > 0.05
    assert displacement_error(decoded(forward), forward, PLAIN, PLAIN).item() > 1


def test_the_displacement_error_grows_with_the_error():
    forward = constant(2.0, -1.0)
    errors = [
        displacement_error(decoded(constant(-2.0 + off, 1.0 - 3 * off)), forward, PLAIN, PLAIN).item()
        for off in (0.0, 0.5, 1.0)
    ]
    assert errors == pytest.approx([0, (0.5 + 1.5) / 2, (1.0 + 3.0) / 2], abs=1e-5)


def test_the_displacement_error_ignores_hidden_points():
    source, last = PLAIN.clone(), PLAIN.clone()
    last[:, :, :, SIDE // 2 :] = 1.0
    wrong = constant(0.0, 0.0).clone()
    wrong[:, :, :, SIDE // 2 :] = 7.0
    still = constant(0.0, 0.0)
    assert displacement_error(decoded(wrong), still, source, last).item() < 1e-6
    assert displacement_error(decoded(wrong), still, source, source).item() == pytest.approx(3.5, rel=1e-4)


def test_points_that_look_alike_count_fully_after_they_moved():
    source = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    forward = constant(4.0, 0.0)
    last = warp(source, -forward)
    error = displacement_error(decoded(constant(-3.0, 0.0)), forward, source, last).item()
    assert error == pytest.approx(0.5 * (SIDE - 4) / SIDE, rel=0.05)


def test_a_decoder_that_only_paints_has_no_displacement_error():
    clip = torch.zeros(1, 1, 3, SIDE, SIDE)
    with pytest.raises(ValueError, match="predicts no displacement"):
        displacement_error(DecodedFrames(clip, clip, None, None), constant(0, 0), PLAIN, PLAIN)
