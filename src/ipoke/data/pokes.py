"""Pokes read off optical flow, and the map in which networks see them. Paper: Sec. 3.3.

A pin (a poke of zero length) is drawn as a displacement too small to matter, so that it can be told from no poke.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from ipoke.core.errors import InputError
from ipoke.core.sections import PokeSettings
from ipoke.data.poke import Poke

PIN_PX = 1e-3
"""Displacement that stands for a pin in a poke map, px per axis."""
STILL_PX, MOVING_PX, PIN_REACH_PX = 0.3, 1.0, 6
"""Pins of training lie where less than the first moves, at most the third outside the box of what moves further."""


def sample_pokes(
    optical_flow: Float32[np.ndarray, "2 h w"],
    settings: PokeSettings,
    rng: np.random.Generator,
    foreground: Bool[np.ndarray, "h w"] | None = None,
    *,
    count: int | None = None,
) -> list[Poke] | None:
    """Poke where things move: places drawn with replacement, each with the vector of the field there.

    Args:
        optical_flow: From the source frame to the last, px.
        settings: How many pokes, and the margin to the border.
        rng: Source of all randomness.
        foreground: Where pokes may lie; everywhere if not given. Ignored where it leaves nothing that moves.
        count: How many pokes, or as many as there are places; drawn from 1 to ``max_pokes`` if not given.

    Returns:
        Pokes at pixel centres, or None where nothing moves.
    """
    candidates = _moving(_inner(optical_flow, settings.patch), _inner_mask(foreground, settings.patch))
    if len(candidates) == 0:
        return None
    most = min(settings.max_pokes if count is None else count, len(candidates))
    drawn = int(rng.integers(1, most, endpoint=True)) if count is None else most
    places = candidates[rng.integers(len(candidates), size=drawn)] + settings.patch
    return [_poke_at(place, optical_flow) for place in places]


def sample_pins(
    optical_flow: Float32[np.ndarray, "2 h w"], settings: PokeSettings, rng: np.random.Generator
) -> list[Poke]:
    """Pin none to ``max_pins`` places that stay where they are, near what moves, so that pins are about the object.

    Differs from the original, which has no pins.
    """
    count = int(rng.integers(0, settings.max_pins, endpoint=True))
    length = np.hypot(optical_flow[0], optical_flow[1])
    moving = np.argwhere(length > MOVING_PX)
    if count == 0 or len(moving) == 0:
        return []
    (top, left), (bottom, right) = moving.min(0), moving.max(0)
    near = np.zeros(length.shape, bool)
    near[
        max(top - PIN_REACH_PX, 0) : bottom + PIN_REACH_PX + 1, max(left - PIN_REACH_PX, 0) : right + PIN_REACH_PX + 1
    ] = True
    places = np.argwhere(near & (length < STILL_PX))
    if len(places) == 0:
        return []
    return [
        Poke(x=float(column), y=float(row), dx=0.0, dy=0.0)
        for row, column in places[rng.integers(len(places), size=count)]
    ]


def zero_poke(
    optical_flow: Float32[np.ndarray, "2 h w"],
    settings: PokeSettings,
    rng: np.random.Generator,
    foreground: Bool[np.ndarray, "h w"] | None = None,
) -> Poke | None:
    """Poke the background as one would poke the foreground: the poke that a still clip answers.

    The place is among the slowest twentieth of the field, or outside ``foreground``; the vector is that of a random
    place in motion (above mean + 1 standard deviation). Differs from the original: places as slow as the slowest
    twentieth count too, so that a background that stands perfectly still is found.

    Returns:
        The poke, or None where nothing moves or nothing is background.
    """
    inner = _inner(optical_flow, settings.patch)
    length = np.hypot(inner[0], inner[1])
    moving = np.argwhere(length > length.mean() + length.std())
    mask = _inner_mask(foreground, settings.patch)
    still = np.argwhere(length <= np.percentile(length, 5) if mask is None else ~mask)
    if len(moving) == 0 or len(still) == 0:
        return None
    row, column = still[rng.integers(len(still))] + settings.patch
    vector = inner[:, *moving[rng.integers(len(moving))]]
    return Poke(x=float(column), y=float(row), dx=float(vector[0]), dy=float(vector[1]))


def poke_map(pokes: Sequence[Poke], size: int, patch: int = 5) -> Float32[np.ndarray, "2 size size"]:
    """Draw pokes into the map that networks see: each fills a square with its displacement, px; elsewhere it is 0.

    Squares are centred on the pixel nearest to the poke and clipped at the border; later pokes overwrite earlier ones.
    Pins fill it with `PIN_PX`.

    Raises:
        InputError: A poke lies outside the image.

    >>> drawn = poke_map([Poke(x=3, y=4, dx=2, dy=-1)], size=8)
    >>> drawn[:, 4, 3].tolist(), int(np.count_nonzero(drawn[0]))
    ([2.0, -1.0], 25)
    """
    drawn = np.zeros((2, size, size), np.float32)
    for poke in pokes:
        if not (-0.5 <= poke.x < size - 0.5 and -0.5 <= poke.y < size - 0.5):
            raise InputError(
                f"poke: got ({poke.x:g}, {poke.y:g}), outside the image of {size} x {size} px; move it inside"
            )
        left = int(np.floor(poke.x + 0.5)) - patch // 2
        top = int(np.floor(poke.y + 0.5)) - patch // 2
        square = drawn[:, max(top, 0) : top + patch, max(left, 0) : left + patch]
        square[0], square[1] = (PIN_PX, PIN_PX) if poke.is_pin else (poke.dx, poke.dy)
    return drawn


def foreground_mask(source: UInt8[np.ndarray, "h w 3"], margin: int = 5) -> Bool[np.ndarray, "h w"]:
    """Cut the foreground out of the source frame by GrabCut, starting from its middle three fifths.

    Source: the original's poke sampling for iPER and TaiChi; 5 iterations.
    """
    height, width = source.shape[:2]
    labels = np.zeros((height, width), np.uint8)
    background_model, foreground_model = np.zeros((1, 65)), np.zeros((1, 65))
    middle = (width // 5, margin, 3 * width // 5, height - 2 * margin)
    cv2.setRNGSeed(0)
    cv2.grabCut(source, labels, middle, background_model, foreground_model, 5, cv2.GC_INIT_WITH_RECT)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _inner(optical_flow: Float32[np.ndarray, "2 h w"], margin: int) -> Float32[np.ndarray, "2 rows columns"]:
    """Cut off the margin in which no poke lies."""
    if min(optical_flow.shape[1:]) <= 2 * margin:
        raise InputError(
            f"pokes: got optical flow of {optical_flow.shape[2]} x {optical_flow.shape[1]} px, "
            f"expected more than twice the margin of {margin} px; use larger clips or a smaller patch"
        )
    return optical_flow[:, margin:-margin, margin:-margin]


def _inner_mask(mask: Bool[np.ndarray, "h w"] | None, margin: int) -> Bool[np.ndarray, "rows columns"] | None:
    return None if mask is None else mask[margin:-margin, margin:-margin]


def _moving(
    inner: Float32[np.ndarray, "2 h w"], mask: Bool[np.ndarray, "h w"] | None
) -> Int64[np.ndarray, "candidates 2"]:
    """List (row, column) of what moves clearly: above mean + 2 standard deviations of the normalised length.

    Where nothing does, the bar falls to mean + 1, then to the mean; these two compare the length without the mask, as
    the original does, and so may leave it.
    """
    length = np.hypot(inner[0], inner[1])
    low, high = length.min(), length.max()
    if high <= low:
        return np.empty((0, 2), np.int64)
    length = (length - low) / (high - low)
    masked = length if mask is None else length * mask
    mean, deviation = masked.mean(), masked.std()
    for values, bar in ((masked, mean + 2 * deviation), (length, mean + deviation), (length, mean)):
        candidates = np.argwhere(values > bar)
        if len(candidates):
            break
    return candidates


def _poke_at(place: Int64[np.ndarray, " 2"], optical_flow: Float32[np.ndarray, "2 h w"]) -> Poke:
    row, column = place
    dx, dy = optical_flow[:, row, column]
    return Poke(x=float(column), y=float(row), dx=float(dx), dy=float(dy))
