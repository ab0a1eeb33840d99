"""Forward splatting: invert a displacement field, from where each pixel goes to where each pixel comes from."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ipoke.data.optical_flow import warp

ORDER_PER_PX = 2.0
"""How much nearer, in nats per px, tracks with a longer displacement are taken to be."""
GAP = 0.5
"""Share of a pixel from which a place needs nothing from its neighbours."""
GAP_WEIGHT = 1e-5
"""Weight of what arrives next to a place, relative to what arrives in it; small against the largest exp(order)."""
TINY = 1e-14
"""Below this sum of weights nothing has arrived."""
STEEP, STEEPEST = 1.2, 2.4
"""Slopes of the motion, px per px, from which the continuity mask begins to fall and from which it is 0."""
SMALLEST_MISS, LARGEST_MISS = 1.0, 2.5
"""Distances, px, up to which a pixel is covered and from which it is not."""


def forward_splat(motion: Float[Tensor, "n 2 h w"], order: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 2 h w"]:
    """Invert displacements: push every pixel to its target, and average the displacements that arrive at each place.

    Softmax splatting (Niklaus and Liu 2020) of the displacements themselves: a pixel falls on the four places around
    its target with bilinear shares; where several arrive, each counts with exp(order). Gradients reach ``motion``
    through the displacements, not through the shares of the average, whose gradient is unbounded where little arrives.

    Args:
        motion: Where each pixel goes, relative to itself, px.
        order: Order in depth, nats: larger hides smaller.

    Returns:
        The backward flow: where each pixel comes from, relative to itself, px. Where less than `GAP` of a pixel
        arrives, what arrives next to it counts too; where nothing does, it is 0. `find_coverage` tells where it holds.
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
            weighted = share * weight
            places.append(picture + row.clamp(0, height - 1) * width + column.clamp(0, width - 1))
            rows.append(torch.stack([weighted * motion[:, 0], weighted * motion[:, 1], weighted, share], -1))
    empty = torch.zeros(count * height * width, 4, dtype=motion.dtype, device=motion.device)
    # Not index_add: exported, its sums are made in parallel by onnxruntime, which loses some.
    index = torch.stack(places).flatten()[:, None].expand(-1, 4)
    sums = empty.scatter_add(0, index, torch.stack(rows).flatten(0, -2))
    sums = _with_gaps_closed(sums.view(count, height, width, 4).permute(0, 3, 1, 2))
    return -sums[:, :2] / sums[:, 2:].clamp_min(TINY)


@torch.no_grad()
def flow_from_later_frame(
    flow_to_last: Float[Tensor, "n 2 h w"], track: Float[Tensor, "n 2 h w"]
) -> Float[Tensor, "n 2 h w"]:
    """Give the optical flow from a later frame to the last, from the displacements of the first frame's pixels.

    Args:
        flow_to_last: Where each pixel of the first frame is in the last, relative to itself, px.
        track: Where it is in the later frame, px.

    Returns:
        Where each pixel of the later frame is in the last, relative to itself, px.
    """
    return warp(flow_to_last - track, forward_splat(track, ORDER_PER_PX * track.norm(dim=1, keepdim=True)))


@torch.no_grad()
def find_coverage(
    motion: Float[Tensor, "n 2 h w"], backward_flow: Float[Tensor, "n 2 h w"]
) -> Float[Tensor, "n 1 h w"]:
    """Tell whether a source pixel really goes to each place: 1 where it does, 0 where it goes elsewhere.

    A pixel that has gone, and in whose place nothing has come, gets 0: otherwise it would be visible twice. So do most
    gaps in a part that grows to more than 1.5 times its width.

    Args:
        motion: Where each pixel goes, relative to itself, px.
        backward_flow: Where each pixel comes from, relative to itself, px.

    Returns:
        In [0, 1], falling with the distance between the place and the target of the pixel that it comes from. Without
        gradient.
    """
    height, width = motion.shape[-2:]
    x = torch.arange(width, device=motion.device) + backward_flow[:, :1]
    y = torch.arange(height, device=motion.device)[:, None] + backward_flow[:, 1:]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    miss = (warp(motion, backward_flow) + backward_flow).norm(dim=1, keepdim=True)
    return ((LARGEST_MISS - miss) / (LARGEST_MISS - SMALLEST_MISS)).clamp(0, 1) * inside


@torch.no_grad()
def continuity_mask(motion: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Drop pixels on the slope between two motions, which belong to neither: 0 there, 1 elsewhere.

    Where the motion rises over some pixels from that of one part to that of another, the pixels between would be
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


def _with_gaps_closed(sums: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Close the gaps between pixels that move apart: where little arrives, what arrives around it counts too."""
    weighted, share = sums[:, :3], sums[:, 3:]
    near, wide = (F.avg_pool2d(weighted, side, 1, side // 2, count_include_pad=False) for side in (3, 5))
    return weighted + (1 - share / GAP).clamp_min(0) * GAP_WEIGHT * (near + GAP_WEIGHT * wide)
