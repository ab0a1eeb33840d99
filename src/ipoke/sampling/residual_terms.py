"""Residuals by name, so that they can be drawn again: sums of draws that seeds name, or values as they are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.networks.latent_flow import LatentFlow


class Term(NamedTuple):
    """One draw in a residual: sample ``number`` of ``seed``, and its weight."""

    seed: int
    number: int
    weight: float = 1.0
    draw: int = 0
    """How many draws before it were rejected, because they did not come back."""


class Noise(NamedTuple):
    """The draw of one generator seed, as a `ipoke.sampling.clip_sampler.ClipSampler` is given it."""

    seed: int


class Given(NamedTuple):
    """A residual as it is, for one that no seed names, such as that of a video."""

    values: bytes
    """Float32, little endian, in the order of the residual's axes."""


Terms = tuple[Term, ...]
Residual = Terms | Noise | Given


def given(r: Float[Tensor, "c h w"]) -> Given:
    """Write a residual down as it is."""
    return Given(r.cpu().numpy().astype("<f4").tobytes())


def plain_terms(seed: int, samples: int) -> list[Terms]:
    """Name the residuals of the first samples of a seed."""
    return [(Term(seed, number),) for number in range(samples)]


def draw_residuals(
    latent_flow: LatentFlow, residuals: Sequence[Residual], residual_std: float = 1.0
) -> Float[Tensor, "n c h w"]:
    """Draw residuals by their names, float32 on the CPU; whatever the weights of their terms, each is normal.

    Args:
        latent_flow: Of the model.
        residuals: One row each.
        residual_std: Standard deviation of those that are drawn; one that is given stays as it is.

    Raises:
        InputError: One that is given is of another size than the model's, or not finite.
        ValueError: A residual has no terms, or only terms of no weight.
    """
    return torch.stack([_drawn(latent_flow, residual, residual_std) for residual in residuals])


def _drawn(latent_flow: LatentFlow, residual: Residual, residual_std: float) -> Float[Tensor, "c h w"]:
    if isinstance(residual, Given):
        return _as_given(latent_flow, residual)
    if isinstance(residual, Noise):
        return residual_std * latent_flow.base_noise([residual.seed])[0]
    weights = torch.tensor([term.weight for term in residual], dtype=torch.float64)
    length = weights.norm() if len(residual) else torch.zeros(())
    if not length > 0:
        raise ValueError("residual: got no term with a weight other than 0, expected at least one")
    noise = latent_flow.base_noise([sample_seed(term.seed, term.number, term.draw) for term in residual])
    return torch.einsum("k,kchw->chw", (residual_std * weights / length).to(noise.dtype), noise)


def _as_given(latent_flow: LatentFlow, residual: Given) -> Float[Tensor, "c h w"]:
    shape = (latent_flow.channels, latent_flow.side, latent_flow.side)
    if len(residual.values) != 4 * math.prod(shape):
        raise InputError(
            f"residual: got {len(residual.values)} bytes, expected {4 * math.prod(shape)}; it belongs to another model"
        )
    r = torch.from_numpy(np.frombuffer(residual.values, "<f4").astype(np.float32)).view(shape)
    if not r.isfinite().all():
        raise InputError("residual: got numbers that are not finite, expected finite ones")
    return r


def sample_seed(seed: int, number: int, draw: int = 0) -> int:
    """Derive the seed of a sample's first or a later draw, so that sample i is the same in any number of samples."""
    name = [seed, number, draw] if draw else [seed, number]
    return int(np.random.SeedSequence(name).generate_state(1, np.uint64)[0] >> 1)


def redrawn(residual: Residual, times: int) -> Residual | None:
    """Name the residual that replaces one that does not come back, ``times`` draws later; None for one given."""
    if isinstance(residual, Given):
        return None
    if isinstance(residual, Noise):
        return (Term(residual.seed, 0, draw=times),) if times else residual
    return tuple(term._replace(draw=term.draw + times) for term in residual)
