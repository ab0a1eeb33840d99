"""How far residuals are to spread for samples to be spread as true futures are.

A latent flow that was trained on few clips is surer of itself than it may be. One number mends much of that: the
standard deviation of its residuals, by which its samples score best on clips that it was not trained on. The energy
score is proper, so neither too little nor too much spread can win by itself. Bijection and density stay what they are.

Differs from the original, which samples with standard deviation 1.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ipoke.data.clips import ClipSet
from ipoke.evaluation.metrics.calibrate import Calibrator
from ipoke.evaluation.metrics.calibration import coverage, energy_score, moving_points
from ipoke.evaluation.metrics.questions import questions_of
from ipoke.sampling.model import PokeModel

SPREADS = (0.85, 1.0, 1.15, 1.3, 1.45, 1.6, 1.8)


class Tried(NamedTuple):
    """What samples of one spread score."""

    spread: float
    energy_score: float
    """Mean over clips, px."""
    coverage_90: float
    """Mean over clips; NaN where nothing moves."""


def try_spreads(
    model: PokeModel,
    clips: ClipSet,
    *,
    most: int,
    samples: int,
    seed: int,
    progress: Callable[[int, int], None],
    spreads: Sequence[float] = SPREADS,
) -> list[Tried]:
    """Score samples of several spreads on the same questions and with the same seeds; the model keeps its own spread.

    Args:
        model: The model.
        clips: Neither those that it was trained on nor those on which it will be evaluated.
        most: At most this many clips.
        samples: Per clip and spread.
        seed: Of questions and residuals.
        progress: Is told how many samplings are done, and of how many.
        spreads: To try.

    Raises:
        InputError: Clips that allow no questions.
    """
    _, questions = questions_of(clips, seed=seed, most=most)
    calibrator = Calibrator(model, clips, samples=samples, pokes=1, seed=seed)
    scores: list[list[tuple[float, float]]] = [[] for _ in spreads]
    total, own = len(questions) * len(spreads), model.spread
    try:
        for number, question in enumerate(questions):
            known = calibrator.truths(question)
            start, truths = np.array(known["start"]), np.array(known["truths"])
            for of_this, spread in zip(scores, spreads, strict=True):
                model.spread = spread
                cloud = np.array(calibrator.cloud(question, known["start"]))
                moving = moving_points(cloud, truths, start)
                covered = coverage(cloud[:, moving], truths[:, moving], 0.9).mean() if moving.any() else float("nan")
                of_this.append((energy_score(cloud, truths), float(covered)))
            progress((number + 1) * len(spreads), total)
    finally:
        model.spread = own
    return list(_means(spreads, scores))


def best_of(tried: Sequence[Tried]) -> Tried:
    """Choose the lowest energy score."""
    return min(tried, key=lambda one: one.energy_score)


def _means(spreads: Sequence[float], scores: Sequence[Sequence[tuple[float, float]]]) -> Iterator[Tried]:
    for spread, of_this in zip(spreads, scores, strict=True):
        means = np.nanmean(np.array(of_this), axis=0)
        yield Tried(spread, float(means[0]), float(means[1]))
