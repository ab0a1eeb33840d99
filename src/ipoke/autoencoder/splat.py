"""From where things go to where things come from."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def origins(
    motion: Float[Tensor, "n 2 h w"], order: Float[Tensor, "n 1 h w"]
) -> tuple[Float[Tensor, "n 2 h w"], Float[Tensor, "n 1 h w"]]:
    """Invert displacements: push every pixel to where it goes, and note at each place where what arrives comes from.

    Softmax splatting (Niklaus and Liu 2020) of the displacements themselves: a pixel falls on the four places around
    its target with bilinear shares; where several arrive, each counts with exp(order). Gradients reach ``motion``
    through what is carried and through the coverage, not through the shares of the average, whose gradient has no
    bound where little arrives.

    Args:
        motion: Where each pixel goes, relative to itself, px.
        order: What is in front, in nats: larger hides smaller.

    Returns:
        Where each pixel comes from, relative to itself, px (0 where nothing arrives), and the coverage: the sum of the
        shares that arrive, averaged over 3 x 3 places; 1 under any shift by whole pixels, 0 inside what went away.
    """
    count, _, height, width = motion.shape
    x = torch.arange(width, dtype=motion.dtype, device=motion.device) + motion[:, 0]
    y = torch.arange(height, dtype=motion.dtype, device=motion.device)[:, None] + motion[:, 1]
    left, top = x.detach().floor(), y.detach().floor()
    weight = order[:, 0].exp()
    picture = (torch.arange(count, device=motion.device) * height * width)[:, None, None]
    places, rows = [], []
    for right in (0, 1):
        for below in (0, 1):
            column, row = left.long() + right, top.long() + below
            share = (1 - (x - left - right).abs()) * (1 - (y - top - below).abs())
            share = share * ((column >= 0) & (column < width) & (row >= 0) & (row < height))
            carried = share.detach() * weight
            places.append(picture + row.clamp(0, height - 1) * width + column.clamp(0, width - 1))
            rows.append(torch.stack([carried * motion[:, 0], carried * motion[:, 1], carried, share], -1))
    empty = torch.zeros(count * height * width, 4, dtype=motion.dtype, device=motion.device)
    arrived = empty.index_add(0, torch.stack(places).flatten(), torch.stack(rows).flatten(0, -2))
    arrived = _filled(arrived.view(count, height, width, 4).permute(0, 3, 1, 2))
    return -arrived[:, :2] / arrived[:, 2:3].clamp_min(TINY), arrived[:, 3:]


def _filled(arrived: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n 4 h w"]:
    """Close the gaps between pixels that move apart: where nothing arrives, what arrives around it counts instead."""
    near, wide = (F.avg_pool2d(arrived, side, 1, side // 2, count_include_pad=False) for side in (3, 5))
    carried = arrived[:, :3] + GAP_WEIGHT * (near[:, :3] + GAP_WEIGHT * wide[:, :3])
    return torch.cat([carried, near[:, 3:]], 1)


GAP_WEIGHT = 1e-5
"""Weight of what arrives next to a place, relative to what arrives in it; small against the largest exp(order)."""
TINY = 1e-14
"""Below this sum of weights nothing has arrived."""
