"""Colours that go together: one mood per scene, and the natural colours of leaves, petals, skin, hair and fur."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Colour = Float[np.ndarray, "3"]


def colour(code: str) -> Colour:
    """Turn six hexadecimal digits into sRGB in [0, 1].

    >>> colour("ff0080").round(2).tolist()
    [1.0, 0.0, 0.5]
    """
    return np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32)


def colours(codes: str) -> list[Colour]:
    """Read several colours from space-separated hexadecimal codes."""
    return [colour(code) for code in codes.split()]


@dataclass(frozen=True)
class Mood:
    """The colours of one scene: walls and floors stay quiet, cloth and pots may speak."""

    walls: list[Colour]
    floors: list[Colour]
    cloth: list[Colour]
    pots: list[Colour]


MOODS = [
    Mood(colours(walls), colours(floors), colours(cloth), colours(pots))
    for walls, floors, cloth, pots in (
        ("f1e3d3 e6cbb2 f7efe4", "b08560 9c6f4c", "c8553d 588b8b f28f3b f7dcc4 2d3047", "bf6040 e9dcc9 44525e"),
        ("e4e9ec cfd9de f3f4f2", "d6bd9b c4a882", "34495e d9534f efc45a 6f9f90 f4f1ea", "fafafa 33475b d9a05b"),
        ("e3ecd2 cfe0bf f2f3e1", "c2a878 a98d5f", "6a994e bc4749 f2e8cf 386641 e9a23b", "bc6c44 f0ead2 52796f"),
        ("6c5b7b 4f4b74 856b87", "4a3b52 5c4660", "f67280 f8b195 99d5c9 ffe6c7 c06c84", "f8b195 d8c4b6 3b3355"),
        ("cbe5df dcefe8 bcdad3", "d8c3a8 bfa98f", "ee8695 f6e3b4 5c80bc 4d5061 fcfcf7", "f7c8a8 ffffff 5f8f8b"),
        ("f1e0ba eed3a2 f7ebd0", "a4703f 8a5a33", "264653 2a9d8f e9c46a f4a261 e76f51", "e76f51 264653 f6e7cb"),
        ("b3d9e8 d2e9f1 8fc1d8", "c9b79c a79277", "023a5c 2c7da0 ffb703 fb8500 f1faee", "fb8500 f1faee 1f4e6b"),
        ("f6dfe2 f0cdd3 faeef0", "b79a86 9c7f6d", "6d2e46 c05a6b ece2d0 3f6c6e e8a598", "a8576a fdf5ee 51736f"),
        ("5f7a68 4b6454 77907d", "6b4f3a 7d5d45", "efe6d0 d98e4a a8c69f d95d39 f2c879", "d98e4a efe6d0 2f3e36"),
        ("2b3a55 3a4a6b 22304a", "4b4a5c 5a5668", "f2cc60 ef6f6c f7f3e3 56c1b5 b497d6", "ef6f6c f7f3e3 5b7db1"),
        ("d9d2e9 e8e3f2 c6bddd", "b7a6a0 9e8c88", "5b5f97 ffc145 ff6b6c fffffb 6b9080", "ff8f6b f8f4ff 5b5f97"),
        ("f6d7b0 f3c48f f9e5c9", "8f5f3f a8744e", "1d3557 e63946 f1faee 457b9d f2a541", "457b9d f8ede0 a8432f"),
    )
]
"""Moods to draw from; each wall differs in lightness from leaves and most cloth."""

LEAVES = [
    colours(codes)
    for codes in (
        "2f7d43 4fa35a 1f5c38",
        "5b8c2a 86b049 3f6b1f",
        "2c6e63 4d9a86 1c4b46",
        "7a9a3a a8c25a 587428",
        "3d8b37 74b84a 2a6b2f",
        "4d7c5a 7fae86 33583f",
        "6f8f4e 9cbb6d 4c6b38",
        "7b3b4e a8566a 54263a",
        "8d9f3b c3cf6a 66772a",
    )
]
"""Families of leaf colours: usual, light, dark."""

PETALS = [
    colours(codes)
    for codes in (
        "f4c430 e8a317 6b3f1d",
        "f7f4ef e6dfd6 f0b429",
        "e8588a c93a70 f6d365",
        "d7263d a81c30 f9dc5c",
        "8e6bbf 6a4a9c f2d06b",
        "f28c38 dd6b20 7a3e12",
        "5a86d6 3f66b3 f7e08a",
        "f6a6b8 e57f98 fbe7a1",
    )
]
"""Families of petal colours: petal, its shade, heart of the flower."""

SKIN = colours("f6d5bd eebf9f dca27c c38358 9a6240 744630 573423")
HAIR = colours("2b1d16 4a2f1f 6f4526 a4662f d9a955 b5482a 8c8c8c 1b1b24 e8d8b4")
FUR = colours("a9744f c99a6b 8a8f98 e3c9a4 6b4a36 d98648 f0e6d8 5b5f6b 9c6b8a 7fa3a8")
EARTH = colours("4a3527 5b4231 3d2c22")
WOOD = colours("7a5537 8d6543 5e4029")


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; ``share`` is that of the second."""
    return (first * (1 - share) + second * share).astype(np.float32)


def vary(rng: np.random.Generator, base: Colour, amount: float = 0.04) -> Colour:
    """Shift a colour a little in lightness, and less in hue."""
    return np.clip(base + rng.normal(0, amount) + rng.normal(0, amount / 3, 3), 0, 1).astype(np.float32)
