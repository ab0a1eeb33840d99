"""Motion as one affine map per cell of the latent grid: how what moves in a cell shifts, turns, stretches and shears.

Six numbers per cell: the shift of its centre (x, y), and how the shift changes from a cell to the next, to the right
(x, y) and down (x, y); all px. The parts of most things that move do so nearly rigidly, so that six numbers say the
motion of a cell far better than a mean does: on moving pixels of simulated clips, 64 px, they leave 0.8 px of 7.2, the
mean of what moves 1.9 px, and the mean of the whole cell, drawn smoothly, 4.7 px.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ipoke.data.pokes import MOVING_PX, STILL_PX

MOTION_UNIT_PX = 4.0
"""Displacement that counts as 1 at the input of the encoder, and in a latent."""
NUMBERS = 6
"""Per cell and map."""
NEIGHBOURS = 9
"""A pixel chooses among the maps of its own cell (number 4) and of the eight around it, row by row."""
LEAST_SHARE = 1 / 64
"""Share of a cell that must move for its map to be other than zero."""
RIDGE = 1e-3
"""Added to the variance of places, in squared cells, so that a line or a point of pixels has a map too."""


def fitted(motion: Float[Tensor, "b 2 s s"], side: int) -> Float[Tensor, "b 6 side side"]:
    """Fit the map of every cell to what moves in it, by least squares.

    Up to `STILL_PX` a pixel does not count as moving, from `MOVING_PX` on in full.

    Args:
        motion: Where each pixel goes, relative to itself, px.
        side: Cells per axis, a divisor of the pixels per axis.
    """
    cell = motion.shape[-1] // side
    weight = ((motion.norm(dim=1, keepdim=True) - STILL_PX) / (MOVING_PX - STILL_PX)).clamp(0, 1)
    right, down = _places(cell, motion)
    share = F.avg_pool2d(weight, cell)

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(weight * x, cell) / share.clamp_min(LEAST_SHARE / 4)

    right, down = right.repeat(side, side), down.repeat(side, side)
    at_right, at_down, shift = mean(right), mean(down), mean(motion)
    rr = mean(right * right) - at_right.square() + RIDGE
    dd = mean(down * down) - at_down.square() + RIDGE
    rd = mean(right * down) - at_right * at_down
    with_right, with_down = mean(motion * right) - shift * at_right, mean(motion * down) - shift * at_down
    determinant = rr * dd - rd.square()
    per_right = (with_right * dd - with_down * rd) / determinant
    per_down = (with_down * rr - with_right * rd) / determinant
    centre = shift - per_right * at_right - per_down * at_down
    return torch.cat([centre, per_right, per_down], 1) * (share >= LEAST_SHARE)


def chosen(maps: Float[Tensor, "b 6 side side"], logits: Float[Tensor, "b 9 s s"]) -> Float[Tensor, "b 2 s s"]:
    """Let every pixel move as the maps of its cell and of those around it say, each by its share.

    A map goes on beyond its cell. Cells outside the grid are those at its edge, seen from further away. At logits of 0
    the shares are those of a quadratic B-spline, so that maps which disagree bend what lies between them, and tear
    nothing.

    Args:
        maps: As of `fitted`.
        logits: How much more each of `NEIGHBOURS` counts than it does in the spline, nats.
    """
    shares = (logits + _spline(maps.shape[-1], logits)).softmax(1)
    batch, _, side, _ = maps.shape
    cell = shares.shape[-1] // side
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    around = [padded[:, :, row : row + side, column : column + side] for row in range(3) for column in range(3)]
    known = torch.stack(around, 1).view(batch, NEIGHBOURS, 3, 2, side, side)
    right, down = _places(cell, maps)
    step = torch.arange(-1, 2, dtype=maps.dtype, device=maps.device)[:, None, None]
    from_right, from_down = right - step.repeat(3, 1, 1), down - step.repeat_interleave(3, 0)
    basis = torch.stack([torch.ones_like(from_right), from_right, from_down], 1)
    cells = shares.view(batch, NEIGHBOURS, side, cell, side, cell)
    return torch.einsum("nkfcij,kfab,nkiajb->nciajb", known, basis, cells).reshape(batch, 2, *shares.shape[2:])


def _spline(side: int, like: Float[Tensor, "b 9 s s"]) -> Float[Tensor, "9 s s"]:
    """Give the logarithms of the shares of a quadratic B-spline, of the cells around a pixel."""
    cell = like.shape[-1] // side
    at = (torch.arange(cell, dtype=like.dtype, device=like.device) - (cell - 1) / 2) / cell
    along = torch.stack([0.5 * (0.5 - at) ** 2, 0.75 - at**2, 0.5 * (0.5 + at) ** 2])
    return torch.einsum("ya,xb->yxab", along, along).reshape(NEIGHBOURS, cell, cell).log().repeat(1, side, side)


def _places(cell: int, like: Tensor) -> tuple[Float[Tensor, "cell cell"], Float[Tensor, "cell cell"]]:
    """Give how far each pixel of a cell is from its centre, to the right and down, in cells."""
    along = (torch.arange(cell, dtype=like.dtype, device=like.device) - (cell - 1) / 2) / cell
    return along.expand(cell, cell), along[:, None].expand(cell, cell)
