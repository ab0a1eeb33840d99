"""Still backgrounds: walls, floors, tiles, curtains, meadows and leaves out of focus."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ipoke.scenes.palette import Colour, Mood, colour, colours, mix, vary
from ipoke.scenes.parts import SIDE, Light
from ipoke.scenes.textures import Grid, Picture, smooth_noise, two_tone

PER_UNIT = 3
RESOLUTION = int(SIDE) * PER_UNIT
"""Backgrounds are painted at 3 px per unit."""


@dataclass(frozen=True)
class Background:
    """A still picture behind the figure."""

    picture: Picture
    """In 0..255."""
    floor: float
    """Height at which the wall ends and the floor begins, units from the top."""
    ground: float
    """Height at which the figure stands, units from the top."""
    wall_shadow: float
    """How near the wall is: 1 takes the full shadow, 0 none."""

    def at_size(self, size: int) -> Picture:
        """Resize the picture to a side of ``size`` px."""
        method = cv2.INTER_AREA if size < RESOLUTION else cv2.INTER_CUBIC
        return np.clip(cv2.resize(self.picture, (size, size), interpolation=method), 0, 255)


def draw_background(
    rng: np.random.Generator, mood: Mood, light: Light, ground: float, figure_colour: Colour
) -> Background:
    """Draw a background that sets off a figure of a given mean colour standing at height ``ground``."""
    axis = (np.arange(RESOLUTION, dtype=np.float32) + 0.5) * (SIDE / RESOLUTION)
    x, y = np.meshgrid(axis, axis)
    wall_colour = vary(rng, mood.walls[rng.integers(len(mood.walls))], 0.02)
    if abs(float(wall_colour.mean() - figure_colour.mean())) < 0.17:
        wall_colour = mix(wall_colour, colour("fff8ee"), 0.55)
    floor_colour = vary(rng, mood.floors[rng.integers(len(mood.floors))], 0.02)
    makers: list[Callable[..., Picture]] = [_plain, _plain, _striped, _panelled, _tiled, _bricks, _curtain]
    floor = ground - rng.uniform(2.0, 9.0)
    wall_shadow = 0.0
    if rng.random() < 0.34:
        outdoors: list[Callable[..., Picture]] = [_bokeh, _bokeh, _meadow, _hills]
        picture = outdoors[rng.integers(len(outdoors))](rng, x, y, mood, floor)
    else:
        picture = makers[rng.integers(len(makers))](rng, x, y, wall_colour)
        first = max(0, int(floor * PER_UNIT))
        if rng.random() < 0.5:
            picture[max(0, first - 4) : first] = np.clip(wall_colour * 1.12, 0, 1)
        floors: list[Callable[..., Picture]] = [_planks, _planks, _cloth_floor, _stone]
        below = np.s_[first:]
        picture[below] = floors[rng.integers(len(floors))](rng, x[below], y[below] - floor, floor_colour)
        wall_shadow = float(rng.uniform(0.4, 1.0))
    across, up = x / 32 - 1, y / 32 - 1
    glow = 1 + 0.10 * (across * light.direction[0] + up * light.direction[1])
    glow *= 1 - rng.uniform(0.05, 0.22) * (across**2 + up**2) / 2
    picture = picture * (glow[..., None] * (255 * light.gains))
    return Background(np.clip(picture, 0, 255).astype(np.float32), floor, ground, wall_shadow)


def _plain(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    cloud = smooth_noise(rng)(x / 14, y / 14)
    return base * (0.95 + 0.07 * cloud + 0.04 * (1 - y / SIDE))[..., None]


def _striped(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    period = rng.uniform(4, 9)
    share = 0.5 + 4 * np.sin(x * 2 * np.pi / period)
    return two_tone(base, base * rng.uniform(0.9, 0.95), share)


def _panelled(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    wide = rng.uniform(9, 15)
    seam = np.abs(np.mod(x + rng.uniform(0, wide), wide) - wide / 2)
    groove = np.clip(1 - np.abs(seam - wide / 2) / 0.35, 0, 1)
    lit = np.clip(1 - np.abs(seam - wide / 2 + 0.5) / 0.35, 0, 1)
    return base * (1 - 0.14 * groove + 0.06 * lit + 0.02 * smooth_noise(rng)(x, y / 20))[..., None]


def _tiled(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    side = rng.uniform(6, 10)
    column, row = np.floor(x / side), np.floor(y / side)
    tone = rng.random((16, 16), dtype=np.float32)[row.astype(int) % 16, column.astype(int) % 16]
    joint = np.minimum(np.abs(np.mod(x / side, 1) - 0.5), np.abs(np.mod(y / side, 1) - 0.5))
    edge = np.maximum(np.abs(np.mod(x / side, 1) - 0.5), np.abs(np.mod(y / side, 1) - 0.5))
    line = np.clip((edge - 0.5) * side / 0.3 + 1, 0, 1)
    return base * (0.94 + 0.07 * tone - 0.13 * line + 0.02 * joint)[..., None]


def _bricks(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    high = rng.uniform(3.4, 4.6)
    row = np.floor(y / high)
    shifted = x / (high * 2.3) + 0.5 * np.mod(row, 2)
    tone = rng.random((32, 32), dtype=np.float32)[row.astype(int) % 32, np.floor(shifted).astype(int) % 32]
    down = np.minimum(np.mod(y / high, 1), 1 - np.mod(y / high, 1)) * high
    over = np.minimum(np.mod(shifted, 1), 1 - np.mod(shifted, 1)) * high * 2.3
    line = np.clip(1.4 - np.minimum(down, over) / 0.3, 0, 1)
    rough = smooth_noise(rng)(x * 1.5, y * 1.5)
    return base * (0.9 + 0.10 * tone + 0.05 * rough - 0.12 * line)[..., None]


def _curtain(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    noise = smooth_noise(rng)
    folds = np.sin(x * 2 * np.pi / rng.uniform(6, 10) + 3 * noise(x / 18, y / 60))
    return mix(base, base * base, 0.35) * (0.92 + 0.11 * folds)[..., None]


def _planks(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    # Rows grow towards the eye, which is what makes a floor lie flat.
    row = np.floor(np.sqrt(np.maximum(y, 0)) * 1.3)
    start = np.mod(row * 0.37, 1)
    column = np.floor(x / 24 + start)
    tone = rng.random((16, 8), dtype=np.float32)[row.astype(int) % 16, column.astype(int) % 8]
    grain = smooth_noise(rng)(x / 5 + row * 3, y * 2.2)
    seam = np.clip(1 - np.abs(np.mod(np.sqrt(np.maximum(y, 0)) * 1.3, 1)) / 0.09, 0, 1)
    butt = np.clip(1 - np.abs(np.mod(x / 24 + start, 1)) * 24 / 0.4, 0, 1)
    return base * (0.92 + 0.10 * tone + 0.10 * grain - 0.2 * np.maximum(seam, butt * 0.8))[..., None]


def _cloth_floor(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    return base * (0.97 + 0.06 * smooth_noise(rng)(x * 1.2, y * 2.5) + 0.003 * y)[..., None]


def _stone(rng: np.random.Generator, x: Grid, y: Grid, base: Colour) -> Picture:
    depth = np.sqrt(np.maximum(y, 0) + 0.5)
    lean = (x - 32) / depth / 3.2
    row = np.mod(depth * 1.5, 1)
    line = np.maximum(np.clip(1 - np.abs(np.mod(lean, 1)) * depth * 8, 0, 1), np.clip(1 - row / 0.1, 0, 1))
    return mix(base, np.full(3, base.mean(), np.float32), 0.5) * (1.02 - 0.14 * line)[..., None]


def _bokeh(rng: np.random.Generator, x: Grid, y: Grid, mood: Mood, floor: float) -> Picture:
    """Leaves far out of focus with discs of light."""
    deeps, brights = colours("23402f 1f4a4d 4a4a25 6b3f2a 33415c"), colours("d9e8a3 bfe6d4 f0dd8a f7b267 c7d3f0")
    choice = rng.integers(len(deeps))
    deep = mix(deeps[choice], mood.walls[0], 0.12)
    bright = mix(deep, brights[choice], rng.uniform(0.35, 0.6))
    noise = smooth_noise(rng)
    picture = two_tone(deep, bright, noise(x / 11, y / 11) * 0.9 + 0.25 * (1 - y / SIDE)).astype(np.float32)
    for _ in range(int(rng.integers(14, 34))):
        centre, radius = rng.uniform(0, SIDE, 2), rng.uniform(1.5, 5.5)
        tint = mix(bright, colour("fff3c4"), rng.uniform(0, 0.8))
        strength = rng.uniform(0.06, 0.3)
        # Only the square around the disc is touched.
        left, top = (max(0, int((c - radius - 1) * PER_UNIT)) for c in centre)
        square = np.s_[
            top : int((centre[1] + radius + 1) * PER_UNIT) + 1, left : int((centre[0] + radius + 1) * PER_UNIT) + 1
        ]
        far = np.hypot(x[square] - centre[0], y[square] - centre[1])
        disc = np.clip((radius - far) / 1.2 + 0.5, 0, 1) * strength
        picture[square] += disc[..., None] * (tint - picture[square])
    soil = np.clip((y - floor) / 5, 0, 1)[..., None]
    ground = mix(deep, colour("6b5236"), 0.6) * (0.9 + 0.25 * noise(x * 0.6, y * 1.2))[..., None]
    return picture * (1 - soil) + ground * soil


def _meadow(rng: np.random.Generator, x: Grid, y: Grid, mood: Mood, floor: float) -> Picture:
    """Sky with clouds above grass."""
    top, low = colour("7fb7de"), colour("e3f1f5")
    if rng.random() < 0.35:
        top, low = colour("6f7fb5"), colour("f9d6b3")
    picture = two_tone(top, low, y / floor)
    noise = smooth_noise(rng)
    cloud = np.clip((noise(x / 12, y / 5) * 0.7 + noise(x / 5, y / 2.5) * 0.3 - 0.5) * 3, 0, 1)
    picture = picture + (cloud * np.clip(1 - y / floor, 0, 1))[..., None] * (colour("ffffff") - picture) * 0.8
    blades = noise(x * 1.6, y * 0.5) * 0.6 + noise(x * 0.3, y * 0.3) * 0.4
    grass = two_tone(colour("4f8a3a"), colour("9dc35a"), blades + 0.02 * (y - floor))
    share = np.clip((y - floor) * 1.5 + 2 * noise(x * 2, y * 0) - 0.5, 0, 1)[..., None]
    return picture * (1 - share) + grass * share


def _hills(rng: np.random.Generator, x: Grid, y: Grid, mood: Mood, floor: float) -> Picture:
    """Layers of soft hills, paler with distance."""
    sky = mix(mood.walls[0], colour("ffffff"), 0.25)
    picture = two_tone(mix(sky, mood.walls[-1], 0.5), sky, y / floor)
    near = mix(mood.floors[0], colour("5d7f4e"), 0.65)
    noise = smooth_noise(rng)
    for layer in range(4):
        share = (layer + 1) / 4
        edge = floor - 17 * (1 - share) - 7 * noise(x / 13 + layer * 5.3, x * 0 + layer * 3.1) * (1 - 0.7 * share)
        tint = mix(sky, near, 0.25 + 0.75 * share)
        cover = np.clip((y - edge) * 2 + 0.5, 0, 1)[..., None]
        picture = picture + cover * (tint * (1 - 0.004 * (y - edge))[..., None] - picture)
    grain = noise(x * 1.3, y * 2)
    return picture * np.where(y > floor, 0.95 + 0.1 * grain, 1)[..., None]
