"""A person's picture, of any size and shape, and its square at a model's resolution."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.autoencoder.decoded_frames import DecodedFrames
from ipoke.data.optical_flow import warp
from ipoke.data.poke import Poke
from ipoke.errors import InputError
from ipoke.tensors import clip_from_frames, frames_from_clip

MAX_SIDE = 1024
"""Answers are at most this many px on their longer side; larger pictures are answered scaled down."""


class Still:
    """A picture, padded to a square by repeating its edges and resized to the model's ``size``.

    Pokes are given in the picture's own pixels; answers come back in them too, up to `MAX_SIDE`. Where the decoder
    moves the source's pixels, the picture itself is moved, at its own resolution.
    """

    def __init__(self, image: UInt8[np.ndarray, "h w 3"], size: int) -> None:
        """Fit a picture.

        Raises:
            InputError: The array is not an RGB picture of at least 8 px.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 8:
            raise InputError(
                f"image: got {image.dtype} of shape {image.shape}, expected uint8 (height, width, 3) of at least 8 px"
            )
        self.height, self.width = image.shape[:2]
        self.size = size
        side = max(self.height, self.width)
        self._top, self._left = (side - self.height) // 2, (side - self.width) // 2
        self._factor = size / side
        square = cv2.copyMakeBorder(
            image,
            self._top,
            side - self.height - self._top,
            self._left,
            side - self.width - self._left,
            cv2.BORDER_REPLICATE,
        )
        small = _resize(square, size)
        self.source: Float[Tensor, "1 3 s s"] = clip_from_frames(small)[None]
        self.shown_side = max(size, min(side, MAX_SIDE)) if side >= size else side
        self._shown = clip_from_frames(_resize(square, self.shown_side))[None]

    def to_model(self, poke: Poke) -> Poke:
        """Turn a poke in the picture's pixels into one in the model's.

        Raises:
            InputError: The poke is not finite, or not on the picture.
        """
        if not np.isfinite([poke.x, poke.y, poke.dx, poke.dy]).all():
            raise InputError(
                f"poke: got {poke.x:g},{poke.y:g},{poke.dx:g},{poke.dy:g}, expected four finite numbers x,y,dx,dy in px"
            )
        if not (-0.5 <= poke.x < self.width - 0.5 and -0.5 <= poke.y < self.height - 0.5):
            raise InputError(
                f"poke: ({poke.x:g}, {poke.y:g}) is outside the image of {self.width} x {self.height} px; "
                f"expected x in 0..{self.width - 1} and y in 0..{self.height - 1}"
            )
        inner = Poke(poke.x + self._left, poke.y + self._top, poke.dx, poke.dy).scaled(self._factor)
        last = self.size - 1.0
        return Poke(min(max(inner.x, 0.0), last), min(max(inner.y, 0.0), last), inner.dx, inner.dy)

    def from_model(self, poke: Poke) -> Poke:
        """Turn a poke in the model's pixels into one in the picture's, on the nearest pixel of the picture."""
        outer = poke.scaled(1 / self._factor)
        x = min(max(outer.x - self._left, 0.0), self.width - 1.0)
        y = min(max(outer.y - self._top, 0.0), self.height - 1.0)
        return Poke(x, y, outer.dx, outer.dy)

    def compose(self, decoded: DecodedFrames) -> UInt8[np.ndarray, "n t h w 3"]:
        """Turn decoded clips into frames of the picture's own size; frame 0 is the picture."""
        samples, frames = decoded.clip.shape[:2]
        side = self.shown_side
        source = self._shown
        clips = []
        for sample in range(samples):
            if decoded.origin is None or decoded.shown is None:
                clip = _enlarge(decoded.clip[sample], side)
            else:
                origin = _enlarge(decoded.origin[sample], side) * (side / self.size)
                shown = _enlarge(decoded.shown[sample], side)
                moved = warp(source.expand(frames, -1, -1, -1), origin)
                clip = torch.lerp(_enlarge(decoded.paint[sample], side), moved, shown)
            clips.append(frames_from_clip(torch.cat([source, clip.clamp(-1, 1)])))
        scale = side * self._factor / self.size
        top, left = round(self._top * scale), round(self._left * scale)
        height, width = max(1, round(self.height * scale)), max(1, round(self.width * scale))
        return np.stack(clips)[:, :, top : top + height, left : left + width]


def _resize(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    if image.shape[0] == side:
        return image
    method = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_CUBIC
    return cv2.resize(image, (side, side), interpolation=method)


def _enlarge(x: Float[Tensor, "t c h w"], side: int) -> Float[Tensor, "t c s s"]:
    if x.shape[-1] == side:
        return x
    antialias = x.shape[-1] > side
    return F.interpolate(x, (side, side), mode="bilinear", antialias=antialias)
