import math

import pytest
import torch
from scipy.stats import multivariate_normal

from ipoke.evaluation.metrics.density import DiagonalGaussian, bits_per_dim


def samples(count=50):
    generator = torch.Generator().manual_seed(0)
    scale = torch.rand(2, 3, 2, generator=generator, dtype=torch.float64) + 0.3
    return scale * torch.randn(count, 2, 3, 2, generator=generator, dtype=torch.float64) + 2


def test_the_diagonal_gaussian_agrees_with_scipy():
    fitted, z = samples(), samples(5) * 1.3
    flat = fitted.flatten(1).numpy()
    reference = multivariate_normal(flat.mean(0), flat.var(0))
    torch.testing.assert_close(
        DiagonalGaussian(fitted).log_prob(z), torch.from_numpy(reference.logpdf(z.flatten(1).numpy()))
    )


def test_the_fit_is_the_likeliest():
    z = samples()
    best = DiagonalGaussian(z).log_prob(z).mean()
    for factor in (0.9, 1.1):
        assert DiagonalGaussian(factor * z).log_prob(z).mean() < best


def test_a_dimension_that_never_changes_stays_finite():
    z = samples()
    z[:, 0] = 1
    assert torch.isfinite(DiagonalGaussian(z).log_prob(z)).all()


def test_one_sample_is_too_few():
    with pytest.raises(ValueError, match="got 1 samples, expected at least 2"):
        DiagonalGaussian(samples(1))


def test_a_standard_normal_needs_two_bits_per_dimension():
    nats = -0.5 * 12 * torch.tensor([math.log(2 * math.pi * math.e), math.log(2 * math.pi)])
    expected = [0.5 * math.log2(2 * math.pi * math.e), 0.5 * math.log2(2 * math.pi)]
    assert bits_per_dim(nats, 12).tolist() == pytest.approx(expected)
