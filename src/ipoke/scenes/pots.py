"""Pots, bowls, vases and mounds of earth in which plants stand."""

from typing import Literal

import numpy as np

from ipoke.scenes.palette import EARTH, Mood, mix, vary
from ipoke.scenes.parts import Cutout, Figure, Light, Part, Point, cut_out, ellipse, mirrored, over, paint
from ipoke.scenes.textures import Picture, draw_cloth, mottled, plain

PotShape = Literal["tapered", "bowl", "cylinder", "vase", "box", "mound"]


def add_pot(
    rng: np.random.Generator, figure: Figure, mood: Mood, light: Light, ground: float, middle: float
) -> tuple[int, Point, float]:
    """Stand a pot at ``(middle, ground)``; give its index, the middle of its earth and half the width of the earth."""
    shapes: tuple[PotShape, ...] = ("tapered", "tapered", "bowl", "cylinder", "vase", "box", "mound")
    shape = shapes[rng.integers(len(shapes))]
    high, wide = {
        "tapered": (rng.uniform(10, 13), rng.uniform(12, 16)),
        "bowl": (rng.uniform(7.5, 10), rng.uniform(16, 22)),
        "cylinder": (rng.uniform(9, 13), rng.uniform(11, 15)),
        "vase": (rng.uniform(11, 14), rng.uniform(8, 10)),
        "box": (rng.uniform(8, 10), rng.uniform(18, 26)),
        "mound": (rng.uniform(3, 5), rng.uniform(22, 32)),
    }[shape]
    t = np.linspace(0, 1, 24)
    half = {
        "tapered": wide / 2 * (1 - 0.3 * t),
        "bowl": wide / 2 * np.sqrt(np.maximum(1 - (0.9 * t) ** 2.4, 0)),
        "cylinder": wide / 2 * (1 - 0.04 * t),
        "vase": wide / 2 * (1 + 0.42 * np.sin(np.pi * (0.15 + 0.85 * t)) - 0.1 * t),
        "box": wide / 2 * (1 - 0.06 * t),
        "mound": wide / 2 * np.sqrt(0.05 + 0.95 * t),
    }[shape]
    # The part points down: x is the way to the floor, y to the left.
    body = mirrored(t * high, half)
    mouth = ellipse((0, 0), (wide * 0.09, wide / 2))
    foot = ellipse((high, 0), (half[-1] * 0.14, half[-1]))
    if shape == "mound":
        earth = EARTH[rng.integers(len(EARTH))]
        sprite = paint(cut_out(body), mottled(rng, earth * 1.25, earth * 0.8, 1.5), light, np.pi / 2, 0.3)
        figure.add(Part("pot", None, (middle, ground - high), np.pi / 2, high, 50.0, sprite, 0.0))
        return 0, (middle, ground - high * 0.75), wide * 0.2
    glaze = vary(rng, mood.pots[rng.integers(len(mood.pots))], 0.03)
    other = mood.pots[rng.integers(len(mood.pots))]
    texture = draw_cloth(rng, glaze, mix(glaze, other, 0.6)) if rng.random() < 0.3 else plain(glaze)
    rim = rng.random() < 0.7 and shape != "vase"
    band = mirrored(np.array([0, 2.0]), np.full(2, wide / 2 * 1.07))
    earth = vary(rng, EARTH[rng.integers(len(EARTH))], 0.02)
    round_side = np.sin(np.pi / 4) * light.direction[0]

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        side = np.clip(cutout.y / (wide / 2), -1, 1)
        curve = 1 - 0.22 * side**2 - 0.24 * side * round_side
        if shape != "box":
            rgb = rgb * curve[..., None]
        if rim:
            rgb = over(rgb, glaze * 0.72, cutout.fill(band + np.array([0.7, 0])) * (cutout.x > 0))
            rgb = over(rgb, mix(glaze, np.ones(3, np.float32), 0.12), cutout.fill(band))
        lip = ellipse((0, 0), (wide * 0.09, wide / 2 * (1.07 if rim else 1)))
        rgb = over(rgb, mix(glaze, np.ones(3, np.float32), 0.25), cutout.fill(lip))
        inner = cutout.fill(lip * 0.86)
        soil = crumbs(cutout.x, cutout.y)
        return rgb + inner[..., None] * (soil - rgb)

    crumbs = mottled(rng, earth * 1.2, earth * 0.7, 0.9)
    outlines = [body, mouth, foot] + ([band, mouth * (1, 1.07)] if rim else [])
    sprite = paint(cut_out(*outlines), texture, light, np.pi / 2, 0.15, details)
    figure.add(Part("pot", None, (middle, ground - high), np.pi / 2, high, 50.0, sprite, 0.0))
    return 0, (middle, ground - high), wide * 0.3
