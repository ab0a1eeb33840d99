"""Bits per latent dimension, of a model and of the plainest alternative."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def bits_per_dim(log_prob: Float[Tensor, " b"], dimensions: int) -> Float[Tensor, " b"]:
    """Turn log-likelihoods in nats into negative log-likelihoods in bits per dimension."""
    return -log_prob / (dimensions * math.log(2))


class DiagonalGaussian:
    """Mean and variance of every latent dimension, fitted to samples: what a density model has to beat."""

    def __init__(self, samples: Float[Tensor, "n c h w"]) -> None:
        if len(samples) < 2:
            raise ValueError(f"DiagonalGaussian: got {len(samples)} samples, expected at least 2")
        self.mean, self.variance = samples.mean(0), samples.var(0, unbiased=False).clamp_min(1e-8)

    def log_prob(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """Return log-likelihoods in nats."""
        terms = (z - self.mean).square() / self.variance + torch.log(2 * math.pi * self.variance)
        return -0.5 * terms.flatten(1).sum(1)
