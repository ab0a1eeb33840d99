"""What puppets look like: skins and furs, cloth, hair, hats and faces."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ipoke.scenes.palette import FUR, HAIR, SKIN, Colour, Mood, colour, mix, vary
from ipoke.scenes.parts import Cutout, Light, Outline, Sprite, cut_out, disc, ellipse, mirrored, over, paint
from ipoke.scenes.textures import Picture, Texture, draw_cloth, mottled, plain

Character = Literal["person", "bear", "rabbit", "cat", "robot"]
HairStyle = Literal["short", "bob", "long", "bun", "curly", "bald"]
Hat = Literal["none", "beanie", "cap", "top hat", "cone"]


@dataclass(frozen=True)
class Look:
    """The looks of one puppet."""

    character: Character
    skin: Colour
    hair: Colour
    hair_style: HairStyle
    hat: Hat
    hat_colour: Colour
    body: Texture
    """Head, hands and, on animals, all that no cloth covers."""
    shirt: Texture
    sleeve: Texture
    legs: Texture
    shoe: Colour
    skirt: bool
    long_sleeves: bool
    long_legs: bool


def draw_look(rng: np.random.Generator, mood: Mood) -> Look:
    """Draw a character and dress it in two or three colours of the mood."""
    characters: tuple[Character, ...] = ("person", "person", "person", "bear", "rabbit", "cat", "robot")
    character = characters[rng.integers(len(characters))]
    tones = [vary(rng, mood.cloth[index], 0.02) for index in rng.permutation(len(mood.cloth))]
    match character:
        case "person":
            skin = SKIN[rng.integers(len(SKIN))]
            body = plain(skin)
        case "robot":
            skin = mix(tones[3], colour("b9c2c9"), 0.6)
            body = plain(skin)
        case _:
            skin = FUR[rng.integers(len(FUR))]
            body = mottled(rng, skin * 1.06, skin * 0.86, 0.9, 2.0)
    shirt = draw_cloth(rng, tones[0], tones[1])
    legs = draw_cloth(rng, tones[2], mix(tones[2], tones[3], 0.5)) if rng.random() < 0.5 else plain(tones[2])
    styles: tuple[HairStyle, ...] = ("short", "short", "bob", "long", "bun", "curly", "bald")
    hats: tuple[Hat, ...] = ("none", "none", "none", "beanie", "cap", "top hat", "cone")
    # Hair that is as light as the skin would make the head one blob.
    hairs = [tone for tone in HAIR if abs(float(tone.mean() - skin.mean())) > 0.16]
    return Look(
        character=character,
        skin=skin,
        hair=hairs[rng.integers(len(hairs))],
        hair_style=styles[rng.integers(len(styles))],
        hat=hats[rng.integers(len(hats))],
        hat_colour=tones[1],
        body=body,
        shirt=shirt,
        sleeve=shirt if rng.random() < 0.75 else plain(tones[1]),
        legs=legs,
        shoe=mix(tones[4], colour("2a2526"), 0.5),
        skirt=bool(character != "robot" and rng.random() < 0.3),
        long_sleeves=bool(rng.random() < 0.65),
        long_legs=bool(rng.random() < 0.7),
    )


def head(rng: np.random.Generator, look: Look, radius: float, facing: float, light: Light, angle: float) -> Sprite:
    """Paint a head along x (up) with its face turned towards ``facing`` (-1 left, 1 right)."""
    wide = radius * (0.92 if look.character == "person" else 1.08)
    middle = (radius * 0.95, 0.0)
    skull = ellipse(middle, (radius, wide))
    if look.character == "robot":
        skull = _rounded(middle, (radius * 0.9, radius))
    ears = _ears(look, middle, radius, wide)
    hair = _hair(look, middle, radius, wide)
    hat = _hat(look, middle, radius, wide)

    def details(rgb: Picture, cutout: Cutout) -> Picture:
        for outline in ears:
            rgb = over(rgb, look.skin * 0.9, cutout.fill(outline))
            centre = outline.mean(0)
            inner = mix(look.skin, colour("f3b8b0"), 0.6)
            rgb = over(rgb, inner, cutout.fill((outline - centre) * 0.55 + centre))
        for outline in hair[0]:
            rgb = over(rgb, look.hair * 0.8, cutout.fill(outline))
        cover = cutout.fill(skull)[..., None]
        rgb = rgb + cover * (look.body(cutout.x, cutout.y) - rgb)
        rgb = _face(rng, rgb, cutout, look, middle, radius, facing)
        for outline in hair[1]:
            rgb = over(rgb, look.hair, cutout.fill(outline))
        for index, outline in enumerate(hat):
            rgb = over(rgb, look.hat_colour * (1 if index == 0 else 0.72), cutout.fill(outline))
        return rgb

    shapes = [skull, *ears, *hair[0], *hair[1], *hat]
    return paint(cut_out(*shapes), look.body, light, angle, 0.75, details)


def _face(
    rng: np.random.Generator,
    rgb: Picture,
    cutout: Cutout,
    look: Look,
    middle: tuple[float, float],
    radius: float,
    facing: float,
) -> Picture:
    ink, white = colour("2a2023"), colour("fffdf8")
    turn = 0.16 * radius * facing
    eye = radius * rng.uniform(0.13, 0.18)
    apart = radius * rng.uniform(0.34, 0.44)
    level = middle[0] + 0.08 * radius
    if look.character in ("bear", "cat", "rabbit"):
        muzzle = ellipse((middle[0] - 0.4 * radius, turn), (0.36 * radius, 0.5 * radius))
        rgb = over(rgb, mix(look.skin, white, 0.55), cutout.fill(muzzle))
        nose = ellipse((middle[0] - 0.2 * radius, turn * 1.2), (0.13 * radius, 0.2 * radius))
        rgb = over(rgb, ink, cutout.fill(nose))
    elif look.character == "person":
        for sign in (-1, 1):
            blush = ellipse((level - 0.42 * radius, turn + sign * apart * 1.35), (0.16 * radius, 0.22 * radius))
            rgb = over(rgb, mix(look.skin, colour("e8636b"), 0.4), 0.7 * cutout.fill(blush))
        nose = ellipse((level - 0.25 * radius, turn * 1.6), (0.1 * radius, 0.13 * radius))
        rgb = over(rgb, look.skin * 0.84, cutout.fill(nose))
    for sign in (-1, 1):
        place = (level, turn + sign * apart)
        if look.character == "robot":
            rgb = over(rgb, ink, cutout.fill(ellipse(place, (eye * 1.9, eye * 1.9))))
            rgb = over(rgb, colour("8ff0e4"), cutout.fill(ellipse(place, (eye * 1.1, eye * 1.1))))
            continue
        rgb = over(rgb, white, cutout.fill(ellipse(place, (eye * 1.5, eye * 1.3))))
        rgb = over(rgb, ink, cutout.fill(ellipse((level, place[1] + 0.25 * eye * facing), (eye * 1.1, eye * 0.95))))
        rgb = over(rgb, white, cutout.fill(ellipse((level + 0.4 * eye, place[1]), (eye * 0.35, eye * 0.35))))
    bend = np.linspace(-1, 1, 9)
    smile = np.stack([middle[0] - (0.62 - 0.13 * bend**2) * radius, turn + 0.3 * radius * bend], 1)
    return over(rgb, mix(colour("8f2f36"), ink, 0.3), cutout.stroke([smile], 0.35))


def _rounded(middle: tuple[float, float], half: tuple[float, float]) -> Outline:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack(
        [
            middle[0] + half[0] * np.sign(cos) * np.abs(cos) ** 0.4,
            middle[1] + half[1] * np.sign(sin) * np.abs(sin) ** 0.4,
        ],
        1,
    )


def _ears(look: Look, middle: tuple[float, float], radius: float, wide: float) -> list[Outline]:
    x, _ = middle
    match look.character:
        case "person":
            return [ellipse((x - 0.1 * radius, sign * wide), (0.24 * radius, 0.18 * radius)) for sign in (-1, 1)]
        case "bear":
            return [disc((x + 0.72 * radius, sign * 0.78 * wide), 0.4 * radius) for sign in (-1, 1)]
        case "rabbit":
            return [
                ellipse((x + 1.5 * radius, sign * 0.5 * wide), (0.85 * radius, 0.3 * radius), sign * 0.18)
                for sign in (-1, 1)
            ]
        case "cat":
            return [
                np.array([[x + 0.5 * radius, sign * wide], [x + 1.5 * radius, sign * 0.85 * wide],
                          [x + 0.8 * radius, sign * 0.15 * wide]])
                for sign in (-1, 1)
            ]  # fmt: skip
        case "robot":
            stem = mirrored(np.array([x + 0.8 * radius, x + 1.5 * radius]), np.full(2, 0.09 * radius))
            return [stem, disc((x + 1.55 * radius, 0), 0.22 * radius)]


def _hair(look: Look, middle: tuple[float, float], radius: float, wide: float) -> tuple[list[Outline], list[Outline]]:
    """Outline what lies behind the face and what lies over the forehead."""
    if look.character != "person" or look.hair_style == "bald":
        return [], []
    x, _ = middle
    arc = np.linspace(-1, 1, 24)
    fringe = np.stack([x + (0.42 + 0.12 * np.cos(arc * 7)) * radius, wide * 1.0 * arc], 1)
    crown_angles = np.linspace(np.pi / 2, -np.pi / 2, 24)
    crown = np.stack([x + 1.14 * radius * np.cos(crown_angles), 1.08 * wide * np.sin(crown_angles)], 1)
    cap = np.concatenate([crown, fringe])
    match look.hair_style:
        case "bob":
            return [_rounded((x - 0.1 * radius, 0), (1.05 * radius, 1.25 * wide))], [cap]
        case "long":
            return [_rounded((x - 0.35 * radius, 0), (1.3 * radius, 1.16 * wide))], [cap]
        case "bun":
            return [ellipse((x + 1.3 * radius, 0), (0.45 * radius, 0.5 * radius))], [cap]
        case "curly":
            curls = [
                disc((x + 1.02 * radius * np.cos(a), 1.1 * wide * np.sin(a)), 0.42 * radius)
                for a in np.linspace(-1.9, 1.9, 10)
            ]
            return curls, [cap]
        case _:
            return [], [cap]


def _hat(look: Look, middle: tuple[float, float], radius: float, wide: float) -> list[Outline]:
    x, _ = middle
    angles = np.linspace(np.pi / 2, -np.pi / 2, 24)
    dome = np.stack([x + 0.42 * radius + 0.9 * radius * np.cos(angles), 1.12 * wide * np.sin(angles)], 1)
    if look.character in ("rabbit", "robot"):
        return []
    match look.hat:
        case "beanie":
            band = mirrored(np.array([x + 0.32 * radius, x + 0.66 * radius]), np.full(2, 1.17 * wide))
            return [dome, band, disc((x + 1.42 * radius, 0), 0.26 * radius)]
        case "cap":
            brim = ellipse((x + 0.45 * radius, 0.75 * wide), (0.17 * radius, 0.85 * wide))
            return [dome, brim]
        case "top hat":
            tube = mirrored(np.array([x + 0.55 * radius, x + 1.75 * radius]), np.array([0.72, 0.8]) * wide)
            band = mirrored(np.array([x + 0.62 * radius, x + 0.9 * radius]), np.full(2, 0.75 * wide))
            return [tube, band, ellipse((x + 0.58 * radius, 0), (0.15 * radius, 1.3 * wide))]
        case "cone":
            cone = mirrored(np.array([x + 0.5 * radius, x + 1.95 * radius]), np.array([0.85, 0.04]) * wide)
            return [cone, disc((x + 1.95 * radius, 0), 0.22 * radius)]
        case _:
            return []
