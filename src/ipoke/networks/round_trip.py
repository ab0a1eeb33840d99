r"""Round trips: whether a residual, mapped to its latent and back, is the same up to rounding.

For extreme residuals the inverse of a latent flow can amplify rounding errors until the latent holds nothing of its
residual; the latent is finite then, and wrong. Such a sample is not shown. The error of a round trip is

.. math:: \max_i |r'_i - r_i| \,/\, \max_i |r_i|
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ipoke.networks.latent_flow import LatentFlow

TOLERANCE = 1e-3
"""Largest error of a residual that is shown."""
FARTHEST = 1e3
"""Largest value of a latent that is shown. Those of clips are within about 10; no decoder has seen more."""
SURE = 16.0
"""Latents within this always come back, so they are not checked: in 2,400 residuals of four models, at 1 to 2.5
times the standard deviation, no error was above 1.4e-4."""
SCALES = (1, 3, 10)
"""Standard deviations of residuals at which the error is measured."""


@torch.no_grad()
def comes_back(
    latent_flow: LatentFlow, r: Float[Tensor, "n c h w"], z: Float[Tensor, "n c h w"], cond: Float[Tensor, "n k h w"]
) -> Bool[Tensor, " n"]:
    """Tell which latents are those of their residuals, and near enough to those of clips to be shown."""
    far = z.abs().flatten(1).amax(1)
    good = far <= FARTHEST
    (doubtful,) = (good & (far > SURE)).nonzero(as_tuple=True)
    if len(doubtful) and not latent_flow.is_reduced:
        good[doubtful] = _errors(r[doubtful], latent_flow.bijection(z[doubtful], cond[doubtful])[0]) <= TOLERANCE
    return good


@torch.no_grad()
def round_trip_errors(
    latent_flow: LatentFlow, conds: Float[Tensor, "b k h w"], scale: float, seeds: Sequence[int]
) -> Float[Tensor, " n"]:
    """Measure the error of residuals of a standard deviation, one per seed and condition; inf where there is none."""
    errors = []
    for cond in conds:
        r = scale * latent_flow.base_noise(list(seeds)).to(cond.device)
        known = cond.expand(len(r), -1, -1, -1)
        errors.append(_errors(r, latent_flow.to_residual(latent_flow.to_latent(r, known), known)[0]))
    return torch.cat(errors)


def _errors(r: Float[Tensor, "n c h w"], back: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    worst = (back - r).abs().flatten(1).amax(1) / r.abs().flatten(1).amax(1).clamp_min(1e-9)
    return worst.nan_to_num(torch.inf, torch.inf)
