"""Decoders for tests, and what they are fed with."""

import torch

from ipoke.core.recipe import LATENT_SIDE
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from tiny import tiny_recipe


def inputs(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, 8, LATENT_SIDE, LATENT_SIDE, generator=generator)
    return z, torch.rand(batch, 3, 64, 64, generator=generator) * 2 - 1


def untrained(kind):
    torch.manual_seed(0)
    return ClipAutoencoder(tiny_recipe(f"clip_decoder.kind={kind}")).eval().requires_grad_(False)


def learned(kind):
    """Make an autoencoder whose decoder moves and hides, as it does after training."""
    autoencoder = untrained(kind)
    generator = torch.Generator().manual_seed(2)
    for parameter in autoencoder.decoder.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return autoencoder
