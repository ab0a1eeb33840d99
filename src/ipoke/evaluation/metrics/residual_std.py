"""Fit the standard deviation of a model's residuals, so that its samples are calibrated.

A latent flow that was trained on few clips is over-confident: its samples differ less than true futures do. One number
corrects much of that: the standard deviation of the residuals whose samples have the lowest energy score on clips that
the model was not trained on. The energy score is proper (Gneiting and Raftery 2007), so neither too narrow nor too wide
residuals win. The bijection and the density that it learned stay unchanged.

Differs from the original, which samples residuals of standard deviation 1.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ipoke.data.clips import ClipSet
from ipoke.evaluation.metrics.calibration import coverage, energy_score, moving_points
from ipoke.evaluation.metrics.clouds import CloudMaker
from ipoke.evaluation.metrics.questions import questions_of
from ipoke.sampling.model import PokeModel

RESIDUAL_STDS = (0.85, 1.0, 1.15, 1.3, 1.45, 1.6, 1.8)


class Trial(NamedTuple):
    """Scores of samples whose residuals have one standard deviation."""

    residual_std: float
    energy_score: float
    """Mean over clips, px; lower is better."""
    coverage_90: float
    """Mean over clips, 0 to 1, calibrated at 0.9; NaN if nothing moves."""


def try_residual_stds(
    model: PokeModel,
    clips: ClipSet,
    *,
    most: int,
    samples: int,
    seed: int,
    progress: Callable[[int, int], None],
    residual_stds: Sequence[float] = RESIDUAL_STDS,
) -> list[Trial]:
    """Score samples of several residual standard deviations on the same questions, with the same seeds.

    Args:
        model: The model; it keeps its own standard deviation.
        clips: Clips other than those of its training and of its later evaluation.
        most: At most this many clips.
        samples: Samples per clip and standard deviation.
        seed: Seed of questions and residuals.
        progress: Called with the samplings done and their total.
        residual_stds: Standard deviations to try.

    Raises:
        InputError: Nothing moves in any clip.
    """
    _, questions = questions_of(clips, seed=seed, most=most)
    clouds = CloudMaker(model, clips, samples=samples, pokes=1, seed=seed, guidance=True)
    scores: list[list[tuple[float, float]]] = [[] for _ in residual_stds]
    total, own = len(questions) * len(residual_stds), model.residual_std
    try:
        for number, question in enumerate(questions):
            known = clouds.truths(question)
            start, truths = np.array(known["start"]), np.array(known["truths"])
            for of_this, residual_std in zip(scores, residual_stds, strict=True):
                model.residual_std = residual_std
                cloud = np.array(clouds.sampled(question, known["start"]))
                moving = moving_points(cloud, truths, start)
                covered = coverage(cloud[:, moving], truths[:, moving], 0.9).mean() if moving.any() else float("nan")
                of_this.append((energy_score(cloud, truths), float(covered)))
            progress((number + 1) * len(residual_stds), total)
    finally:
        model.residual_std = own
    return list(_means(residual_stds, scores))


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the lowest energy score."""
    return min(trials, key=lambda one: one.energy_score)


def _means(residual_stds: Sequence[float], scores: Sequence[Sequence[tuple[float, float]]]) -> Iterator[Trial]:
    for residual_std, of_this in zip(residual_stds, scores, strict=True):
        means = np.nanmean(np.array(of_this), axis=0)
        yield Trial(residual_std, float(means[0]), float(means[1]))
