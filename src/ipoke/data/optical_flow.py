"""Optical flow: where each pixel of the first frame is in the last, and what can be done with such a field.

A field is ``2 h w``, in px of its own size: channel 0 points right, channel 1 down. The point at p in the first frame
is at p + F(p) in the last, so the last frame sampled there looks like the first: ``warp(last, F)`` is about ``first``
wherever nothing hides the point.
"""

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from ipoke.data.raft import find_raft_weights, load_raft


@runtime_checkable
class OpticalFlowEstimator(Protocol):
    """Anything that finds the displacement of every pixel between two images of one size."""

    def __call__(
        self, first: UInt8[np.ndarray, "h w 3"], last: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "2 h w"]:
        """Estimate the field that leads from ``first`` to ``last``, in px."""
        ...


def estimator(name: Literal["dis", "raft"], weights: Path | None = None) -> OpticalFlowEstimator:
    """Give the estimator of that name.

    ``dis`` needs nothing and takes about 9 ms for 64 px on one core; it loses small things that move further than about
    half their width. ``raft`` follows those too, takes longer and needs weights, looked for in the usual places if
    no file is given.

    Raises:
        InputError: ``raft`` without weights, or with a file that does not hold them.
    """
    if name == "dis":
        return estimate_with_dis
    return RaftEstimator(find_raft_weights() if weights is None else weights)


def estimate_with_dis(
    first: UInt8[np.ndarray, "h w 3"], last: UInt8[np.ndarray, "h w 3"]
) -> Float32[np.ndarray, "2 h w"]:
    """Estimate optical flow by dense inverse search: medium preset, down to the finest scale (Kroeger et al. 2016).

    Small images are estimated at twice their size: on synthetic motion at 64 px that takes a third off the error, and a
    further doubling gains nothing for four times the time.
    """
    height, width = first.shape[:2]
    zoom = 2 if min(height, width) < 256 else 1
    grey = [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        for image in (first, last)
    ]
    # One search per call: the object keeps buffers that two threads must not share.
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    displacements = search.calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), np.float32))
    return resize_optical_flow(np.ascontiguousarray(displacements.transpose(2, 0, 1)), height, width)


class RaftEstimator:
    """RAFT-small as an estimator; images whose short side is below 256 px are enlarged first.

    Its features live on an eighth of the image. On synthetic motion at 64 px, 32 x 32 features leave a third of the
    error that 16 x 16 do, for about 0.4 s per pair on one core.
    """

    def __init__(self, weights: Path) -> None:
        self.network = load_raft(weights)

    def __call__(
        self, first: UInt8[np.ndarray, "h w 3"], last: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "2 h w"]:
        """Estimate the field that leads from ``first`` to ``last``, in px."""
        height, width = first.shape[:2]
        zoom = max(1, -(-256 // min(height, width)))
        size = (width * zoom, height * zoom)
        images = [
            torch.from_numpy(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)).movedim(-1, 0)[None].float()
            for image in (first, last)
        ]
        with torch.inference_mode():
            displacements = self.network(images[0], images[1])[0].numpy()
        return resize_optical_flow(displacements, height, width)


def warp(image: Float[Tensor, "b c h w"], optical_flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Sample an image at p + F(p) for every pixel p, bilinearly; points outside take the nearest border pixel.

    >>> ramp = torch.arange(4.0).expand(1, 1, 2, 4)
    >>> shift = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 4)
    >>> warp(ramp, shift)[0, 0, 0].tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    height, width = image.shape[-2:]
    x = torch.arange(width, dtype=image.dtype, device=image.device) + optical_flow[:, 0]
    y = torch.arange(height, dtype=image.dtype, device=image.device)[:, None] + optical_flow[:, 1]
    # grid_sample counts from -1 at the centre of the first pixel to 1 at the centre of the last.
    grid = torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def resize_optical_flow(
    optical_flow: Float32[np.ndarray, "2 h w"], height: int, width: int
) -> Float32[np.ndarray, "2 height width"]:
    """Resize a field to another grid and count its vectors in px of that grid, each axis by its own factor.

    >>> resize_optical_flow(np.ones((2, 4, 4), np.float32), height=8, width=2)[:, 0, 0].tolist()
    [0.5, 2.0]
    """
    old_height, old_width = optical_flow.shape[1:]
    smaller = height < old_height or width < old_width
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized = cv2.resize(optical_flow.transpose(1, 2, 0), (width, height), interpolation=method)
    factors = np.array([width / old_width, height / old_height], np.float32)
    return np.ascontiguousarray((resized * factors).transpose(2, 0, 1))


def to_colour(optical_flow: Float32[np.ndarray, "2 h w"], largest: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Paint a field as RGB: the hue is the direction (red to the right), the saturation the length; white is still.

    Args:
        optical_flow: Displacements, px.
        largest: Length painted at full saturation, px; that of the longest vector if not given.

    >>> to_colour(np.zeros((2, 1, 1), np.float32)).tolist()
    [[[255, 255, 255]]]
    """
    length = np.hypot(optical_flow[0], optical_flow[1])
    scale = max(float(length.max()) if largest is None else largest, 1e-6)
    half_degrees = np.degrees(np.arctan2(optical_flow[1], optical_flow[0])) % 360 / 2
    hsv = np.empty((*length.shape, 3), np.uint8)
    hsv[..., 0] = np.round(half_degrees).astype(np.int64) % 180
    hsv[..., 1] = np.round(np.clip(length / scale, 0, 1) * 255)
    hsv[..., 2] = 255
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
