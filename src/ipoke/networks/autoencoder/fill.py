"""Fill the unknown pixels of a picture from known ones around them."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LEAST_WEIGHT = 0.05
"""Weight of the coarser level at each pixel."""
TINY = 1e-12
"""Below this weight nothing is known."""


def filled(picture: Float[Tensor, "n c h w"], weight: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c h w"]:
    """Replace pixels of small weight by averages of those around them, as wide as needed.

    Push-pull (Gortler et al. 1996): weighted means at 1/2, 1/4, ... of the side, then down again; each level takes from
    the coarser one as much weight as it lacks.

    Args:
        picture: Any channels; where the weight is 0 the values do not matter, but must be finite.
        weight: How well each pixel is known, 0 or more, relative to the best known one.

    Returns:
        The picture where the weight is well above `LEAST_WEIGHT`, averages elsewhere, 0 if all weights are 0.
    """
    weight = weight / weight.amax((1, 2, 3), keepdim=True).clamp_min(TINY)
    sums, weights = [picture * weight], [weight]
    while max(sums[-1].shape[-2:]) > 1:
        sums.append(F.avg_pool2d(sums[-1], 2, ceil_mode=True))
        weights.append(F.avg_pool2d(weights[-1], 2, ceil_mode=True))
    result = sums[-1] / weights[-1].clamp_min(TINY)
    for total, known in zip(sums[-2::-1], weights[-2::-1], strict=True):
        coarser = F.interpolate(result, total.shape[-2:], mode="bilinear")
        result = (total + LEAST_WEIGHT * coarser) / (known + LEAST_WEIGHT)
    return result
