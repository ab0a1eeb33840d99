"""Features of clips that need no weight files, for Frechet distances beside FVD.

A distance on `random_conv3d` is reported as ``frechet_random_conv3d``, one on `motion_grid` as ``frechet_motion_grid``.
Both tell two sets of clips apart and rank models of one data set. Neither measures realism as people judge it, and
neither is comparable with a published FVD.
"""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int16, UInt8
from torch import Tensor

from ipoke.core.pixels import clip_from_frames


class Layer(NamedTuple):
    """Sizes of a convolution, the last three over (t, h, w)."""

    outputs: int
    inputs: int
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int]


LAYERS = (
    Layer(16, 3, (3, 5, 5), (1, 2, 2), (0, 2, 2)),
    Layer(32, 16, (3, 3, 3), (2, 2, 2), (1, 1, 1)),
    Layer(32, 32, (3, 3, 3), (2, 2, 2), (1, 1, 1)),
)
MOVING = 8
"""Filters of the first layer that sum to zero over time: they respond to change alone."""
SEED = 20211
LEVELS = 4096
"""Weights are multiples of 1 / LEVELS, so that rounding errors in the last bits cannot change them."""
WEIGHTS_SHA256 = "b21119f289db3e5bfd33339f60bb332a9d2434d107bf1acf0d0144ad07842fd6"
"""SHA-256 of all weights, as little-endian 16-bit multiples."""
GRID = 4
"""Cells per side of `motion_grid`."""


def random_conv3d(frames: UInt8[np.ndarray, "b t h w 3"]) -> Float32[np.ndarray, "b 64"]:
    """Embed clips, frame 0 included, by a fixed random 3D convolutional network.

    Three strided convolutions with ReLU, then mean and standard deviation of each of the 32 channels over time and
    space. Filters are orthogonal, and half of the first layer's respond to change alone. Clips need three frames or
    more; compare clips of one size and length alone.

    Raises:
        RuntimeError: This version of NumPy generates other weights than those that define the metric.
    """
    x = clip_from_frames(frames).transpose(1, 2)
    with torch.no_grad():
        for kernel, layer in zip(_weights(), LAYERS, strict=True):
            x = F.conv3d(x, kernel, stride=layer.stride, padding=layer.padding).relu()
        x = x.flatten(2)
        return torch.cat([x.mean(2), x.std(2, unbiased=False)], 1).numpy()


def motion_grid(optical_flow: Float32[np.ndarray, "b 2 2 h w"]) -> Float32[np.ndarray, "b 64"]:
    """Embed clips by their optical flow, averaged over the cells of a 4 x 4 grid, px.

    Args:
        optical_flow: From frame 0 to the middle frame and from frame 0 to the last one, each (x, y).
    """
    pooled = F.adaptive_avg_pool2d(torch.from_numpy(optical_flow).flatten(1, 2), GRID)
    return pooled.flatten(1).numpy()


def random_conv3d_weights() -> list[Int16[np.ndarray, "_ _ _ _ _"]]:
    """Generate the weights of `random_conv3d` from uniform draws of PCG64, in multiples of 1 / 4096."""
    rng = np.random.default_rng(SEED)
    weights = []
    for number, layer in enumerate(LAYERS):
        drawn = rng.random((layer.outputs, layer.inputs, *layer.kernel)) - 0.5
        if number == 0:
            drawn[:MOVING] -= drawn[:MOVING].mean(2, keepdims=True)
        columns, upper = np.linalg.qr(drawn.reshape(layer.outputs, -1).T)
        # QR leaves the signs open; this choice makes it unique in every library.
        orthogonal = (columns * np.sign(np.diag(upper))).T.reshape(drawn.shape)
        rounded = np.round(orthogonal * (2**0.5 * LEVELS)).astype(np.int16)
        if number == 0:
            rounded[:MOVING, :, 1] = -rounded[:MOVING, :, 0] - rounded[:MOVING, :, 2]
        weights.append(rounded)
    return weights


def digest(weights: list[Int16[np.ndarray, "_ _ _ _ _"]]) -> str:
    """Hash weights."""
    return hashlib.sha256(b"".join(layer.astype("<i2").tobytes() for layer in weights)).hexdigest()


@functools.cache
def _weights() -> tuple[Tensor, ...]:
    weights = random_conv3d_weights()
    if (found := digest(weights)) != WEIGHTS_SHA256:
        raise RuntimeError(
            f"random_conv3d: got weights with SHA-256 {found}, expected {WEIGHTS_SHA256}; "
            "the metric is another one with this version of NumPy"
        )
    return tuple(torch.from_numpy(layer.astype(np.float32) / LEVELS) for layer in weights)
