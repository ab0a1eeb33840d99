import pytest
import torch

from ipoke.training.energy_score import SMALL_PX, energy_score

DRAWS = 400_000
SCALES = (0.5, 0.8, 1.0, 1.25, 2.0)


def normal(seed):
    return torch.randn(DRAWS, 1, 2, 1, 1, generator=torch.Generator().manual_seed(seed))


def mean_score(scale, shift=0.0):
    """Score draws of N(shift, scale^2) by truths of N(0, 1), in the plane."""
    first, second = (scale * normal(seed) + shift for seed in (1, 2))
    return energy_score(first, second, normal(3)).mean().item()


def test_it_is_least_for_draws_that_spread_as_the_truth_does():
    assert min(SCALES, key=mean_score) == 1.0
    assert mean_score(1.0) < mean_score(1.0, shift=0.3)


def test_without_its_second_term_it_would_ask_for_no_spread():
    def nearness(scale):
        return 0.5 * sum((scale * normal(seed) - normal(3)).norm(dim=2).mean() for seed in (1, 2))

    assert min(SCALES, key=nearness) == SCALES[0]


def test_it_is_that_of_gaussians():
    # E|X| of a plane normal of deviation s is s sqrt(pi / 2); a - y and a - b have deviation sqrt(2).
    wanted = (2 * torch.pi / 2) ** 0.5 / 2
    assert mean_score(1.0) == pytest.approx(wanted - SMALL_PX / 2, abs=0.01)


def test_it_is_zero_where_samples_are_the_truth_and_can_be_descended_to_it():
    truth = torch.randn(3, 2, 2, 4, 4)
    first, second = truth.clone().requires_grad_(), truth.clone().requires_grad_()
    score = energy_score(first, second, truth)
    assert score.shape == (3, 2, 4, 4)
    assert not score.any()
    score.sum().backward()
    assert first.grad is not None
    assert not first.grad.any()
    moved = (truth + 0.01).requires_grad_()
    energy_score(moved, truth, truth).sum().backward()
    assert moved.grad is not None
    assert torch.isfinite(moved.grad).all()


def test_both_samples_count_alike():
    one, other, truth = (torch.randn(2, 1, 2, 4, 4) for _ in range(3))
    torch.testing.assert_close(energy_score(one, other, truth), energy_score(other, one, truth))
