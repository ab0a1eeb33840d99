"""Cloth, fur, bark and noise as functions of a place on a part, so that a texture is fixed to the part it covers."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float

from ipoke.scenes.palette import Colour, mix

Grid = Float[np.ndarray, "h w"]
Picture = Float[np.ndarray, "h w 3"]
Texture = Callable[[Grid, Grid], Picture]
"""Gives sRGB in [0, 1] at places (x, y) in scene units."""

LATTICE = 32


def smooth_noise(rng: np.random.Generator) -> Callable[[Grid, Grid], Grid]:
    """Draw a smooth random field with values in [0, 1] and features about one unit wide; it repeats every 32 units."""
    lattice = rng.random((LATTICE, LATTICE), dtype=np.float32)
    lattice = cv2.copyMakeBorder(lattice, 0, 1, 0, 1, cv2.BORDER_WRAP)

    def sample(x: Grid, y: Grid) -> Grid:
        return cv2.remap(
            lattice, np.mod(x, LATTICE).astype(np.float32), np.mod(y, LATTICE).astype(np.float32), cv2.INTER_LINEAR
        )

    return sample


def two_tone(first: Colour, second: Colour, share: Grid) -> Picture:
    """Blend two colours by a field of shares of the second."""
    return first + np.clip(share, 0, 1)[..., None] * (second - first)


def plain(base: Colour) -> Texture:
    """One colour."""
    return lambda x, y: np.broadcast_to(base, (*x.shape, 3)).astype(np.float32)


def stripes(first: Colour, second: Colour, period: float, angle: float) -> Texture:
    """Soft-edged stripes; ``period`` in units."""
    cos, sin = np.cos(angle), np.sin(angle)
    return lambda x, y: two_tone(
        first, second, 0.5 + 2.5 * np.sin((x * cos + y * sin) * (2 * np.pi / period)).astype(np.float32)
    )


def checks(first: Colour, second: Colour, period: float) -> Texture:
    """Tartan of two crossing bands, darker where they cross."""

    def paint(x: Grid, y: Grid) -> Picture:
        across = np.clip(0.5 + 2.5 * np.sin(x * (2 * np.pi / period)), 0, 1)
        along = np.clip(0.5 + 2.5 * np.sin(y * (2 * np.pi / period) + 0.7), 0, 1)
        return two_tone(first, second, (across + along) / 2)

    return paint


def dots(first: Colour, second: Colour, period: float) -> Texture:
    """Dots of the second colour in a staggered grid."""

    def paint(x: Grid, y: Grid) -> Picture:
        row = np.floor(y / (period * 0.8))
        u = np.mod(x / period + 0.5 * np.mod(row, 2), 1) - 0.5
        v = np.mod(y / (period * 0.8), 1) - 0.5
        return two_tone(first, second, (0.3 - np.hypot(u, v * 0.8)) * 8 + 0.5)

    return paint


def knit(first: Colour, second: Colour, period: float) -> Texture:
    """Rows of V-shaped stitches with a band of the second colour every few rows."""

    def paint(x: Grid, y: Grid) -> Picture:
        zigzag = np.abs(np.mod(y / period, 1) - 0.5)
        stitch = np.sin((x / period + zigzag) * 2 * np.pi)
        band = np.mod(x, period * 6) < period * 2
        return np.where(band[..., None], second, first) * (1 + 0.13 * stitch[..., None])

    return paint


def denim(rng: np.random.Generator, base: Colour) -> Texture:
    """Diagonal twill, faded in patches."""
    noise = smooth_noise(rng)

    def paint(x: Grid, y: Grid) -> Picture:
        twill = np.sin((x + y) * 2 * np.pi / 0.9)
        fade = noise(x * 0.5, y * 0.5)
        return base * (0.9 + 0.07 * twill + 0.25 * fade)[..., None]

    return paint


def mottled(rng: np.random.Generator, first: Colour, second: Colour, grain: float, stretch: float = 1.0) -> Texture:
    """Two colours mixed by noise; ``grain`` is its size in units, ``stretch`` draws it out along the part."""
    noise = smooth_noise(rng)

    def paint(x: Grid, y: Grid) -> Picture:
        coarse = noise(x / (grain * stretch), y / grain)
        fine = noise(x / (0.4 * grain * stretch) + 7, y / (0.4 * grain) + 3)
        return two_tone(first, second, 0.65 * coarse + 0.35 * fine)

    return paint


def draw_cloth(rng: np.random.Generator, first: Colour, second: Colour) -> Texture:
    """Draw a kind of cloth in two colours."""
    period = rng.uniform(2.6, 4.4)
    match rng.integers(7):
        case 0:
            return stripes(first, second, period, rng.choice([0.0, np.pi / 2]))
        case 1:
            return stripes(first, mix(first, second, 0.7), period, np.pi / 4)
        case 2:
            return checks(first, second, period)
        case 3:
            return dots(first, second, period)
        case 4:
            return knit(first, second, rng.uniform(1.4, 2.0))
        case 5:
            return denim(rng, mix(first, np.array([0.24, 0.36, 0.55], np.float32), 0.6))
        case _:
            return mottled(rng, first, mix(first, second, 0.35), 1.6)
