"""Hidden forces: what a figure does by itself while it is poked, so that one poke has many futures."""

import numpy as np

from ipoke.scenes.parts import Figure, Point
from ipoke.scenes.simulation import Urges


def draw_urges(rng: np.random.Generator, figure: Figure, dragged: int | None, strength: float) -> Urges:
    """Draw hidden forces for one future.

    A plant feels a gust, which turns every joint downwind, and each of its stems moves by itself. A puppet moves some
    of its limbs, leans, crouches or stretches, and sometimes lifts a foot.

    Args:
        rng: Decides all of it.
        figure: Whose joints turn.
        dragged: The part in the hand, if any; a foot of that leg lets go of the floor.
        strength: Multiplies how far everything goes.
    """
    return _gust(rng, figure, strength) if figure.kind == "plant" else _acts(rng, figure, dragged, strength)


def _gust(rng: np.random.Generator, figure: Figure, strength: float) -> Urges:
    parts, count = figure.parts, len(figure.parts)
    own: dict[str, float] = {}
    for part in parts:
        own.setdefault(part.limb, float(rng.normal(0, 0.7)))
    wind = rng.normal(0, 0.8)
    swing = np.array([part.swing for part in parts])
    downwind = -np.sin([part.angle for part in parts])
    turn = swing * (wind * downwind + np.array([own[part.limb] for part in parts]))
    onset = rng.uniform(0, 0.25) + 0.1 * rng.random(count)
    return Urges(strength * turn, onset, rng.uniform(0.35, 0.7, count), np.zeros(count, bool))


def _acts(rng: np.random.Generator, figure: Figure, dragged: int | None, strength: float) -> Urges:
    parts, count = figure.parts, len(figure.parts)
    acts = rng.random(count) < 0.65
    turn = np.array([part.swing for part in parts]) * rng.normal(0, 1.5, count) * acts
    lets_go = np.array([part.grip > 0 for part in parts]) & (rng.random(count) < 0.3)
    if dragged is not None:
        lets_go |= [part.grip > 0 and part.limb == parts[dragged].limb for part in parts]
    shift: Point = (float(rng.normal(0, 2.2) * strength), float(rng.normal(0.3, 1.3) * strength))
    return Urges(strength * turn, rng.uniform(0, 0.3, count), rng.uniform(0.35, 0.7, count), lets_go, shift)
