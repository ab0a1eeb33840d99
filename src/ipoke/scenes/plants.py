"""Plants: a species says how stems branch, what grows on them and how stiff they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ipoke.scenes import foliage
from ipoke.scenes.foliage import LeafShape
from ipoke.scenes.palette import LEAVES, PETALS, WOOD, Colour, Mood, colour, mix, vary
from ipoke.scenes.parts import Figure, Light, Part, Point, Sprite
from ipoke.scenes.pots import add_pot

UP = -np.pi / 2


@dataclass
class Garden:
    """A plant while it grows."""

    rng: np.random.Generator
    figure: Figure
    light: Light
    greens: list[Colour]
    petal: list[Colour]
    stiffness: float
    """Multiplies every natural frequency."""
    scale: float
    """Multiplies every length, and the sizes of leaves and blossoms less strongly."""
    limbs: int = 0

    def grow(
        self,
        parent: int,
        base: Point,
        angle: float,
        *,
        length: float,
        joints: int,
        width: float,
        curl: float = 0.0,
        taper: float = 0.6,
        depth: float = 1.0,
        swing: float = 0.16,
        frequency: float = 1.8,
        make: Callable[[float, float, float, float], Sprite] | None = None,
        limb: str | None = None,
    ) -> list[int]:
        """Grow a stem of ``joints`` equal pieces that turns by ``curl`` radians along its way; give their indices."""
        if limb is None:
            self.limbs += 1
            limb = f"stem {self.limbs}"
        piece = length * self.scale / joints
        indices = []
        for step in range(joints):
            start, end = (width * (1 - (1 - taper) * s / joints) for s in (step, step + 1))
            if make is None:
                sprite = foliage.stalk(piece, start, end, self.greens[2], self.light, angle)
            else:
                sprite = make(piece, start, end, angle)
            part = Part(
                name=f"{limb} piece {step + 1}",
                parent=parent,
                base=base,
                angle=angle,
                length=piece,
                mass=piece * (start + end) / 2,
                sprite=sprite,
                depth=depth + 0.001 * step,
                swing=swing,
                frequency=frequency * self.stiffness * (1 + 0.15 * step),
                damping=0.3,
                limb=limb,
            )
            parent = self.figure.add(part)
            indices.append(parent)
            base, angle = part.place((piece, 0)), angle + curl / joints
        self.figure.mark(f"{limb} tip", parent, (piece, 0))
        return indices

    def hang(
        self,
        parent: int,
        along: float,
        angle: float,
        sprite: Sprite,
        *,
        length: float,
        mass: float,
        depth: float,
        swing: float = 0.35,
        frequency: float = 2.6,
        name: str = "leaf",
    ) -> int:
        """Hang a leaf or a blossom on a stem at ``along`` units from the stem piece's joint."""
        place = self.figure.parts[parent].place((along, 0))
        stem = self.figure.parts[parent]
        part = Part(
            name,
            parent,
            place,
            angle,
            length,
            mass,
            sprite,
            depth,
            swing=swing,
            frequency=frequency * self.stiffness,
            damping=0.28,
            limb=stem.limb if name == "leaf" else f"{stem.limb} {name}",
        )
        index = self.figure.add(part)
        self.figure.mark(f"{name} {index}", index, (length, 0))
        return index

    def leaf(
        self,
        parent: int,
        along: float,
        angle: float,
        shape: LeafShape,
        length: float,
        width: float,
        depth: float,
        variegated: bool = False,
    ) -> int:
        """Grow one leaf."""
        length, width = length * self.scale**0.7, width * self.scale**0.7
        sprite = foliage.leaf(self.rng, shape, length, width, self.greens, self.light, angle, variegated)
        return self.hang(parent, along, angle, sprite, length=length, mass=length * width * 0.35, depth=depth)


Species = Callable[[Garden, int, Point, float], None]


def leafy(shape: LeafShape, size: float, slim: float, stems: tuple[int, int], pairs: tuple[int, int]) -> Species:
    """Upright stems with pairs of leaves."""

    def grow(garden: Garden, pot: int, root: Point, spread: float) -> None:
        rng = garden.rng
        count = int(rng.integers(*stems, endpoint=True))
        variegated = rng.random() < 0.25
        leaf_angle = rng.uniform(0.6, 1.1)
        for stem in range(count):
            side = 0.0 if count == 1 else (2 * stem / (count - 1) - 1) * (0.5 if count == 2 else 1)
            lean = side * 0.55 + rng.normal(0, 0.12)
            length = rng.uniform(24, 31) * (1 - 0.22 * abs(side))
            joints = int(rng.integers(*pairs, endpoint=True))
            base = (root[0] + side * spread * 0.6, root[1])
            pieces = garden.grow(
                pot, base, UP + lean, length=length, joints=joints, width=1.7, curl=side * 0.3 + rng.normal(0, 0.2),
                depth=1 + 2 * (stem % 2),
            )  # fmt: skip
            for step, piece in enumerate(pieces[1:], start=1):
                part = garden.figure.parts[piece]
                scale = size * (1.1 - 0.5 * step / joints) * rng.uniform(0.85, 1.15)
                for sign in (-1.0, 1.0):
                    angle = part.angle + sign * leaf_angle + rng.normal(0, 0.15)
                    depth = part.depth + (0.5 if rng.random() < 0.6 else -0.5)
                    garden.leaf(piece, rng.uniform(0, 0.6) * part.length, angle, shape, scale, scale * slim, depth,
                                variegated)  # fmt: skip
            last = garden.figure.parts[pieces[-1]]
            garden.leaf(pieces[-1], last.length, last.angle + rng.normal(0, 0.2), shape, size * 0.75,
                        size * 0.75 * slim, last.depth + 0.6, variegated)  # fmt: skip

    return grow


def rosette(shape: LeafShape, length: float, slim: float, count: tuple[int, int]) -> Species:
    """Long-stalked single leaves that fan out from the earth."""

    def grow(garden: Garden, pot: int, root: Point, spread: float) -> None:
        rng = garden.rng
        number = int(rng.integers(*count, endpoint=True))
        order = rng.permutation(number)
        for place, index in enumerate(order):
            side = 2 * index / (number - 1) - 1
            size = length * rng.uniform(0.8, 1.15) * (1 - 0.15 * abs(side))
            reach = rng.uniform(13, 22) * (1 - 0.25 * abs(side))
            depth = 1 + place
            pieces = garden.grow(
                pot, (root[0] + side * spread * 0.5, root[1]), UP + 0.75 * side, length=reach, joints=3, width=1.1,
                curl=0.5 * side, depth=depth,
            )  # fmt: skip
            tip = garden.figure.parts[pieces[-1]]
            droop = (0.5 + 0.4 * abs(side)) * (np.sign(side) or 1.0)
            garden.leaf(pieces[-1], tip.length, tip.angle + droop, shape, size, size * slim, depth + 0.5)

    return grow


def blades(width: float, count: tuple[int, int], droop: float, banded: bool) -> Species:
    """Grass or sword leaves: long blades straight from the earth, made of bending pieces."""

    def grow(garden: Garden, pot: int, root: Point, spread: float) -> None:
        rng = garden.rng
        number = int(rng.integers(*count, endpoint=True))
        for place, index in enumerate(rng.permutation(number)):
            side = 2 * index / (number - 1) - 1 + rng.normal(0, 0.08)
            tones = [vary(rng, garden.greens[0], 0.05), garden.greens[1], garden.greens[2]]
            broad = width * rng.uniform(0.8, 1.2)

            def make(piece: float, start: float, end: float, angle: float, tones: list[Colour] = tones) -> Sprite:
                if banded:
                    return foliage.banded(rng, piece, start, end, tones, garden.light, angle)
                return foliage.stalk(piece, start, end, tones[0], garden.light, angle)

            garden.grow(
                pot, (root[0] + side * spread, root[1] + rng.uniform(-0.4, 0.6)), UP + side * 0.55 * (0.5 + droop),
                length=rng.uniform(20, 33), joints=5, width=broad, taper=0.12, curl=side * droop * 1.6,
                depth=1 + place, swing=0.2, make=make,
            )  # fmt: skip

    return grow


def fronds(garden: Garden, pot: int, root: Point, spread: float) -> None:
    """A fern: arching fronds, each a chain of feathered pieces."""
    rng = garden.rng
    number = int(rng.integers(5, 9))
    for place, index in enumerate(rng.permutation(number)):
        side = 2 * index / (number - 1) - 1 + rng.normal(0, 0.06)
        tone = [vary(rng, garden.greens[0], 0.05), garden.greens[1], garden.greens[2]]
        length = rng.uniform(24, 31)

        def make(piece: float, start: float, end: float, angle: float, tone: list[Colour] = tone) -> Sprite:
            return foliage.leaf(rng, "fern", piece * 1.12, (start + end) / 2, tone, garden.light, angle)

        garden.grow(
            pot, (root[0] + side * spread * 0.4, root[1]), UP + side * 0.62, length=length, joints=5, width=7.5,
            taper=0.2, curl=side * 1.15, depth=1 + place, swing=0.17, make=make,
        )  # fmt: skip


def flowers(
    kind: Literal["daisy", "tulip", "ear"], stems: tuple[int, int], size: float, leaf_shape: LeafShape
) -> Species:
    """Flowers on stems with a few leaves."""

    def grow(garden: Garden, pot: int, root: Point, spread: float) -> None:
        rng = garden.rng
        count = int(rng.integers(*stems, endpoint=True))
        for place, index in enumerate(rng.permutation(count)):
            side = 0.0 if count == 1 else (2 * index / (count - 1) - 1) * (0.6 if count == 2 else 1)
            length = rng.uniform(21, 30) * (1 - 0.2 * abs(side))
            depth = 2.0 + place
            pieces = garden.grow(
                pot, (root[0] + side * spread * 0.5, root[1]), UP + 0.4 * side + rng.normal(0, 0.08), length=length,
                joints=5, width=1.5, taper=0.75, curl=0.35 * side + rng.normal(0, 0.15), depth=depth, frequency=1.5,
            )  # fmt: skip
            for piece, sign in zip(pieces[:3], rng.permutation([-1.0, 1.0, rng.choice([-1.0, 1.0])]), strict=True):
                stem = garden.figure.parts[piece]
                long = rng.uniform(8, 12) * (1.5 if kind == "tulip" else 1)
                slim = 0.24 if kind == "tulip" else 0.4
                angle = stem.angle + sign * (0.35 if kind == "tulip" else 0.9)
                garden.leaf(piece, stem.length * 0.3, angle, leaf_shape, long, long * slim, depth + rng.choice([-1, 1]))
            tip = garden.figure.parts[pieces[-1]]
            head = size * garden.scale**0.7 * rng.uniform(0.85, 1.15)
            angle = tip.angle + (0 if kind != "daisy" else 0.2 * side)
            match kind:
                case "daisy":
                    flower, reach = foliage.daisy(rng, head, garden.petal, garden.light, angle), head * 1.55
                case "tulip":
                    flower, reach = foliage.tulip(rng, head, garden.petal, garden.light, angle), head
                case _:
                    flower = foliage.ear(rng, head * 1.8, head * 0.55, garden.petal, garden.light, angle)
                    reach = head * 1.8
            garden.hang(
                pieces[-1], tip.length * 0.95, angle, flower, length=reach, mass=head**2 * 0.5, depth=depth + 1.5,
                name="flower", frequency=2.2,
            )  # fmt: skip

    return grow


def tree(garden: Garden, pot: int, root: Point, spread: float) -> None:
    """A sapling: a trunk that forks twice, with clouds of leaves or fruit."""
    rng = garden.rng
    wood = vary(rng, WOOD[rng.integers(len(WOOD))], 0.03)
    shape: LeafShape = ("round", "oval", "maple", "lance")[rng.integers(4)]
    fruit = rng.random() < 0.4
    fruit_tone = [colour("d8342c"), colour("f2a02c"), colour("8c3a78")][rng.integers(3)]

    def make(piece: float, start: float, end: float, angle: float) -> Sprite:
        return foliage.bark(rng, piece, start, end, wood, garden.light, angle)

    trunk = garden.grow(
        pot, root, UP + rng.normal(0, 0.08), length=rng.uniform(10, 13), joints=3, width=2.9, depth=2,
        curl=rng.normal(0, 0.25), taper=0.75, make=make, swing=0.07, frequency=1.6,
    )  # fmt: skip
    top = garden.figure.parts[trunk[-1]]
    forks = int(rng.integers(3, 5))
    for fork in range(forks):
        side = 2 * fork / (forks - 1) - 1
        branch = garden.grow(
            trunk[-1], top.place((top.length, 0)), UP + side * 0.95 + rng.normal(0, 0.1), length=rng.uniform(10, 14),
            joints=3, width=1.8, depth=2.1, curl=-0.4 * side, make=make, swing=0.14, frequency=1.9,
        )  # fmt: skip
        for piece in branch:
            part = garden.figure.parts[piece]
            for sign in (-1.0, 1.0, 0.2):
                size = rng.uniform(6, 8.5)
                angle = part.angle + sign * rng.uniform(0.5, 1.3)
                depth = 3 + rng.uniform(-1.5, 1.5)
                garden.leaf(piece, part.length * rng.uniform(0.3, 1), angle, shape, size, size * 0.62, depth)
        if fruit:
            sprite = foliage.berry(1.7, fruit_tone, garden.light, np.pi / 2)
            garden.hang(branch[1], 2.0, np.pi / 2, sprite, length=3.4, mass=7.0, depth=5, name="fruit", frequency=1.8)


def cactus(garden: Garden, pot: int, root: Point, spread: float) -> None:
    """A column with arms, and a flower on top."""
    rng = garden.rng

    def make(piece: float, start: float, end: float, angle: float) -> Sprite:
        return foliage.cactus_joint(rng, piece, (start + end) / 2, garden.greens, garden.light, angle)

    column = garden.grow(
        pot, (root[0], root[1] + 1), UP + rng.normal(0, 0.05), length=rng.uniform(21, 28), joints=4,
        width=rng.uniform(6, 8.5), taper=0.9, make=make, swing=0.15, frequency=1.7, depth=2,
    )  # fmt: skip
    for sign in rng.permutation([-1.0, 1.0])[: rng.integers(1, 3)]:
        part = garden.figure.parts[column[int(rng.integers(1, 3))]]
        base = part.place((part.length * rng.uniform(0.2, 0.8), sign * 2.2))
        parent = garden.figure.parts.index(part)
        garden.grow(
            parent, base, UP + sign * 1.25, length=rng.uniform(11, 15), joints=3, width=rng.uniform(3.6, 4.6),
            taper=0.85, curl=-sign * 1.7, make=make, swing=0.25, frequency=2.0, depth=1.5,
        )  # fmt: skip
    if rng.random() < 0.7:
        top = garden.figure.parts[column[-1]]
        sprite = foliage.daisy(rng, 3.4, garden.petal, garden.light, top.angle)
        garden.hang(column[-1], top.length + 2, top.angle, sprite, length=3.4, mass=5.0, depth=4, name="flower")


SPECIES: dict[str, Species] = {
    "rubber plant": leafy("oval", 11.0, 0.52, (1, 2), (4, 5)),
    "willow herb": leafy("lance", 10.0, 0.26, (2, 3), (5, 6)),
    "money plant": leafy("round", 6.0, 0.95, (2, 3), (4, 5)),
    "ivy": leafy("heart", 8.0, 0.95, (2, 3), (4, 4)),
    "maple shoot": leafy("maple", 9.5, 1.0, (1, 2), (4, 4)),
    "philodendron": rosette("heart", 12.0, 0.9, (5, 7)),
    "monstera": rosette("split", 15.5, 0.9, (4, 6)),
    "palm": rosette("palm", 19.0, 0.55, (5, 7)),
    "grass": blades(1.5, (9, 13), 0.55, False),
    "spider plant": blades(2.2, (8, 11), 0.95, True),
    "snake plant": blades(4.2, (4, 6), 0.12, True),
    "fern": fronds,
    "daisies": flowers("daisy", (2, 4), 6.0, "lance"),
    "sunflower": flowers("daisy", (1, 1), 9.5, "heart"),
    "tulips": flowers("tulip", (2, 4), 8.5, "lance"),
    "lavender": flowers("ear", (4, 6), 5.5, "blade"),
    "sapling": tree,
    "bonsai": tree,
    "cactus": cactus,
}


def draw_plant(rng: np.random.Generator, mood: Mood, light: Light, ground: float, scale: float) -> Figure:
    """Draw a plant in a pot that stands at height ``ground``; ``scale`` is that of what grows in it."""
    names = list(SPECIES)
    name = names[rng.integers(len(names))]
    greens = LEAVES[rng.integers(len(LEAVES))]
    if name in ("cactus", "grass", "fern"):
        greens = LEAVES[rng.integers(7)]
    figure = Figure(kind="plant")
    pot, root, spread = add_pot(rng, figure, mood, light, ground, 32 + rng.normal(0, 1.5))
    garden = Garden(
        rng, figure, light, [mix(tone, mood.walls[0], 0.04) for tone in greens], PETALS[rng.integers(len(PETALS))],
        stiffness=float(rng.uniform(0.85, 1.25)), scale=scale * float(rng.uniform(1.0, 1.22)),
    )  # fmt: skip
    SPECIES[name](garden, pot, root, spread)
    return figure
