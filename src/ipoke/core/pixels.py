"""Conversion between frames and clips.

*Frames* are ``t h w c`` uint8 RGB arrays, on disk and on screen. *Clips* are ``t c h w`` float32 RGB
tensors in [-1, 1], inside networks. Points are (x, y), arrays are indexed [y, x], displacements are in px, x right and
y down.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def clip_from_frames(frames: UInt8[np.ndarray, "*b h w 3"]) -> Float[Tensor, "*b 3 h w"]:
    """Convert uint8 frames (or one image) to float32 in [-1, 1], channels first.

    >>> float(clip_from_frames(np.full((1, 2, 2, 3), 255, np.uint8)).max())
    1.0
    """
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).contiguous().float().div_(127.5).sub_(1)


def frames_from_clip(clip: Float[Tensor, "*b 3 h w"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Convert pixels in [-1, 1] to uint8 frames, rounding to the nearest; the exact inverse of `clip_from_frames`.

    Raises:
        ValueError: A value is outside [-1, 1] by more than rounding.

    >>> frames_from_clip(torch.ones(1, 3, 1, 1)).tolist()
    [[[[255, 255, 255]]]]
    """
    if not torch.isfinite(clip).all() or clip.abs().max() > 1 + 1e-4:
        low, high = float(clip.min()), float(clip.max())
        raise ValueError(f"pixels: got values in [{low:.3g}, {high:.3g}], expected [-1, 1]")
    levels = ((clip.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).cpu().contiguous().numpy()
