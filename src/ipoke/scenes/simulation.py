"""Move a figure: a hand drags one point, hidden forces bend the joints, springs and gravity do the rest.

At frame 0 every figure is at rest under gravity by construction: the spring of each joint is wound up by exactly the
torque of all that hangs on it. The solver has a fixed step and a fixed number of iterations and nothing collides, so
the same inputs give the same motion, bit for bit.
"""

from dataclasses import dataclass

import numpy as np
import pymunk
from jaxtyping import Bool, Float

from ipoke.scenes.parts import Figure, Point

FRAME_S = 0.08
"""Simulated time between frames, seconds."""
STEPS = 16
"""Solver steps per frame."""
STEP_S = FRAME_S / STEPS
ITERATIONS = 30
GRAVITY = 140.0
"""Units per second squared; a figure of 45 units is a toy, so this is slower than life."""
ARRIVAL = 0.92
"""Share of the clip after which the hand has arrived and holds still."""
SOFT_PIN_HZ = 1.1
"""Natural frequency with which a puppet's root is held in place."""
MAX_SPEED = 400.0
"""Units per second; faster parts are slowed down to it."""
FAR = 500.0
"""Length of the springs that hold a root, so long that they pull along one axis only."""


@dataclass(frozen=True)
class Drag:
    """A hand that takes hold of a part and carries it along a smooth path."""

    part: int
    local: Point
    start: Point
    target: Point
    bow: float = 0.0
    """Sideways bulge of the path as a share of its length."""

    def position(self, share: float) -> Point:
        """Give the hand's place after a share of the clip: minimum jerk along a bowed line."""
        s = min(share / ARRIVAL, 1.0)
        way = s**3 * (10 - 15 * s + 6 * s * s)
        dx, dy = self.target[0] - self.start[0], self.target[1] - self.start[1]
        side = 4 * self.bow * way * (1 - way)
        return self.start[0] + way * dx - side * dy, self.start[1] + way * dy + side * dx


@dataclass(frozen=True)
class Urges:
    """What a figure wants to do by itself: turns of its joints (radians), from when and for how long.

    Times are shares of the clip.
    """

    turn: Float[np.ndarray, " n"]
    onset: Float[np.ndarray, " n"]
    rise: Float[np.ndarray, " n"]
    lets_go: Bool[np.ndarray, " n"]
    """Which parts give up their grip on the floor."""
    shift: Point = (0.0, 0.0)
    """Where the root wants to go, units; it goes when its joint turns."""

    def progress(self, share: float) -> Float[np.ndarray, " n"]:
        """Give how much of each joint's turn is wanted after a share of the clip, in [0, 1]."""
        s = np.clip((share - self.onset) / self.rise, 0, 1)
        return s * s * (3 - 2 * s)


def simulate(figure: Figure, drag: Drag | None, urges: Urges, frames: int) -> Float[np.ndarray, "t n 3"]:
    """Give x, y (units) and angle of every part in frames 0 to ``frames``; frame 0 is the rest pose."""
    motion = _Motion(figure, urges)
    if drag is not None:
        motion.take_hold(drag)
    poses = [figure.rest_poses()]
    for frame in range(frames):
        for step in range(STEPS):
            share = (frame + (step + 1) / STEPS) / frames
            if step % 4 == 0:
                motion.bend(share)
            if drag is not None:
                motion.carry(drag.position(share))
            motion.space.step(STEP_S)
        motion.calm()
        poses.append(motion.poses())
    return np.stack(poses)


class _Motion:
    """A figure in a pymunk space."""

    def __init__(self, figure: Figure, urges: Urges) -> None:
        self.figure = figure
        self.urges = urges
        self.space = pymunk.Space()
        self.space.gravity = (0, GRAVITY)
        self.space.iterations = ITERATIONS
        self.hand = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        masses, moments, torques, stiffness = _loads(figure)
        self.bodies = self._bodies(masses, moments)
        self.springs: list[tuple[int, pymunk.DampedRotarySpring, float]] = []
        self.pins: list[tuple[int, pymunk.DampedSpring, float, float]] = []
        weight = sum(part.mass for part in figure.parts if not part.is_fixed) * GRAVITY
        for index, part in enumerate(figure.parts):
            if part.is_fixed:
                continue
            body = self.bodies[index]
            parent = self.space.static_body if part.parent is None else self.bodies[part.parent]
            if part.parent is None:
                self._soft_pin(index, body, weight)
            else:
                self._joint(parent, body, part.base)
            if part.limits is not None:
                between = body.angle - parent.angle
                low, high = part.limits
                self.space.add(pymunk.RotaryLimitJoint(parent, body, between + low, between + high))
            self._spring(index, parent, stiffness[index], torques[index])
            if part.grip and not urges.lets_go[index]:
                self._stick(body, part.place((part.length, 0)), part.grip * weight)

    def _bodies(self, masses: np.ndarray, moments: np.ndarray) -> list[pymunk.Body]:
        bodies = []
        for index, part in enumerate(self.figure.parts):
            if part.is_fixed:
                body = pymunk.Body(body_type=pymunk.Body.STATIC)
            else:
                body = pymunk.Body(masses[index], moments[index])
                body.center_of_gravity = (part.length / 2, 0)
                self.space.add(body)
            body.angle = part.angle
            body.position = part.base
            bodies.append(body)
        return bodies

    def _joint(self, parent: pymunk.Body, body: pymunk.Body, place: Point) -> None:
        joint = pymunk.PivotJoint(parent, body, place)
        joint.error_bias = (1 - 0.5) ** 60
        self.space.add(joint)

    def _spring(self, index: int, parent: pymunk.Body, stiffness: float, torque: float) -> None:
        part, body = self.figure.parts[index], self.bodies[index]
        # Critical damping of an inertia I on a spring k is 2 sqrt(k I), and k = I (2 pi f)^2.
        damping = 2 * part.damping * stiffness / (2 * np.pi * part.frequency)
        rest = parent.angle - body.angle + torque / stiffness
        spring = pymunk.DampedRotarySpring(parent, body, rest, stiffness, damping)
        self.space.add(spring)
        self.springs.append((index, spring, rest))

    def _soft_pin(self, index: int, body: pymunk.Body, weight: float) -> None:
        mass = weight / GRAVITY
        stiffness = mass * (2 * np.pi * SOFT_PIN_HZ) ** 2
        damping = mass * 2 * 0.7 * (2 * np.pi * SOFT_PIN_HZ)
        x, y = self.figure.parts[index].base
        wishes = self.urges.shift
        for anchor, length, wish in (
            ((x - FAR, y), FAR, wishes[0]),
            ((x, y - FAR), FAR - weight / stiffness, wishes[1]),
        ):
            pin = pymunk.DampedSpring(self.space.static_body, body, anchor, (0, 0), length, stiffness, damping)
            self.space.add(pin)
            self.pins.append((index, pin, length, wish))

    def _stick(self, body: pymunk.Body, place: Point, force: float) -> None:
        grip = pymunk.PivotJoint(self.space.static_body, body, place)
        grip.max_force = force
        self.space.add(grip)

    def take_hold(self, drag: Drag) -> None:
        """Put the hand on a part; a foot that is taken gives up its grip."""
        body = self.bodies[drag.part]
        self.hand.position = drag.start
        joint = pymunk.PivotJoint(self.hand, body, (0, 0), drag.local)
        joint.error_bias = (1 - 0.7) ** 60
        self.space.add(self.hand, joint)

    def carry(self, place: Point) -> None:
        """Set the hand's speed so that it is at ``place`` after the next step."""
        x, y = self.hand.position
        self.hand.velocity = ((place[0] - x) / STEP_S, (place[1] - y) / STEP_S)

    def bend(self, share: float) -> None:
        """Let the hidden urges wind the springs."""
        progress = self.urges.progress(share)
        turns = (self.urges.turn * progress).tolist()
        for index, spring, rest in self.springs:
            if turns[index]:
                spring.rest_angle = rest - turns[index]
        for root, pin, rest, shift in self.pins:
            pin.rest_length = rest + shift * float(progress[root])

    def calm(self) -> None:
        """Slow down what is too fast."""
        for index, _, _ in self.springs:
            body = self.bodies[index]
            speed = body.velocity.length
            if speed > MAX_SPEED:
                body.velocity = body.velocity * (MAX_SPEED / speed)

    def poses(self) -> Float[np.ndarray, "n 3"]:
        """Read x, y and angle of every part."""
        return np.array([(*body.position, body.angle) for body in self.bodies], np.float64)


def _loads(figure: Figure) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give mass, moment of inertia, torque of gravity at the joint and stiffness of the joint for every part."""
    parts = figure.parts
    count = len(parts)
    masses = np.array([part.mass for part in parts])
    own = masses * np.array([part.length**2 / 12 + 1.0 for part in parts])
    centres = np.array([part.place((part.length / 2, 0)) for part in parts])
    hangs = np.eye(count, dtype=bool)
    for index in reversed(range(count)):
        parent = parts[index].parent
        if parent is not None:
            hangs[parent] |= hangs[index]
    torques, stiffness = np.zeros(count), np.ones(count)
    for index, part in enumerate(parts):
        arms = centres[hangs[index]] - part.base
        load = masses[hangs[index]]
        torques[index] = GRAVITY * (load * arms[:, 0]).sum()
        inertia = own[hangs[index]].sum() + (load * (arms**2).sum(1)).sum()
        stiffness[index] = inertia * (2 * np.pi * part.frequency) ** 2
    # A light part between stiff springs would ring faster than the solver can step: give it some more inertia.
    felt = stiffness.copy()
    for index, part in enumerate(parts):
        if part.parent is not None:
            felt[part.parent] += stiffness[index]
    return masses, np.maximum(own, 2 * STEP_S**2 * felt), torques, stiffness
