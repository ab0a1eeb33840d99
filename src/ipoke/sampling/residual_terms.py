"""Residuals written down, so that they can be asked for again: sums of draws that seeds name, or given as they are."""

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
    """One draw in a residual: sample ``number`` of ``seed``, and how much of it."""

    seed: int
    number: int
    weight: float = 1.0
    draw: int = 0
    """How often it was drawn anew, because what was drawn before did not come back."""


class Given(NamedTuple):
    """A residual as it is, for one that no seed names, such as that of a video."""

    values: bytes
    """Float32, little endian, in the order of the residual's axes."""


Terms = tuple[Term, ...]
Residual = Terms | Given


def given(r: Float[Tensor, "c h w"]) -> Given:
    """Write a residual down as it is."""
    return Given(r.cpu().numpy().astype("<f4").tobytes())


def plain_terms(seed: int, samples: int) -> list[Terms]:
    """Name the residuals of the first samples of a seed."""
    return [(Term(seed, number),) for number in range(samples)]


def draw_residuals(
    latent_flow: LatentFlow, residuals: Sequence[Residual], residual_std: float = 1.0
) -> Float[Tensor, "n c h w"]:
    """Draw residuals by their terms, float32 on the CPU; whatever the weights, each is normal.

    Args:
        latent_flow: Of the model.
        residuals: One row each.
        residual_std: Standard deviation of those that are drawn; one that is given stays as it is.

    Raises:
        InputError: One that is given is of another size than the model's, or not finite.
        ValueError: A residual has no terms, or only terms of no weight.
    """
    rows = []
    for terms in residuals:
        if isinstance(terms, Given):
            rows.append(_as_given(latent_flow, terms))
            continue
        weights = torch.tensor([term.weight for term in terms], dtype=torch.float64)
        length = weights.norm() if len(terms) else torch.zeros(())
        if not length > 0:
            raise ValueError("residual: got no terms of any weight, expected at least one")
        noise = latent_flow.base_noise([sample_seed(*term[:2], term.draw) for term in terms])
        rows.append(torch.einsum("k,kchw->chw", (residual_std * weights / length).to(noise.dtype), noise))
    return torch.stack(rows)


def _as_given(latent_flow: LatentFlow, residual: Given) -> Float[Tensor, "c h w"]:
    shape = (latent_flow.channels, latent_flow.side, latent_flow.side)
    if len(residual.values) != 4 * math.prod(shape):
        raise InputError(
            f"residual: got {len(residual.values)} bytes, expected {4 * math.prod(shape)}; it is of another model"
        )
    r = torch.from_numpy(np.frombuffer(residual.values, "<f4").astype(np.float32)).view(shape)
    if not r.isfinite().all():
        raise InputError("residual: got numbers that are not finite, expected finite ones")
    return r


def sample_seed(seed: int, number: int, draw: int = 0) -> int:
    """Derive the seed of a sample's first or a later draw, so that sample i is the same in any number of samples."""
    name = [seed, number, draw] if draw else [seed, number]
    return int(np.random.SeedSequence(name).generate_state(1, np.uint64)[0] >> 1)


def drawn_anew(residual: Residual, times: int) -> Residual | None:
    """Name the residual that is drawn in the place of one that does not come back; there is none for one given."""
    if isinstance(residual, Given):
        return None
    return tuple(term._replace(draw=term.draw + times) for term in residual)
