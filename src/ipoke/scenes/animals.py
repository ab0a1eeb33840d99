"""Four-legged toys seen from the side: dogs, horses, giraffes, elephants and cats of cloth or fur."""

from dataclasses import dataclass

import numpy as np

from ipoke.scenes.palette import FUR, Colour, Mood, colour, mix, vary
from ipoke.scenes.parts import (
    Cutout,
    Figure,
    Light,
    Outline,
    Part,
    Point,
    Sprite,
    capsule,
    cut_out,
    disc,
    ellipse,
    over,
    paint,
)
from ipoke.scenes.textures import Picture, Texture, dots, draw_cloth, mottled, plain, stripes

DOWN = np.pi / 2


@dataclass(frozen=True)
class Breed:
    """Proportions of an animal, units."""

    body: float
    girth: float
    leg: float
    leg_width: float
    neck: float
    neck_width: float
    neck_pieces: int
    neck_angle: float
    """How steeply the neck rises, radians."""
    head: float
    snout: float
    ear: tuple[float, float]
    """Length and width."""
    tail: float
    trunk: float = 0.0
    """Length of an elephant's trunk; 0 for others."""


BREEDS = {
    "dog": Breed(18, 12.5, 7.0, 4.4, 5.5, 7.5, 1, 0.95, 5.6, 4.8, (7.5, 3.8), 10),
    "sausage dog": Breed(25, 11.5, 4.6, 4.4, 5.5, 7.0, 1, 0.95, 5.6, 6.0, (7.5, 4.0), 9),
    "horse": Breed(19, 12, 10.0, 3.8, 10.5, 6.8, 2, 1.0, 4.9, 6.2, (3.6, 2.0), 12),
    "giraffe": Breed(15, 11, 9.6, 3.2, 19.0, 4.6, 4, 1.25, 4.2, 5.0, (3.4, 2.2), 8),
    "elephant": Breed(19, 17.5, 6.8, 6.2, 3.0, 10.0, 1, 0.6, 7.4, 1.5, (11.0, 9.0), 7, trunk=17),
    "cat": Breed(16, 11, 6.5, 3.8, 6.0, 6.5, 1, 1.15, 6.0, 2.4, (4.6, 4.2), 13),
}


def draw_animal(rng: np.random.Generator, mood: Mood, light: Light, ground: float, scale: float) -> Figure:
    """Draw an animal of a given scale that stands at height ``ground``."""
    breed = BREEDS[list(BREEDS)[rng.integers(len(BREEDS))]]
    scale *= rng.uniform(0.98, 1.12)
    first, second = (vary(rng, mood.cloth[index], 0.02) for index in rng.permutation(len(mood.cloth))[:2])
    fur = vary(rng, FUR[rng.integers(len(FUR))], 0.03)
    textures = [
        draw_cloth(rng, first, second),
        mottled(rng, fur * 1.06, fur * 0.84, 1.0, 2.0),
        dots(mix(fur, colour("f7e3b5"), 0.5), fur * 0.75, rng.uniform(3.5, 5)),
        stripes(mix(fur, colour("ffffff"), 0.6), fur * 0.6, rng.uniform(2.6, 4), 0.0),
    ]
    choice = rng.integers(len(textures))
    tone = first if choice == 0 else fur
    return _Stable(rng, breed, textures[choice], tone, light, scale).raise_up(ground)


class _Stable:
    """Builds an animal from its body outwards."""

    def __init__(
        self, rng: np.random.Generator, breed: Breed, coat: Texture, tone: Colour, light: Light, scale: float
    ) -> None:
        self.rng, self.breed, self.coat, self.tone, self.light, self.scale = rng, breed, coat, tone, light, scale
        self.figure = Figure(kind="puppet")
        self.facing = float(rng.choice([-1.0, 1.0]))

    def raise_up(self, ground: float) -> Figure:
        breed, scale = self.breed, self.scale
        leg, girth, long = breed.leg * scale, breed.girth * scale, breed.body * scale
        middle = 32 - 3 * self.facing + self.rng.normal(0, 1.2)
        rump = (middle - self.facing * long / 2, ground - 2 * leg - 0.35 * girth)
        heading = 0.0 if self.facing > 0 else np.pi
        outline = capsule(long, girth, girth * 0.94)
        body = self._add("body", None, rump, heading, long, 120.0, self._cloth([outline], heading), 3.0, 0.1, 1.6)
        self.figure.mark("rump", body, (0, 0))
        self.figure.mark("withers", body, (long, 0))
        for near in (False, True):
            for end, along in (("hind", -0.02), ("fore", 0.98)):
                self._leg(body, f"{'near' if near else 'far'} {end}", along * long + (0.8 if near else -0.8), near)
        self._tail(body, heading)
        self._front(body, heading, long, girth)
        return self.figure

    def _add(
        self, name: str, parent: int | None, base: Point, angle: float, length: float, mass: float, sprite: Sprite,
        depth: float, swing: float, frequency: float, *, limb: str = "", grip: float = 0.0,
        limits: tuple[float, float] | None = None,
    ) -> int:  # fmt: skip
        return self.figure.add(
            Part(
                name, parent, base, angle, length, mass, sprite, depth, swing=swing, frequency=frequency,
                damping=0.42, limits=limits, limb=limb or name, grip=grip,
            )
        )  # fmt: skip

    def _cloth(self, outlines: list[Outline], angle: float, texture: Texture | None = None) -> Sprite:
        return paint(cut_out(*outlines), texture or self.coat, self.light, angle, 0.75)

    def _leg(self, body: int, name: str, along: float, near: bool) -> None:
        breed, scale = self.breed, self.scale
        length, width = breed.leg * scale, breed.leg_width * scale
        hip = self.figure.parts[body].place((along, self.facing * breed.girth * scale * 0.2))
        bend = self.rng.normal(0, 0.16)
        shade = 1.0 if near else 0.8

        def texture(x: np.ndarray, y: np.ndarray) -> Picture:
            return self.coat(x + 3, y + 5) * shade

        depth = 6.0 if near else 1.0
        angle = DOWN + bend
        sprite = self._cloth([capsule(length, width * 1.3, width)], angle, texture)
        upper = self._add(f"{name} thigh", body, hip, angle, length, 16.0, sprite, depth, 0.4, 1.6,
                          limb=f"{name} leg", limits=(-1.1, 1.1))  # fmt: skip
        knee = self.figure.parts[upper].place((length, 0))
        angle = DOWN - bend
        hoof = mix(self.tone * 0.5, colour("2a2526"), 0.4)

        def shank(x: np.ndarray, y: np.ndarray) -> Picture:
            return np.where((x > length - width * 0.25)[..., None], hoof, texture(x, y))

        foot = ellipse((length, -self.facing * width * 0.2), (width * 0.5, width * 0.72))
        sprite = self._cloth([capsule(length, width, width * 0.85), foot], angle, shank)
        lower = self._add(f"{name} shank", upper, knee, angle, length, 11.0, sprite, depth + 0.1, 0.45, 1.9,
                          limb=f"{name} leg", grip=0.5, limits=(-1.3, 1.3))  # fmt: skip
        self.figure.mark(f"{name} knee", lower, (0, 0))
        self.figure.mark(f"{name} foot", lower, (length, 0))

    def _tail(self, body: int, heading: float) -> None:
        pieces, width = 3, 1.9 * self.scale
        length = self.breed.tail * self.scale / pieces
        base = self.figure.parts[body].place((-self.breed.girth * self.scale * 0.42, -self.facing * 1.5))
        angle, parent = heading + np.pi + self.facing * self.rng.uniform(-0.7, 0.7), body
        curl = self.rng.normal(0, 0.35)
        for step in range(pieces):
            texture = plain(self.tone * 0.7) if step == pieces - 1 else self.coat
            sprite = self._cloth([capsule(length, width, width * 0.9)], angle, texture)
            parent = self._add(f"tail {step + 1}", parent, base, angle, length, 3.5, sprite, 0.1 * step, 0.45, 1.9,
                               limb="tail")  # fmt: skip
            base, angle = self.figure.parts[parent].place((length, 0)), angle + curl
        self.figure.mark("tail tip", parent, (length, 0))

    def _front(self, body: int, heading: float, long: float, girth: float) -> None:
        """Add neck, head, ears and trunk."""
        breed, scale = self.breed, self.scale
        base = self.figure.parts[body].place((long + girth * 0.12, -self.facing * girth * 0.16))
        rise = breed.neck_angle + self.rng.normal(0, 0.08)
        angle, parent = heading - self.facing * rise, body
        length = breed.neck * scale / breed.neck_pieces
        for step in range(breed.neck_pieces):
            widths = (breed.neck_width * scale * (1.25 - 0.3 * s / breed.neck_pieces) for s in (step, step + 1))
            sprite = self._cloth([capsule(length, *widths)], angle)
            parent = self._add(f"neck {step + 1}", parent, base, angle, length, 12.0, sprite, 4.0 + 0.1 * step, 0.2,
                               1.6, limb="neck")  # fmt: skip
            base = self.figure.parts[parent].place((length, 0))
        tilt = heading + self.facing * self.rng.uniform(0.05, 0.45)
        head = self._add("head", parent, base, tilt, (breed.head + breed.snout) * scale, 22.0, self._face(tilt), 5.0,
                         0.3, 1.9, limits=(-0.8, 0.8))  # fmt: skip
        self.figure.mark("nose", head, ((breed.head + breed.snout) * scale, 0))
        self._ears(head, tilt)
        if breed.trunk:
            self._trunk(head, tilt)

    def _face(self, angle: float) -> Sprite:
        breed, scale, down = self.breed, self.scale, self.facing
        size, snout = breed.head * scale, breed.snout * scale
        ink, white = colour("2a2023"), colour("fffdf8")
        skull = ellipse((size * 0.4, 0), (size, size * 0.9))
        muzzle = ellipse((size + snout * 0.3, down * size * 0.28), (snout * 0.9 + 0.6, size * 0.5))
        tip = (size + snout * 1.05, down * size * 0.14)
        eye = (size * 0.72, -down * size * 0.22)

        def details(rgb: Picture, cutout: Cutout) -> Picture:
            if not breed.trunk:
                rgb = over(rgb, mix(self.tone, white, 0.45), cutout.fill(muzzle))
                rgb = over(rgb, ink, cutout.fill(disc(tip, size * 0.17)))
                bend = np.linspace(0, 1, 8)
                mouth = np.stack(
                    [size + snout * (0.9 - 0.9 * bend), down * size * (0.42 + 0.1 * np.sin(np.pi * bend))], 1
                )
                rgb = over(rgb, ink, 0.8 * cutout.stroke([mouth], 0.3))
            rgb = over(rgb, white, cutout.fill(disc(eye, size * 0.25)))
            rgb = over(rgb, ink, cutout.fill(disc((eye[0] + size * 0.07, eye[1]), size * 0.17)))
            return over(rgb, white, cutout.fill(disc((eye[0] + size * 0.1, eye[1] - down * size * 0.06), size * 0.06)))

        return paint(cut_out(skull, muzzle), self.coat, self.light, angle, 0.7, details)

    def _ears(self, head: int, tilt: float) -> None:
        breed, scale = self.breed, self.scale
        length, width = (value * scale for value in breed.ear)
        floppy = breed.tail < 10 and breed.neck < 10
        base = self.figure.parts[head].place((breed.head * scale * 0.12, -self.facing * breed.head * scale * 0.55))
        angle = DOWN + self.facing * self.rng.uniform(0.1, 0.5) if floppy else -DOWN - self.facing * 0.35
        if breed.trunk:
            base, angle = self.figure.parts[head].place((-0.5, -self.facing * 2.5)), DOWN + self.facing * 0.55
        outline = ellipse((length * 0.45, 0), (length * 0.55, width * 0.5))
        sprite = self._cloth([outline], angle, plain(self.tone * 0.82))
        ear = self._add("ear", head, base, angle, length, 3.0, sprite, 5.5, 0.45, 2.2)
        self.figure.mark("ear tip", ear, (length, 0))

    def _trunk(self, head: int, tilt: float) -> None:
        pieces = 5
        length, width = self.breed.trunk * self.scale / pieces, 4.4 * self.scale
        base = self.figure.parts[head].place((self.breed.head * self.scale * 1.15, self.facing * 1.6))
        angle, parent = tilt + self.facing * 0.75, head
        curl = self.facing * self.rng.uniform(-0.25, 0.3)
        for step in range(pieces):
            start, end = (width * (1 - 0.55 * s / pieces) for s in (step, step + 1))
            sprite = self._cloth([capsule(length, start, end)], angle)
            parent = self._add(f"trunk {step + 1}", parent, base, angle, length, 4.0, sprite, 5.2 + 0.01 * step, 0.3,
                               1.7, limb="trunk")  # fmt: skip
            base, angle = self.figure.parts[parent].place((length, 0)), angle + curl
        self.figure.mark("trunk tip", parent, (length, 0))
