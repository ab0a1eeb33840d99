"""What grows on a stem: leaves of many shapes, blossoms, ears and berries, as painted cut-outs."""

from typing import Literal

import numpy as np

from ipoke.scenes.palette import Colour, mix, vary
from ipoke.scenes.parts import Cutout, Light, Outline, Sprite, capsule, cut_out, disc, ellipse, mirrored, over, paint
from ipoke.scenes.textures import Picture, mottled, plain, smooth_noise, stripes

LeafShape = Literal["lance", "oval", "heart", "round", "blade", "maple", "fern", "palm", "split"]


def leaf_outline(shape: LeafShape, length: float, width: float) -> Outline:
    """Outline a leaf along x from its stalk at the origin."""
    t = np.linspace(0, 1, 40)
    match shape:
        case "lance":
            return mirrored(t * length, width / 2 * np.sin(np.pi * t**0.8) ** 1.1)
        case "oval":
            return mirrored(t * length, width / 2 * np.sin(np.pi * t**0.9) ** 0.65)
        case "blade":
            return mirrored(t * length, width / 2 * (1 - t**2.2) * np.minimum(1, 0.55 + t * 3))
        case "palm":
            return mirrored(t * length, width / 2 * np.sin(np.pi * t**0.7) ** 0.9 * (0.62 + 0.38 * np.cos(t * 44)))
        case "heart":
            angles = np.linspace(-np.pi, np.pi, 60)
            radius = 0.5 * (1 - 0.55 * np.abs(angles / np.pi) ** 6 + 0.22 * np.exp(-((angles / 0.5) ** 2)))
            return np.stack([length * (0.42 + radius * np.cos(angles) * 0.98), width * radius * np.sin(angles)], 1)
        case "round":
            return ellipse((length / 2, 0), (length / 2, width / 2))
        case "maple":
            angles = np.linspace(-2.6, 2.6, 90)
            lobes = 0.62 + 0.38 * np.abs(np.cos(angles * 2.5 * 0.6)) ** 1.4 - 0.05 * np.cos(angles * 21)
            return np.stack([length * (0.3 + 0.68 * lobes * np.cos(angles)), width * 0.62 * lobes * np.sin(angles)], 1)
        case "split":
            notches = 1 - 0.5 * np.clip(np.cos(t * 30) * 2.2 - 1.0, 0, 1) * (t > 0.12) * (t < 0.9)
            return mirrored(t * length, width / 2 * np.sin(np.pi * np.clip(t, 0.02, 1) ** 0.62) ** 0.6 * notches)
        case "fern":
            teeth = 0.45 + 0.55 * np.abs(np.sin(np.linspace(0, 1, 90) * 8 * np.pi)) ** 0.7
            s = np.linspace(0, 1, 90)
            return mirrored(s * length, width / 2 * (1 - 0.25 * s) * teeth + 0.12)


def leaf(
    rng: np.random.Generator,
    shape: LeafShape,
    length: float,
    width: float,
    greens: list[Colour],
    light: Light,
    angle: float,
    variegated: bool = False,
) -> Sprite:
    """Paint a leaf: veins, two halves that catch the light differently, sometimes a pale margin."""
    base = vary(rng, greens[0], 0.035)
    cutout = cut_out(leaf_outline(shape, length, width))
    # The half that faces the lamp is lighter, as if the leaf were folded along its midrib.
    across = -np.sin(angle) * light.direction[0] + np.cos(angle) * light.direction[1]
    pale = mix(greens[1], np.array([0.97, 0.96, 0.82], np.float32), 0.6)

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        rgb = rgb * (1 + 0.2 * across * np.tanh(cutout.y * 2.5))[..., None]
        if variegated:
            rgb = over(rgb, pale, np.clip(np.abs(cutout.y) / (width / 2) * 2.4 - 1.35, 0, 1) * 0.8)
        rib = np.array([[0, 0], [length * 0.92, 0]])
        rgb = over(rgb, greens[1], 0.75 * cutout.stroke([rib], 0.3))
        if shape in ("lance", "oval", "heart", "round", "split") and width > 3:
            starts = np.linspace(0.12, 0.75, 5) * length
            veins = [
                np.array([[s, 0], [s + 0.2 * length, sign * width * 0.42]]) for s in starts for sign in (-1.0, 1.0)
            ]
            rgb = over(rgb, greens[1], 0.4 * cutout.stroke(veins, 0.17))
        return rgb

    texture = mottled(rng, base, mix(base, greens[2], 0.5), 2.4)
    return paint(cutout, texture, light, angle, 0.35, details)


def stalk(length: float, start: float, end: float, base: Colour, light: Light, angle: float) -> Sprite:
    """Paint a piece of stem, round at both ends so that it joins its neighbours."""
    return paint(cut_out(capsule(length, start, end)), plain(base), light, angle, 0.9)


def banded(
    rng: np.random.Generator, length: float, start: float, end: float, tones: list[Colour], light: Light, angle: float
) -> Sprite:
    """Paint a piece of a sword leaf: pale margins and wavy bands across."""
    noise = smooth_noise(rng)
    pale = mix(tones[1], np.array([0.95, 0.93, 0.7], np.float32), 0.55)
    half = (start + end) / 4

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        wave = np.clip(np.sin(cutout.x * 2.6 + 3 * noise(cutout.x, cutout.y)) * 1.5, 0, 1)
        rgb = over(rgb, tones[2], 0.55 * wave.astype(np.float32))
        edge = np.clip((np.abs(cutout.y) / half - 0.62) * 5, 0, 1)
        return over(rgb, pale, 0.8 * edge)

    return paint(cut_out(capsule(length, start, end)), plain(tones[0]), light, angle, 0.5, details)


def bark(
    rng: np.random.Generator, length: float, start: float, end: float, base: Colour, light: Light, angle: float
) -> Sprite:
    """Paint a piece of trunk."""
    texture = mottled(rng, base * 1.12, base * 0.72, 1.1, 3.0)
    return paint(cut_out(capsule(length, start, end)), texture, light, angle, 0.9)


def cactus_joint(
    rng: np.random.Generator, length: float, width: float, greens: list[Colour], light: Light, angle: float
) -> Sprite:
    """Paint a ribbed piece of cactus with rows of pale spines."""
    texture = stripes(greens[0], mix(greens[0], greens[2], 0.75), width / 3.4, np.pi / 2)

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        spines = [
            np.array([[x, y], [x + 0.5, y + 0.25]])
            for x in np.arange(-width / 3, length + width / 3, 1.7)
            for y in np.arange(-width / 2.5, width / 2.5, width / 3.4)
        ]
        return over(rgb, np.array([0.98, 0.95, 0.82], np.float32), 0.8 * cutout.stroke(spines, 0.17))

    return paint(cut_out(capsule(length, width, width * 0.96)), texture, light, angle, 0.8, details)


def _petals(count: int, inner: float, outer: float, width: float, turn: float) -> list[Outline]:
    outlines = []
    for angle in turn + np.arange(count) * 2 * np.pi / count:
        middle, half = (inner + outer) / 2, (outer - inner) / 2
        outlines.append(ellipse((middle * np.cos(angle), middle * np.sin(angle)), (half, width), angle))
    return outlines


def daisy(rng: np.random.Generator, radius: float, petal: list[Colour], light: Light, angle: float) -> Sprite:
    """Paint an open flower with a ring or two of petals around a seeded heart."""
    count = int(rng.integers(6, 14))
    width = radius * np.clip(2.4 / count, 0.16, 0.36)
    turn = rng.uniform(0, 1)
    front = _petals(count, radius * 0.2, radius, width, turn)
    rear = _petals(count, radius * 0.2, radius * 0.93, width, turn + np.pi / count)
    heart_radius = radius * rng.uniform(0.28, 0.45)
    centre = (radius * 0.55, 0.0)
    outlines = [outline + centre for outline in (*rear, *front)]

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        for index, outline in enumerate(outlines):
            edge = cutout.fill(outline)
            tint = mix(petal[0], petal[1], 0.75 if index < count else 0.15 * (index % 2))
            rgb = over(rgb, petal[1] * 0.86, edge)
            rgb = over(rgb, tint, cutout.fill((outline - outline.mean(0)) * 0.84 + outline.mean(0)))
        rgb = over(rgb, petal[2] * 0.8, cutout.fill(ellipse(centre, (heart_radius, heart_radius))))
        rgb = over(rgb, petal[2], cutout.fill(disc(centre, heart_radius * 0.82)))
        seeds = [
            ellipse((centre[0] + r * np.cos(2.4 * k), r * np.sin(2.4 * k)), (0.16, 0.16))
            for k in range(1, 26)
            if (r := heart_radius * 0.85 * np.sqrt(k / 26)) > 0
        ]
        for seed in seeds:
            rgb = over(rgb, petal[2] * 0.62, cutout.fill(seed))
        return rgb

    return paint(cut_out(*outlines), plain(petal[0]), light, angle, 0.3, details)


def tulip(rng: np.random.Generator, size: float, petal: list[Colour], light: Light, angle: float) -> Sprite:
    """Paint a closed cup of three petals along x."""
    t = np.linspace(0, 1, 30)
    side = size * rng.uniform(0.34, 0.42)
    cup = mirrored(t * size * 0.8, side * np.sin(np.pi * (0.12 + 0.76 * t)) ** 0.6)
    tips = [
        mirrored(t * size, side * 0.55 * np.sin(np.pi * t**0.8) ** 0.8) + np.array([0, offset])
        for offset in (-side * 0.5, side * 0.5, 0)
    ]

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        for tip, share in zip(tips, (0.8, 0.7, 0.0), strict=True):
            rgb = over(rgb, petal[1] * 0.85, cutout.fill(tip))
            middle = tip.mean(0)
            rgb = over(rgb, mix(petal[0], petal[1], share), cutout.fill((tip - middle) * 0.88 + middle))
        return rgb

    return paint(cut_out(cup, *tips), plain(petal[1]), light, angle, 0.6, details)


def ear(
    rng: np.random.Generator, length: float, width: float, tone: list[Colour], light: Light, angle: float
) -> Sprite:
    """Paint a spike of small grains or florets, as of wheat or lavender."""
    rows = np.linspace(0, 1, max(5, int(length / 1.1)))
    grains = []
    for t in rows:
        half = width / 2 * (1 - 0.55 * t)
        grains += [ellipse((t * length, sign * half * 0.55), (0.85, half * 0.5), sign * 0.5) for sign in (-1.0, 1.0)]
        grains.append(ellipse((t * length + 0.5, 0), (0.8, half * 0.45)))
    shades = tone[0], mix(tone[0], tone[1], 0.8)

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        for index, grain in enumerate(grains):
            rgb = over(rgb, shades[index % 2], cutout.fill(grain))
        return rgb

    return paint(cut_out(*grains), plain(tone[1]), light, angle, 0.5, details)


def berry(radius: float, tone: Colour, light: Light, angle: float) -> Sprite:
    """Paint a shiny fruit."""
    across = light.direction[0] * np.cos(angle) + light.direction[1] * np.sin(angle)
    down = -light.direction[0] * np.sin(angle) + light.direction[1] * np.cos(angle)
    spot = (radius * (1 + 0.45 * across), radius * 0.45 * down)

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        return over(rgb, np.ones(3, np.float32), 0.75 * cutout.fill(disc(spot, radius * 0.22)))

    return paint(cut_out(ellipse((radius, 0), (radius, radius))), plain(tone), light, angle, 0.9, details)
