import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import ortho_group
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ipoke.core.errors import InputError
from ipoke.evaluation.metrics.frechet import GaussianStatistics, frechet_distance, frechet_interval


def normal(count, dimension=5, seed=0):
    """Draw correlated features, whose mean is not 0."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dimension)) @ rng.normal(size=(dimension, dimension)) + rng.normal(size=dimension)


def with_moments(mean, covariance, count=50):
    """Make a set of features of exactly this mean and sample covariance."""
    rows = np.random.default_rng(0).normal(size=(count, len(mean)))
    rows -= rows.mean(0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def distance(first, second):
    return frechet_distance(GaussianStatistics.of(first), GaussianStatistics.of(second))


def test_gaussians_of_known_moments_in_closed_form():
    # commuting covariances: |m1 - m2|^2 + sum of (s1 - s2)^2
    first = with_moments(np.array([1.0, 0, 2]), np.diag([4.0, 9, 1]))
    second = with_moments(np.array([0.0, 0, 4]), np.diag([1.0, 16, 1]))
    assert distance(first, second) == pytest.approx((1 + 4) + (1 + 1 + 0), rel=1e-9)


def test_only_means_or_only_spreads():
    covariance = np.cov(normal(40, 3).T)
    first, second = (with_moments(np.array(mean), covariance) for mean in ([0.0, 0, 0], [3.0, 4, 0]))
    assert distance(first, second) == pytest.approx(25)
    assert distance(first, 3 * first) == pytest.approx(4 * np.trace(covariance))


def test_it_is_that_of_scipy():
    first, second = normal(40, seed=1), normal(60, seed=2)
    a, b = np.cov(first.T), np.cov(second.T)
    cross = sqrtm(a @ b)
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(a + b - 2 * cross.real)
    assert distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_it_is_that_of_torchmetrics():
    metric = FrechetInceptionDistance(feature=nn.Flatten(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    images = [torch.from_numpy(normal(30 + 10 * seed, 12, seed)).view(-1, 3, 2, 2) for seed in (1, 2)]
    for real, rows in zip((True, False), images, strict=True):
        metric.update(rows, real=real)
    first, second = (rows.flatten(1).numpy() for rows in images)
    assert distance(first, second) == pytest.approx(metric.compute().item(), rel=1e-6)


def test_identity_symmetry_and_repetition():
    first, second = normal(40, seed=1), normal(50, seed=2)
    assert distance(first, first) == pytest.approx(0, abs=1e-12)
    assert distance(first, second) == pytest.approx(distance(second, first), rel=1e-10)
    assert distance(first, second) == distance(first, second)


def test_rotations_and_shifts_of_both_change_nothing_and_scales_go_in_squared():
    first, second = normal(40, seed=1), normal(50, seed=2)
    rotation = ortho_group.rvs(5, random_state=0)
    expected = distance(first, second)
    assert distance(first @ rotation + 7, second @ rotation + 7) == pytest.approx(expected, rel=1e-9)
    assert distance(3 * first, 3 * second) == pytest.approx(9 * expected, rel=1e-9)


def test_it_grows_with_shift_and_noise():
    first, noise = normal(80), np.random.default_rng(9).normal(size=(80, 5))
    for change in (lambda size: first + size, lambda size: first + size * noise):
        values = [distance(first, change(size)) for size in (0, 0.1, 0.5, 2)]
        assert all(near < far for near, far in itertools.pairwise(values))


def test_features_without_spread_are_no_trouble():
    first, second = normal(40, seed=1), normal(40, seed=2)
    first[:, 0], second[:, 0] = 1, 3
    second[:, 1] = second[:, 2]
    assert distance(first, second) == pytest.approx(
        4 + distance(first[:, 1:], second[:, 1:]), rel=1e-6
    )  # what does not vary adds its squared difference


def test_the_statistics_are_those_of_numpy_in_double_precision():
    rows = normal(40).astype(np.float32) + 1000
    found = GaussianStatistics.of(rows)
    assert found.count == 40
    np.testing.assert_allclose(found.mean, rows.astype(np.float64).mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(rows.astype(np.float64).T), rtol=1e-12)
    assert found.mean.dtype == found.scatter.dtype == np.float64


def test_too_few_clips_are_refused():
    with pytest.raises(InputError, match="got 5 clips for 5 features, expected at least 6; evaluate more clips"):
        distance(normal(5), normal(40))
    with pytest.raises(InputError, match="got 5 clips"):
        distance(normal(40), normal(5))
    distance(normal(6), normal(6, seed=1))
    with pytest.raises(InputError, match="got 6 clips for 5 features, expected at least 7"):
        frechet_interval(normal(6), normal(40))
    frechet_interval(normal(7), normal(40), draws=3)


def test_the_interval_holds_the_distance_expected_of_as_many_clips():
    rng = np.random.default_rng(0)
    drawn = [(rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) * 1.5 + 0.5) for _ in range(100)]
    intervals = [frechet_interval(real, fake, draws=40, seed=i) for i, (real, fake) in enumerate(drawn)]
    expected = np.mean([interval.value for interval in intervals])
    held = np.mean([interval.low <= expected <= interval.high for interval in intervals])
    assert 0.87 <= held <= 0.99
    for (real, fake), interval in zip(drawn[:3], intervals, strict=False):
        assert interval.value == distance(real, fake)


@pytest.mark.parametrize("count", [40, 150])
def test_the_bias_of_few_clips_is_told(count):
    rng = np.random.default_rng(0)
    intervals = [
        frechet_interval(rng.normal(size=(count, 8)), rng.normal(size=(count, 8)), draws=30) for _ in range(20)
    ]
    value, bias = (np.mean([getattr(interval, name) for interval in intervals]) for name in ("value", "bias"))
    assert bias == pytest.approx(value, rel=0.25)  # the true distance is 0: all of the value is bias


def test_a_bootstrap_would_lie_above_the_value():
    real, fake = normal(60, 8, 1), normal(60, 8, 1) + np.random.default_rng(2).normal(size=(60, 8))
    rng = np.random.default_rng(3)
    copies = [distance(real[rng.integers(60, size=60)], fake[rng.integers(60, size=60)]) for _ in range(100)]
    interval = frechet_interval(real, fake)
    assert np.percentile(copies, 2.5) > interval.value
    assert interval.low < interval.value < interval.high


def test_pairs_are_left_out_together():
    real = normal(40)
    assert frechet_interval(real, real, draws=10, paired=True).high == pytest.approx(0, abs=1e-9)
    assert frechet_interval(real, real, draws=10).high > 1e-3
    with pytest.raises(ValueError, match="got 40 and 39 clips"):
        frechet_interval(real, real[1:], paired=True)


def test_the_interval_is_told_by_its_seed_and_narrows_with_more_clips():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(800, 4)), rng.normal(size=(800, 4)) + 1
    wide, narrow = (frechet_interval(real[:n], fake[:n], draws=50, seed=4) for n in (50, 800))
    assert narrow == frechet_interval(real, fake, draws=50, seed=4)
    assert narrow != frechet_interval(real, fake, draws=50, seed=5)
    assert 2 < (wide.high - wide.low) / (narrow.high - narrow.low) < 8
    assert 0 < narrow.bias < wide.bias
