"""Negative log-likelihood in bits per latent dimension, of a model and of a diagonal Gaussian."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def bits_per_dim(log_prob: Float[Tensor, " b"], dimensions: int) -> Float[Tensor, " b"]:
    """Convert log-likelihoods in nats to negative log-likelihoods in bits per dimension; any sign, lower is better."""
    return -log_prob / (dimensions * math.log(2))


class DiagonalGaussian:
    """Baseline of a density model: a Gaussian with its own mean and variance in every latent dimension.

    Raises:
        ValueError: There are fewer than two samples to fit.
    """

    def __init__(self, samples: Float[Tensor, "n c h w"]) -> None:
        if len(samples) < 2:
            raise ValueError(f"DiagonalGaussian: got {len(samples)} samples, expected at least 2")
        self.mean, self.variance = samples.mean(0), samples.var(0, unbiased=False).clamp_min(1e-8)

    def log_prob(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """Return log-likelihoods in nats."""
        terms = (z - self.mean).square() / self.variance + torch.log(2 * math.pi * self.variance)
        return -0.5 * terms.flatten(1).sum(1)
