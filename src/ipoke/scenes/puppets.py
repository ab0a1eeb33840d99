"""Puppets: people, animals and robots of fourteen to twenty jointed parts."""

from dataclasses import dataclass

import numpy as np

from ipoke.scenes import wardrobe
from ipoke.scenes.animals import draw_animal
from ipoke.scenes.palette import Mood, colour, mix
from ipoke.scenes.parts import (
    Figure,
    Light,
    Outline,
    Part,
    Point,
    Sprite,
    capsule,
    cut_out,
    ellipse,
    mirrored,
    paint,
)
from ipoke.scenes.textures import Grid, Picture, Texture, plain
from ipoke.scenes.wardrobe import Look

UP, DOWN = -np.pi / 2, np.pi / 2
ANIMALS = 0.3
"""Share of puppets that go on four legs."""


@dataclass(frozen=True)
class Build:
    """Proportions, units."""

    head: float
    torso: float
    shoulders: float
    hips: float
    arm: float
    leg: float
    arm_width: float
    leg_width: float


def draw_build(rng: np.random.Generator, look: Look, scale: float) -> Build:
    """Draw proportions from sturdy to lanky."""
    scale *= rng.uniform(1.02, 1.16)
    stocky = rng.uniform(-1, 1) + (0.5 if look.character in ("bear", "robot") else 0)
    return Build(
        head=scale * rng.uniform(5.0, 6.2),
        torso=scale * (12.5 - 0.6 * stocky),
        shoulders=scale * (4.9 + 0.7 * stocky),
        hips=scale * (3.2 + 0.5 * stocky),
        arm=scale * (7.8 - 0.5 * stocky),
        leg=scale * (8.2 - 0.8 * stocky),
        arm_width=scale * (3.0 + 0.4 * stocky),
        leg_width=scale * (3.9 + 0.5 * stocky),
    )


def draw_puppet(rng: np.random.Generator, mood: Mood, light: Light, ground: float, scale: float) -> Figure:
    """Draw a puppet of a given scale that stands at height ``ground``."""
    if rng.random() < ANIMALS:
        return draw_animal(rng, mood, light, ground, scale)
    look = wardrobe.draw_look(rng, mood)
    return _Tailor(rng, look, draw_build(rng, look, scale), light).sew(ground)


class _Tailor:
    """Puts a puppet together from its trunk outwards."""

    def __init__(self, rng: np.random.Generator, look: Look, build: Build, light: Light) -> None:
        self.rng, self.look, self.build, self.light = rng, look, build, light
        self.figure = Figure(kind="puppet")
        self.facing = float(rng.choice([-1.0, 1.0]))

    def sew(self, ground: float) -> Figure:
        rng, build = self.rng, self.build
        stance = rng.uniform(0.08, 0.3)
        bends = {side: (side * stance + rng.normal(0, 0.1), rng.normal(0, 0.14)) for side in (-1.0, 1.0)}
        drop = max(build.leg * (np.cos(hip) + np.cos(hip + knee)) for hip, knee in bends.values())
        hip_height = ground - drop - build.leg_width * 0.62
        root = (32 + rng.normal(0, 1.5), hip_height)
        pelvis = self._pelvis(root)
        torso = self._torso(pelvis, root)
        self._head(torso)
        far = -self.facing
        for side in (-1.0, 1.0):
            self._leg(pelvis, root, side, bends[side], depth=1.0 if side == far else 2.0)
            self._arm(torso, side, depth=0.0 if side == far else 6.0)
        if self.look.skirt:
            self._skirt(pelvis, root)
        if self.look.character in ("cat",):
            self._tail(pelvis, root)
        return self.figure

    def _add(
        self,
        name: str,
        parent: int | None,
        base: Point,
        angle: float,
        length: float,
        mass: float,
        sprite: Sprite,
        depth: float,
        *,
        swing: float,
        frequency: float,
        limits: tuple[float, float] | None = None,
        damping: float = 0.45,
        grip: float = 0.0,
        limb: str = "",
    ) -> int:
        return self.figure.add(
            Part(
                name, parent, base, angle, length, mass, sprite, depth, swing=swing, frequency=frequency,
                damping=damping, limits=limits, limb=limb or name, grip=grip,
            )
        )  # fmt: skip

    def _cloth(self, texture: Texture, outlines: list[Outline], angle: float, roundness: float = 0.8) -> Sprite:
        return paint(cut_out(*outlines), texture, self.light, angle, roundness)

    def _pelvis(self, root: Point) -> int:
        hips, width = self.build.hips, self.build.leg_width
        outline = ellipse((0.4, 0), (width * 0.75, hips + width * 0.42))
        sprite = self._cloth(self.look.legs, [outline], UP)
        pelvis = self._add("pelvis", None, root, UP, 1.0, 45.0, sprite, 3.0, swing=0.1, frequency=1.6)
        self.figure.mark("pelvis", pelvis, (0, 0))
        return pelvis

    def _torso(self, pelvis: int, root: Point) -> int:
        build = self.build
        along = np.linspace(0, 1, 20)
        waist = build.hips * 0.95 + 0.8
        chest = build.shoulders + build.arm_width * 0.15
        half = waist + (chest - waist) * along**0.8
        half *= np.where(along > 0.86, 1 - 2.1 * (along - 0.86), 1)
        outline = mirrored(along * build.torso, half)
        neck = mirrored(np.array([build.torso - 1, build.torso + 1.6]), np.full(2, 1.5))
        ends = ellipse((0.2, 0), (1.6, waist))
        look = self.look

        def texture(x: Grid, y: Grid) -> Picture:
            skin = (x > build.torso + 0.1)[..., None]
            return np.where(skin, look.body(x, y) * 0.9, look.shirt(x, y))

        angle = UP + self.rng.normal(0, 0.05)
        sprite = self._cloth(texture, [outline, ends, neck], angle, 0.55)
        torso = self._add("torso", pelvis, root, angle, build.torso, 90.0, sprite, 4.0, swing=0.16, frequency=1.5,
                          limits=(-0.7, 0.7))  # fmt: skip
        self.figure.mark("chest", torso, (build.torso * 0.8, 0))
        return torso

    def _head(self, torso: int) -> None:
        radius = self.build.head
        trunk = self.figure.parts[torso]
        base = trunk.place((self.build.torso + 0.3, 0))
        angle = UP + self.rng.normal(0, 0.08)
        sprite = wardrobe.head(self.rng, self.look, radius, self.facing, self.light, angle)
        index = self._add("head", torso, base, angle, 2 * radius, 30.0, sprite, 5.0, swing=0.22, frequency=1.9,
                          limits=(-0.8, 0.8))  # fmt: skip
        self.figure.mark("neck", index, (0, 0))
        self.figure.mark("head top", index, (2 * radius, 0))
        if self.look.character == "rabbit":
            self.figure.mark("ear tips", index, (3.2 * radius, 0))

    def _arm(self, torso: int, side: float, depth: float) -> None:
        rng, build, look = self.rng, self.build, self.look
        trunk = self.figure.parts[torso]
        name = "left" if side < 0 else "right"
        shoulder = trunk.place((build.torso * 0.87, side * build.shoulders * 0.93))
        raised = rng.choice([rng.uniform(0.12, 0.5), rng.uniform(0.4, 1.3), rng.uniform(1.3, 2.5)], p=[0.5, 0.35, 0.15])
        angle = DOWN - side * raised
        bend = -side * abs(rng.normal(0.25, 0.3))
        width = build.arm_width
        sprite = self._cloth(look.sleeve, [capsule(build.arm, width * 1.15, width)], angle)
        upper = self._add(f"{name} upper arm", torso, shoulder, angle, build.arm, 14.0, sprite, depth, swing=0.75,
                          frequency=1.3, limb=f"{name} arm")  # fmt: skip
        elbow = self.figure.parts[upper].place((build.arm, 0))
        lower_angle = angle + bend
        cuff = build.arm * (0.85 if look.long_sleeves else 0.12)

        def texture(x: Grid, y: Grid) -> Picture:
            return np.where((x < cuff)[..., None], look.sleeve(x, y), look.body(x, y))

        sprite = self._cloth(texture, [capsule(build.arm * 0.92, width, width * 0.85)], lower_angle)
        lower = self._add(f"{name} lower arm", upper, elbow, lower_angle, build.arm * 0.92, 9.0, sprite, depth + 0.2,
                          swing=0.7, frequency=1.6, limits=(-1.9, 1.9), limb=f"{name} arm")  # fmt: skip
        wrist = self.figure.parts[lower].place((build.arm * 0.92, 0))
        palm = width * 0.62
        thumb = ellipse((palm * 0.6, -side * palm * 0.85), (palm * 0.5, palm * 0.34), -side * 0.6)
        sprite = self._cloth(look.body, [ellipse((palm * 0.8, 0), (palm * 1.15, palm)), thumb], lower_angle)
        hand = self._add(f"{name} hand", lower, wrist, lower_angle, palm * 1.9, 3.0, sprite, depth + 0.1, swing=0.4,
                         frequency=2.4, limits=(-1.0, 1.0), limb=f"{name} arm")  # fmt: skip
        self.figure.mark(f"{name} shoulder", upper, (0, 0))
        self.figure.mark(f"{name} elbow", lower, (0, 0))
        self.figure.mark(f"{name} hand", hand, (palm * 1.2, 0))

    def _leg(self, pelvis: int, root: Point, side: float, bends: tuple[float, float], depth: float) -> None:
        build, look = self.build, self.look
        name = "left" if side < 0 else "right"
        hip = (root[0] + side * build.hips * 0.75, root[1])
        angle = DOWN - bends[0]
        width = build.leg_width
        sprite = self._cloth(look.legs, [capsule(build.leg, width * 1.15, width * 0.95)], angle)
        upper = self._add(f"{name} upper leg", pelvis, hip, angle, build.leg, 20.0, sprite, depth, swing=0.45,
                          frequency=1.5, limits=(-1.3, 1.3), limb=f"{name} leg")  # fmt: skip
        knee = self.figure.parts[upper].place((build.leg, 0))
        lower_angle = angle - bends[1]
        hem = build.leg * (0.9 if look.long_legs else 0.1)

        def texture(x: Grid, y: Grid) -> Picture:
            return np.where((x < hem)[..., None], look.legs(x, y), look.body(x, y))

        sprite = self._cloth(texture, [capsule(build.leg, width * 0.95, width * 0.8)], lower_angle)
        lower = self._add(f"{name} lower leg", upper, knee, lower_angle, build.leg, 14.0, sprite, depth + 0.1,
                          swing=0.5, frequency=1.8, limits=(-1.6, 1.6), grip=0.7, limb=f"{name} leg")  # fmt: skip
        ankle = self.figure.parts[lower].place((build.leg, 0))
        # A foot points sideways, away from the body, with its sole on the floor.
        foot_angle = 0.12 if side > 0 else np.pi - 0.12
        length = width * 1.35
        sole = ellipse((length * 0.42, 0), (length * 0.72, width * 0.46))
        sprite = self._cloth(plain(look.shoe), [sole], foot_angle)
        foot = self._add(f"{name} foot", lower, ankle, foot_angle, length, 5.0, sprite, depth + 0.2, swing=0.3,
                         frequency=2.6, limits=(-0.8, 0.8), limb=f"{name} leg")  # fmt: skip
        self.figure.mark(f"{name} hip", upper, (0, 0))
        self.figure.mark(f"{name} knee", lower, (0, 0))
        self.figure.mark(f"{name} foot", foot, (length, 0))

    def _skirt(self, pelvis: int, root: Point) -> None:
        build = self.build
        length = build.leg * self.rng.uniform(0.9, 1.25)
        along = np.linspace(0, 1, 24)
        half = build.hips + 1.4 + along * build.leg_width * self.rng.uniform(0.6, 1.1)
        hem = ellipse((length, 0), (0.9, half[-1]))
        sprite = self._cloth(self.look.shirt, [mirrored(along * length - 1.2, half), hem - (1.2, 0)], DOWN, 0.4)
        skirt = self._add("skirt", pelvis, (root[0], root[1] - 0.5), DOWN, length, 8.0, sprite, 3.5, swing=0.22,
                          frequency=1.7)  # fmt: skip
        self.figure.mark("hem", skirt, (length, 0))

    def _tail(self, pelvis: int, root: Point) -> None:
        parent, base, angle = pelvis, (root[0] - self.facing * self.build.hips, root[1] + 0.5), UP - self.facing * 1.9
        tip = mix(self.look.skin, colour("ffffff"), 0.5)
        for step in range(4):
            texture = plain(tip) if step == 3 else self.look.body
            sprite = self._cloth(texture, [capsule(4.2, 2.3, 2.2)], angle)
            parent = self._add(f"tail {step + 1}", parent, base, angle, 4.2, 4.0, sprite, -1 + 0.01 * step, swing=0.4,
                               frequency=1.8, damping=0.3, limb="tail")  # fmt: skip
            base, angle = self.figure.parts[parent].place((4.2, 0)), angle + self.facing * 0.45
        self.figure.mark("tail tip", parent, (4.2, 0))
