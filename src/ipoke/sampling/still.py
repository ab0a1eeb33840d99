"""A user's picture of any size and shape, and its square at the model's resolution."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames, frames_from_clip
from ipoke.data.optical_flow import warp
from ipoke.data.poke import Poke
from ipoke.engine.library import Compiled, compiled
from ipoke.engine.ranges import in_ranges
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames

MAX_SIDE = 1024
"""Longest side of output frames, px; larger pictures are scaled down."""


class Still:
    """A picture, padded to a square by repeating its edges and resized to the model's ``size``.

    Pokes and output frames are in the picture's own pixels, up to `MAX_SIDE`. Where the decoder warps the source, the
    picture itself is warped, at its own resolution.
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

    @property
    def px_per_model_px(self) -> float:
        """Length of one px of the model, in px of the picture."""
        return 1 / self._factor

    def to_model(self, poke: Poke) -> Poke:
        """Convert a poke from the picture's pixels to the model's.

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
        """Convert a poke from the model's pixels to the picture's, moved onto the picture if it is beside it."""
        outer = poke.scaled(1 / self._factor)
        x = min(max(outer.x - self._left, 0.0), self.width - 1.0)
        y = min(max(outer.y - self._top, 0.0), self.height - 1.0)
        return Poke(x, y, outer.dx, outer.dy)

    def compose(self, decoded: DecodedFrames) -> UInt8[np.ndarray, "n t h w 3"]:
        """Compose frames of the picture's own size from decoded clips; frame 0 is the picture."""
        top, left, height, width = self._window()
        functions = compiled() if self.shown_side >= self.size else None
        if functions is not None and decoded.backward_flow is not None and decoded.coverage is not None:
            return self._composed_by(functions, decoded.backward_flow, decoded.coverage, decoded.paint)
        clips = []
        for sample in range(len(decoded.clip)):
            clip = self._composed(decoded, sample)
            clips.append(frames_from_clip(torch.cat([self._shown, clip.clamp(-1, 1)])))
        return np.stack(clips)[:, :, top : top + height, left : left + width]

    def _window(self) -> tuple[int, int, int, int]:
        """Locate the picture in the shown square: top, left, height and width."""
        scale = self.shown_side * self._factor / self.size
        height, width = max(1, round(self.height * scale)), max(1, round(self.width * scale))
        return round(self._top * scale), round(self._left * scale), height, width

    def _composed(self, decoded: DecodedFrames, sample: int) -> Float[Tensor, "t 3 s2 s2"]:
        """Enlarge one clip, with the picture's own pixels where the decoder warps."""
        side = self.shown_side
        if decoded.backward_flow is None or decoded.coverage is None:
            return _enlarge(decoded.clip[sample], side)
        backward_flow = _enlarge(decoded.backward_flow[sample], side) * (side / self.size)
        warped = warp(self._shown.expand(len(backward_flow), -1, -1, -1), backward_flow)
        return torch.lerp(_enlarge(decoded.paint[sample], side), warped, _enlarge(decoded.coverage[sample], side))

    def _composed_by(
        self,
        functions: Compiled,
        backward_flow: Float[Tensor, "n t 2 s s"],
        coverage: Float[Tensor, "n t 1 s s"],
        paint: Float[Tensor, "n t 3 s s"],
    ) -> UInt8[np.ndarray, "n t2 h w 3"]:
        """Do the same for all clips in compiled code, for the picture's window alone."""
        samples, frames = backward_flow.shape[:2]
        top, left, height, width = self._window()
        composed = np.empty((samples, 1 + frames, height, width, 3), np.uint8)
        composed[:, 0] = frames_from_clip(self._shown)[0, top : top + height, left : left + width]
        packed = F.pad(self._shown[0].permute(1, 2, 0), (0, 1)).contiguous()
        planes = [part.float().flatten(0, 1).contiguous() for part in (backward_flow, coverage, paint)]

        def show(first: int, count: int) -> None:
            scratch = torch.empty(8 * self.size)
            for frame in range(first, first + count):
                functions.show_frame(
                    *(self.size, self.shown_side, packed.data_ptr(), *(part[frame].data_ptr() for part in planes)),
                    *(top, left, height, width),
                    *(composed[frame // frames, 1 + frame % frames].ctypes.data, scratch.data_ptr()),
                )

        in_ranges(samples * frames, show)
        return composed


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
