"""What moves along when one place of a still is pulled: correlations of motion, read off sampled clips."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.pixels import frames_from_clip
from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.engine.engine import Engine
from ipoke.engine.ranges import in_ranges
from ipoke.networks.conditions.condition import ConditionEncoders
from ipoke.networks.latent_flow import LatentFlow
from ipoke.networks.round_trip import comes_back

PULLS = 128
"""Pulls of a map: 2 s on one core with the bundled model. On the bundled still the map then differs from an
independent one of 1,000 pulls by 0.01 on average, and two of 1,000 pulls from each other by 0.003."""
BATCH = 32
"""Clips that are sampled in one call."""
SHORTEST, LONGEST = 0.1, 0.2
"""Lengths of pulls, in parts of the side."""
LEAST_VARIANCE_PX2 = 0.01
"""A pulled place that varies less did not follow; nothing can be said of what moves along with it."""

Sampler = Callable[[Float32[np.ndarray, "b 2"], Sequence[int]], Float32[np.ndarray, "b 2 s s"]]
"""From pulls, px, and one seed for each, to the displacements that they lead to, px."""


class Networks(NamedTuple):
    """What a model samples clips with."""

    conditions: ConditionEncoders
    latent_flow: LatentFlow
    engine: Engine


def draw_pulls(count: int, size: int, seed: int) -> Float32[np.ndarray, "n 2"]:
    """Draw pulls in all directions, of 0.1 to 0.2 of the side, px; the first ones do not depend on ``count``."""
    rng = np.random.default_rng(seed)
    angle, length = (rng.random((count, 2)) * [2 * math.pi, LONGEST - SHORTEST] + [0, SHORTEST]).T
    return (np.stack([np.cos(angle), np.sin(angle)], 1) * length[:, None] * size).astype(np.float32)


def affinity_map(
    networks: Networks,
    source: Float[Tensor, "1 3 s s"],
    at: tuple[float, float],
    pulls: Float32[np.ndarray, "n 2"],
    seeds: Sequence[int],
    *,
    frames: int,
    patch: int,
) -> Float32[np.ndarray, "s s"]:
    """Map how surely each place of a still moves along when one place is pulled. Paper: Sec. 4.2 and Fig. 7.

    For each pull one clip is sampled, of which only the last frame is decoded, and its optical flow from the still
    measured. The map is 1 - V(p) / V, where V(p) is the variance over pulls of the displacement at p relative to that
    at the pulled place l, and V that of a place that never moves, which is the variance of the displacement at l: 1
    is a place that moves exactly as l does, 0 one that does not care, or where l itself does not follow.

    The reference is what l was measured to do, not what it was asked to: the map tells which parts belong together in
    the model's clips, and a poke that is followed by half does not darken all of it. The paper leaves open how a
    variance of [magnitude, angle] is taken; the variance of a vector needs no special care where an angle wraps.

    Args:
        networks: Of one model.
        source: The still in [-1, 1], where the weights are.
        at: The pulled place (x, y), px of the still.
        pulls: (dx, dy) each, px.
        seeds: Of the residuals, one per pull.
        frames: Frames after the still; the last one is decoded.
        patch: Side of the square that a poke fills in the poke map, px.
    """
    sample = _sampler_of(networks, source, at, frames=frames, patch=patch)
    return affinity_of(sample, at, pulls, seeds)


def affinity_of(
    sample: Sampler, at: tuple[float, float], pulls: Float32[np.ndarray, "n 2"], seeds: Sequence[int]
) -> Float32[np.ndarray, "s s"]:
    """Do the same for anything that answers pulls with displacements."""
    batches = [slice(start, start + BATCH) for start in range(0, len(pulls), BATCH)]
    fields = np.concatenate([sample(pulls[batch], seeds[batch]) for batch in batches])
    here = fields[:, :, round(at[1]), round(at[0])]
    at_rest = float(_variance(here[..., None, None])[0, 0])
    if at_rest < LEAST_VARIANCE_PX2:
        return np.zeros(fields.shape[2:], np.float32)
    relative = fields - here[..., None, None]
    return np.clip(1 - _variance(relative) / at_rest, 0, 1).astype(np.float32)


def _variance(displacements: Float32[np.ndarray, "n 2 h w"]) -> Float64[np.ndarray, "h w"]:
    """Give the mean squared distance from the mean displacement, px^2."""
    return displacements.var(0, dtype=np.float64).sum(0)


def _sampler_of(
    networks: Networks, source: Float[Tensor, "1 3 s s"], at: tuple[float, float], *, frames: int, patch: int
) -> Sampler:
    """Sample last frames; what depends on the still alone is computed here, once."""
    conditions, latent_flow, engine = networks
    size = source.shape[-1]
    still = frames_from_clip(source)[0]
    features, modulations = conditions.encode_image(source), engine.source_features(source)

    def sample(pulls: Float32[np.ndarray, "b 2"], seeds: Sequence[int]) -> Float32[np.ndarray, "b 2 s s"]:
        count = len(pulls)
        stills = source.expand(count, -1, -1, -1)
        maps = np.stack([poke_map([Poke(*at, *map(float, pull))], size, patch=patch) for pull in pulls])
        of_pokes = conditions.encode_pokes(torch.from_numpy(maps).to(source.device), stills)
        cond = torch.cat([features.expand(count, -1, -1, -1), of_pokes], 1).float()
        r = latent_flow.residuals(list(seeds), cond, 1.0)
        z = engine.to_latent(r, cond)
        if not comes_back(latent_flow, r, z, cond).all():
            raise InputError("affinity: a residual does not come back from its latent; take another seed")
        repeated = [one.expand(count) for one in modulations]
        decoded = engine.decode(engine.rollout(z, frames)[:, [frames - 1]], stills, repeated)
        lasts = frames_from_clip(decoded.clip[:, 0].clamp(-1, 1))
        fields = np.empty((count, 2, size, size), np.float32)

        def measure(first: int, of_range: int) -> None:
            for index in range(first, first + of_range):
                fields[index] = estimate_with_dis(still, lasts[index])

        in_ranges(count, measure)
        return fields

    return sample
