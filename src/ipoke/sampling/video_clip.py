"""The first clip of a user's video, and its strongest motion as a poke."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.core.recipe import Recipe
from ipoke.data.optical_flow import estimator
from ipoke.data.poke import Poke
from ipoke.data.video import read_frames


def first_clip(path: Path, recipe: Recipe, stride: int = 1) -> UInt8[np.ndarray, "t s s 3"]:
    """Read a video's first clip, its middle square, at the recipe's size.

    Raises:
        InputError: The video cannot be read or is too short.
    """
    if stride < 1:
        raise InputError(f"--stride: got {stride}, expected at least 1")
    wanted = recipe.clip.frames + 1
    frames = beginning(read_frames(path), recipe.clip.size, wanted, stride)
    if len(frames) < wanted:
        raise InputError(
            f"{path}: too short, got {len(frames)} frames at stride {stride}, expected {wanted}; use a smaller --stride"
        )
    return frames


def beginning(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], size: int, count: int, stride: int = 1
) -> UInt8[np.ndarray, "t s s 3"]:
    """Take the first ``count`` of every ``stride``-th frame, or as many as there are, their middle square resized."""
    taken = [_square(frame, size) for frame in itertools.islice(frames, 0, count * stride, stride)]
    return np.stack(taken) if taken else np.zeros((0, size, size, 3), np.uint8)


def strongest_poke(clip: UInt8[np.ndarray, "t s s 3"], recipe: Recipe) -> list[Poke]:
    """Read the largest displacement from the first to the last frame as a poke; none where nothing moves."""
    optical_flow = estimator("dis")(clip[0], clip[-1])
    margin = recipe.pokes.patch
    length = np.hypot(*optical_flow)
    inner = length[margin:-margin, margin:-margin]
    if inner.max() < 0.5:
        return []
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    y, x = int(row) + margin, int(column) + margin
    dx, dy = optical_flow[:, y, x]
    return [Poke(float(x), float(y), float(dx), float(dy))]


def _square(frame: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = frame[top : top + side, left : left + side]
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
