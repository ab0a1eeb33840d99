"""From where things go to where things come from."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ipoke.data.optical_flow import warp


def origins(motion: Float[Tensor, "n 2 h w"], order: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 2 h w"]:
    """Invert displacements: push every pixel to where it goes, and note at each place where what arrives comes from.

    Softmax splatting (Niklaus and Liu 2020) of the displacements themselves: a pixel falls on the four places around
    its target with bilinear shares; where several arrive, each counts with exp(order). Gradients reach ``motion``
    through what is carried, not through the shares of the average, whose gradient has no bound where little arrives.

    Args:
        motion: Where each pixel goes, relative to itself, px.
        order: What is in front, in nats: larger hides smaller.

    Returns:
        Where each pixel comes from, relative to itself, px. Where less than `GAP` of a pixel arrives, what arrives next
        to it counts too; where nothing does, 0. Whether it is true, `arrival` says.
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
            share = (share * ((column >= 0) & (column < width) & (row >= 0) & (row < height))).detach()
            carried = share * weight
            places.append(picture + row.clamp(0, height - 1) * width + column.clamp(0, width - 1))
            rows.append(torch.stack([carried * motion[:, 0], carried * motion[:, 1], carried, share], -1))
    empty = torch.zeros(count * height * width, 4, dtype=motion.dtype, device=motion.device)
    # Not index_add: exported, its sums are made in parallel by onnxruntime, which loses some.
    index = torch.stack(places).flatten()[:, None].expand(-1, 4)
    arrived = empty.scatter_add(0, index, torch.stack(rows).flatten(0, -2))
    arrived = _filled(arrived.view(count, height, width, 4).permute(0, 3, 1, 2))
    return -arrived[:, :2] / arrived[:, 2:].clamp_min(TINY)


@torch.no_grad()
def seen_from_later(field: Float[Tensor, "n 2 h w"], track: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n 2 h w"]:
    """Say where the pixels of a later frame go on to, given where those of the first frame go.

    Args:
        field: Where each pixel of the first frame is in the last, relative to itself, px.
        track: Where it is in the later frame, px.

    Returns:
        Where each pixel of the later frame is in the last, relative to itself, px.
    """
    return warp(field - track, origins(track, ORDER_PER_PX * track.norm(dim=1, keepdim=True)))


@torch.no_grad()
def arrival(motion: Float[Tensor, "n 2 h w"], origin: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Tell where the origin of a place is true: 1 where the pixel there goes to this place, 0 where it goes elsewhere.

    A pixel that has gone, and in whose place nothing has come, gets 0: it would be shown twice. So do most gaps in a
    part that grows to more than 1.5 times its width.

    Args:
        motion: Where each pixel goes, relative to itself, px.
        origin: Where each pixel comes from, relative to itself, px.

    Returns:
        In [0, 1], falling with the distance between the place and where its origin goes. Without gradient.
    """
    height, width = motion.shape[-2:]
    x = torch.arange(width, device=motion.device) + origin[:, :1]
    y = torch.arange(height, device=motion.device)[:, None] + origin[:, 1:]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    miss = (warp(motion, origin) + origin).norm(dim=1, keepdim=True)
    return ((LARGEST_MISS - miss) / (LARGEST_MISS - SMALLEST_MISS)).clamp(0, 1) * inside


@torch.no_grad()
def wholeness(motion: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Tell which pixels move as part of something: 0 on a slope between two motions, 1 on either side of it.

    Where a motion rises over some pixels from that of one thing to that of another, the pixels between would be
    scattered one by one. A slope rises on in the same direction on both sides, along a row or a column; a ridge, such
    as a thin part that moves alone, is none.

    Args:
        motion: Where each pixel goes, relative to itself, px.

    Returns:
        In [0, 1], falling with the slope. Without gradient.
    """
    rise_x, rise_y = motion.diff(dim=3), motion.diff(dim=2)
    along_x = F.pad((rise_x[..., 1:] * rise_x[..., :-1]).sum(1, keepdim=True), (1, 1, 0, 0))
    along_y = F.pad((rise_y[..., 1:, :] * rise_y[..., :-1, :]).sum(1, keepdim=True), (0, 0, 1, 1))
    slope = torch.maximum(along_x, along_y).clamp_min(0).sqrt()
    return ((STEEPEST - slope) / (STEEPEST - STEEP)).clamp(0, 1)


def _filled(arrived: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Close the gaps between pixels that move apart: where little arrives, what arrives around it counts too."""
    carried, share = arrived[:, :3], arrived[:, 3:]
    near, wide = (F.avg_pool2d(carried, side, 1, side // 2, count_include_pad=False) for side in (3, 5))
    return carried + (1 - share / GAP).clamp_min(0) * GAP_WEIGHT * (near + GAP_WEIGHT * wide)


ORDER_PER_PX = 2.0
"""How much further in front, in nats per px, tracks are taken to be that lead further."""
GAP = 0.5
"""Share of a pixel from which a place needs nothing from its neighbours."""
GAP_WEIGHT = 1e-5
"""Weight of what arrives next to a place, relative to what arrives in it; small against the largest exp(order)."""
TINY = 1e-14
"""Below this sum of weights nothing has arrived."""
STEEP, STEEPEST = 1.2, 2.4
"""Slopes, px per px, from which a pixel begins to belong to nothing and from which it does."""
SMALLEST_MISS, LARGEST_MISS = 1.0, 2.5
"""Distances, px, up to which an origin is true and from which it is not."""
