"""Make pictures, fields and poke maps smaller, for networks that look at less than is shown."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def shrunk(picture: Float[Tensor, "*n c h w"], factor: int) -> Float[Tensor, "*n c h2 w2"]:
    """Average squares of ``factor`` px a side.

    >>> import torch
    >>> shrunk(torch.tensor([[[1.0, 3.0], [5.0, 7.0]]]), 2)
    tensor([[[4.]]])
    """
    if factor == 1:
        return picture
    flat = picture.reshape(-1, *picture.shape[-3:])
    return F.avg_pool2d(flat, factor).reshape(*picture.shape[:-2], *(side // factor for side in picture.shape[-2:]))


def shrunk_field(field: Float[Tensor, "*n 2 h w"], factor: int) -> Float[Tensor, "*n 2 h2 w2"]:
    """Average displacements, and count them in the larger pixels."""
    return shrunk(field, factor) / factor


def shrunk_pokes(poke_map: Float[Tensor, "b 2 h w"], factor: int) -> Float[Tensor, "b 2 h2 w2"]:
    """Average what is poked or pinned in each square, and count it in the larger pixels; the rest is 0.

    So a poke at the edge of a square keeps its length, and a pin stays one.
    """
    if factor == 1:
        return poke_map
    share = shrunk((poke_map != 0).any(1, keepdim=True).to(poke_map.dtype), factor)
    return shrunk_field(poke_map, factor) / share.clamp_min(1 / factor**2)
