"""A scene: one still, and as many true futures of a poke on it as wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.scenes.backgrounds import draw_background
from ipoke.scenes.palette import MOODS, Mood
from ipoke.scenes.parts import SIDE, Figure, Light, Point
from ipoke.scenes.plants import draw_plant
from ipoke.scenes.puppets import draw_puppet
from ipoke.scenes.render import Renderer
from ipoke.scenes.simulation import Drag, simulate
from ipoke.scenes.urges import draw_urges

Kind = Literal["plant", "puppet"]
SCENE_STREAM, FUTURE_STREAM = 0x5CE7E, 0xF0707
"""Keep the random numbers of stills and of futures apart."""
ATTEMPTS = 6
"""Draws of hidden forces for one future; each is a quarter weaker than the one before, and the last one stays."""
REACH = (4.0, 16.0)
"""Shortest and longest displacement asked for by a drawn poke, units."""
MARGIN = 3.0
"""Keypoints may leave the picture by this much, units."""
EDGE = 2.5
"""At rest, keypoints keep this far from the edges, units."""
SCALES = (1.0, 0.88, 0.76, 0.66)
"""Scales at which a figure is tried until it fits into the picture."""
LONGEST_STEP = 9.0
"""Motion of a keypoint between frames beyond which a simulation counts as exploded, units."""


@dataclass(frozen=True)
class SceneClip:
    """A simulated clip with everything that is known about it; px at the clip's resolution, points (x, y)."""

    frames: UInt8[np.ndarray, "t h w 3"]
    """Frame 0 is the still."""
    optical_flow: Float32[np.ndarray, "2 h w"]
    """Exact displacement from frame 0 to the last frame at the px of frame 0; zero on the background."""
    keypoints: Float32[np.ndarray, "t k 2"]
    keypoint_names: tuple[str, ...]
    """The last one, ``poked``, is the material point under the poke."""
    part_masks: UInt8[np.ndarray, "t h w"]
    """0 on the background, i where the i-th part is on top."""
    poke: Poke
    """Displacement asked for from frame 0 to the last frame."""
    redraws: int = 0
    """How many draws of hidden forces were thrown away because something left the picture."""


def draw_scene(seed: int, *, size: int = 64, kind: Kind | None = None) -> "Scene":
    """Draw a scene; the same seed and kind give the same scene at every size.

    Args:
        seed: Any integer from 0.
        size: Side of the picture, px; a multiple of 32.
        kind: A plant or a puppet; drawn from the seed if unset.

    Raises:
        InputError: The size is not a positive multiple of 32.

    >>> scene = draw_scene(3)
    >>> scene.still.shape
    (64, 64, 3)
    """
    if size <= 0 or size % 32:
        raise InputError(f"scene size: got {size}, expected a positive multiple of 32 px such as 64 or 128")
    rng = np.random.default_rng([SCENE_STREAM, seed])
    drawn: Kind = "plant" if rng.random() < 0.5 else "puppet"
    kind = kind or drawn
    mood = MOODS[rng.integers(len(MOODS))]
    light = _draw_light(rng)
    ground = rng.uniform(57.5, 60.5)
    make = draw_plant if kind == "plant" else draw_puppet
    figure = _fit(make, int(rng.integers(2**31)), mood, light, ground)
    background = draw_background(rng, mood, light, ground, figure.mean_colour())
    return Scene(seed, figure, Renderer(figure, background, light, size), Renderer(figure, background, light, 64))


def _fit(
    make: Callable[[np.random.Generator, Mood, Light, float, float], Figure],
    seed: int,
    mood: Mood,
    light: Light,
    ground: float,
) -> Figure:
    """Draw a figure, smaller and smaller until all its keypoints are inside the picture."""
    figure = Figure("none")
    for scale in SCALES:
        figure = make(np.random.default_rng(seed), mood, light, ground, scale)
        points = np.array([figure.parts[part].place(local) for _, part, local in figure.keypoints])
        if points.min() > EDGE and points.max() < SIDE - EDGE:
            break
    return figure


def _draw_light(rng: np.random.Generator) -> Light:
    side = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.9)
    direction = np.array([side, -rng.uniform(0.5, 0.9), rng.uniform(0.7, 1.1)])
    direction /= np.linalg.norm(direction)
    warmth = rng.uniform(-1, 1)
    gains = np.array([1 + 0.05 * warmth, 1.0, 1 - 0.07 * warmth], np.float32)
    x, y, z = (float(value) for value in direction)
    return Light((x, y, z), gains, float(rng.uniform(0.28, 0.5)))


class Scene:
    """A still of a plant or a puppet that can be poked."""

    def __init__(self, seed: int, figure: Figure, renderer: Renderer, chart: Renderer) -> None:
        self.seed = seed
        self.size = renderer.size
        self.figure = figure
        self._renderer = renderer
        self._chart = chart
        self._rest = figure.rest_poses()

    @property
    def kind(self) -> str:
        """``plant`` or ``puppet``."""
        return self.figure.kind

    @property
    def num_parts(self) -> int:
        """Number of rigid parts; their numbers in the part masks are 1 to this."""
        return len(self.figure.parts)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts, in the order of their numbers."""
        return tuple(part.name for part in self.figure.parts)

    @property
    def still(self) -> UInt8[np.ndarray, "h w 3"]:
        """Frame 0 of every future."""
        return self._first[0].copy()

    @property
    def background(self) -> UInt8[np.ndarray, "h w 3"]:
        """The empty stage, without figure and shadow."""
        return np.rint(self._renderer.wall).astype(np.uint8)

    @cached_property
    def _first(self) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        return self._renderer.draw(self._rest)

    @cached_property
    def _parts_64(self) -> UInt8[np.ndarray, "h w"]:
        """The topmost parts on a 64 px chart, so that pokes are the same at every size."""
        return self._first[1] if self.size == 64 else self._chart.draw(self._rest)[1]

    def draw_poke(self, rng: np.random.Generator) -> Poke:
        """Draw a place on a movable part and a displacement of 4 to 16 px (at 64 px) that its joints can make.

        Tips are preferred to trunks. The target is found by turning the joints between the part and the root, so it
        is within reach, and lies inside the picture.
        """
        chart = self._parts_64
        best: tuple[float, Poke] | None = None
        for _ in range(200):
            part = self._draw_part(rng, chart)
            rows, columns = np.nonzero(chart == part + 1)
            pick = rng.integers(len(rows))
            start = (columns[pick] + 0.5, rows[pick] + 0.5)
            wanted = rng.uniform(*REACH)
            turns = self._bend(rng, part, start, wanted)
            target = self._bent(start, part, turns)
            dx, dy = target[0] - start[0], target[1] - start[1]
            poke = Poke(float(columns[pick]), float(rows[pick]), float(dx), float(dy)).scaled(self.size / 64)
            ends = [self._bent(self.figure.parts[on].place(at), on, turns) for _, on, at in self.figure.keypoints]
            inside = all(3 <= value <= SIDE - 3 for value in target) and all(
                -1 <= value <= SIDE + 1 for end in ends for value in end
            )
            length = float(np.hypot(dx, dy))
            if inside and REACH[0] <= length <= REACH[1]:
                return poke
            if inside and (best is None or abs(length - 6) < best[0]):
                best = (abs(length - 6), poke)
        if best is None:
            raise RuntimeError(f"scene {self.seed}: no part can be moved inside the picture")
        return best[1]

    def _draw_part(self, rng: np.random.Generator, chart: UInt8[np.ndarray, "h w"]) -> int:
        areas = np.bincount(chart.ravel(), minlength=self.num_parts + 1)[1:].astype(np.float64)
        areas[areas < 3] = 0
        for index, part in enumerate(self.figure.parts):
            depth = len(self._chain(index))
            areas[index] = 0 if part.swing == 0 else np.sqrt(areas[index]) * depth**1.5
        return int(rng.choice(self.num_parts, p=areas / areas.sum()))

    def _chain(self, part: int) -> list[int]:
        """List the movable parts from one part to its root."""
        chain = []
        step: int | None = part
        while step is not None and not self.figure.parts[step].is_fixed:
            chain.append(step)
            step = self.figure.parts[step].parent
        return chain

    def _bend(self, rng: np.random.Generator, part: int, start: Point, wanted: float) -> dict[int, float]:
        """Turn all joints up to the root one way, further and further, until a point has moved far enough."""
        sign = rng.choice([-1.0, 1.0])
        turns = {
            index: sign * self.figure.parts[index].swing * (rng.uniform(0.2, 1) if rng.random() < 0.85 else -0.5)
            for index in self._chain(part)
        }
        bent = turns
        for share in np.linspace(0.1, 2.0, 20):
            bent = {index: share * turn for index, turn in turns.items()}
            place = self._bent(start, part, bent)
            if np.hypot(place[0] - start[0], place[1] - start[1]) >= wanted:
                break
        return bent

    def _bent(self, place: Point, part: int, turns: dict[int, float]) -> Point:
        """Give where a point of a part lies once joints have turned."""
        for index in self._chain(part):
            place = _turned(place, self.figure.parts[index].base, turns.get(index, 0.0))
        return place

    def play(self, poke: Poke, *, future_seed: int, frames: int = 10) -> SceneClip:
        """Let a hand drag what lies under a poke while hidden forces act on the rest.

        A poke of the background drags nothing; a pin holds its part in place; what is rooted stays.

        Args:
            poke: Place and displacement, px at this scene's size.
            future_seed: Decides the hidden forces and the bow of the hand's path.
            frames: Frames after frame 0, 0.08 simulated seconds apart.

        Raises:
            InputError: The poke lies outside the picture, or there are no frames to play.
        """
        if frames < 1:
            raise InputError(f"scene: got {frames} frames, expected at least 1 after the still")
        if not (-0.5 <= poke.x <= self.size - 0.5 and -0.5 <= poke.y <= self.size - 0.5):
            raise InputError(f"poke: got ({poke.x:g}, {poke.y:g}), expected a place in {self.size} x {self.size} px")
        part = self._part_under(poke)
        poses = self._rest[None]
        redraws = 0
        for redraws in range(ATTEMPTS):
            rng = np.random.default_rng([FUTURE_STREAM, self.seed, future_seed, redraws])
            drag = self._drag(poke, part, float(rng.normal(0, 0.12)))
            urges = draw_urges(rng, self.figure, part, strength=0.75**redraws)
            poses = simulate(self.figure, drag, urges, frames)
            if self._is_sound(poses):
                break
        return self._film(poke, part, poses, redraws)

    def true_futures(self, poke: Poke, n: int, *, seed: int, frames: int = 10) -> list[SceneClip]:
        """Play the same poke ``n`` times with different hidden forces; the first ones do not depend on ``n``."""
        seeds = np.random.SeedSequence([seed, self.seed]).generate_state(n, np.uint32)
        return [self.play(poke, future_seed=int(one), frames=frames) for one in seeds]

    def _part_under(self, poke: Poke) -> int | None:
        """Find the part that a poke takes hold of, if it can be moved."""
        row, column = (min(max(round(value), 0), self.size - 1) for value in (poke.y, poke.x))
        part = int(self._first[1][row, column]) - 1
        return None if part < 0 else part

    def _drag(self, poke: Poke, part: int | None, bow: float) -> Drag | None:
        if part is None or not self._chain(part):
            return None
        unit = SIDE / self.size
        start = ((poke.x + 0.5) * unit, (poke.y + 0.5) * unit)
        target = (start[0] + poke.dx * unit, start[1] + poke.dy * unit)
        return Drag(part, _local(self._rest[part], start), start, target, bow)

    def _is_sound(self, poses: Float[np.ndarray, "t n 3"]) -> bool:
        """Check that nothing exploded and that no keypoint left the picture."""
        points = self._keypoints(poses)
        steps = np.abs(np.diff(points, axis=0)).max(initial=0)
        still_inside = ((points > -MARGIN) & (points < SIDE + MARGIN)) | ((points[:1] <= 0) | (points[:1] >= SIDE))
        return bool(np.isfinite(points).all() and steps < LONGEST_STEP and still_inside.all())

    def _keypoints(self, poses: Float[np.ndarray, "t n 3"]) -> Float[np.ndarray, "t k 2"]:
        return np.stack([_world(poses[:, part], local) for _, part, local in self.figure.keypoints], 1)

    def _film(self, poke: Poke, part: int | None, poses: Float[np.ndarray, "t n 3"], redraws: int) -> SceneClip:
        pictures = [self._first, *(self._renderer.draw(pose) for pose in poses[1:])]
        unit = SIDE / self.size
        start = ((poke.x + 0.5) * unit, (poke.y + 0.5) * unit)
        if part is None:
            poked = np.broadcast_to(np.array(start), (len(poses), 2))
        else:
            poked = _world(poses[:, part], _local(self._rest[part], start))
        points = np.concatenate([self._keypoints(poses), poked[:, None]], 1) / unit - 0.5
        return SceneClip(
            frames=np.stack([picture for picture, _ in pictures]),
            optical_flow=self._optical_flow(poses[-1]),
            keypoints=points.astype(np.float32),
            keypoint_names=(*(name for name, _, _ in self.figure.keypoints), "poked"),
            part_masks=np.stack([masks for _, masks in pictures]),
            poke=poke,
            redraws=redraws,
        )

    def _optical_flow(self, last: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "2 h w"]:
        """Move every px of frame 0 with the part on top of it."""
        masks = self._first[1]
        unit = SIDE / self.size
        result = np.zeros((2, self.size, self.size))
        for part in np.unique(masks[masks > 0]) - 1:
            rows, columns = np.nonzero(masks == part + 1)
            before, after = self._rest[part], last[part]
            turn = after[2] - before[2]
            x, y = (columns + 0.5) * unit - before[0], (rows + 0.5) * unit - before[1]
            result[0, rows, columns] = (np.cos(turn) * x - np.sin(turn) * y + after[0] - before[0] - x) / unit
            result[1, rows, columns] = (np.sin(turn) * x + np.cos(turn) * y + after[1] - before[1] - y) / unit
        return result.astype(np.float32)


def _turned(place: Point, about: Point, turn: float) -> Point:
    cos, sin = np.cos(turn), np.sin(turn)
    x, y = place[0] - about[0], place[1] - about[1]
    return about[0] + cos * x - sin * y, about[1] + sin * x + cos * y


def _local(pose: Float[np.ndarray, "3"], place: Point) -> Point:
    x, y = _turned((place[0] - pose[0], place[1] - pose[1]), (0.0, 0.0), -pose[2])
    return float(x), float(y)


def _world(poses: Float[np.ndarray, "t 3"], local: Point) -> Float[np.ndarray, "t 2"]:
    cos, sin = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    x, y = local
    return poses[:, :2] + np.stack([cos * x - sin * y, sin * x + cos * y], 1)
