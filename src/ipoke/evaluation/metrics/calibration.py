"""Calibration of samples against true futures: proper scores, coverage, spread-error ratio, rank histograms.

A cloud is n samples of k points, ``n k 2`` px; truths are m futures of the same points, ``m k 2``. Measure samples and
truths in the same way, so that errors of the measurement are in both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from ipoke.evaluation.metrics.statistics import Estimate, Values, estimate, ratio_estimate

MOVES_PX = 0.5
"""A point moves if it ends further than this from its start in any sample or truth."""
TIE_PX = 1e-6
"""Distances that differ by less are equal."""

Cloud = Float[np.ndarray, "n k 2"]
Truths = Float[np.ndarray, "m k 2"]


def energy_score(samples: Cloud, truths: Truths) -> float:
    """Return the energy score of a cloud, px: lower is better, and the truths' own distribution is best on average.

    Source: Gneiting and Raftery 2007, eq. 22. The mean over truths y of E|X - y| - E|X - X'| / 2, X and X' two
    different samples: means over all n samples and over all n (n - 1) ordered pairs, so that the score is unbiased at
    any n. |.| is the Euclidean norm over all k points together, divided by sqrt(k): the root mean square over points.
    A single sample is scored as a deterministic forecast; a stochastic model needs two or more.

    >>> here, there = np.zeros((1, 3, 2)), np.full((1, 3, 2), [3.0, 4.0])
    >>> energy_score(here, there)
    5.0
    """
    samples, truths = _checked(samples, truths, least=1)
    n = len(samples)
    between = 0.0 if n == 1 else float(_distances(samples, samples).sum()) / (n * (n - 1))
    return float(_distances(samples, truths).mean()) - between / 2


def energy_skill(model: Values, copy: Values, oracle: Values) -> Estimate:
    """Return the skill of a model: 0 for copying the still, 1 for true futures, negative if copying is better.

    (copy - model) / (copy - oracle), each the mean energy score over the same clips, with a bootstrap over clips. The
    oracle's samples are true futures other than the truths. Unavailable if copying and oracle score alike.
    """
    gained = np.asarray(copy, np.float64) - np.asarray(model, np.float64)
    possible = np.asarray(copy, np.float64) - np.asarray(oracle, np.float64)
    skill = ratio_estimate(gained, possible, "")
    if skill.value is not None or len(possible) == 0:
        return skill
    return skill._replace(reason="on these clips, copying the picture scores no differently than true futures do")


def moving_points(samples: Cloud, truths: Truths, start: Float[np.ndarray, "k 2"]) -> Bool[np.ndarray, " k"]:
    """Select the points that any sample or any truth moves more than 0.5 px from their ``start``.

    The other points are background, which every model predicts. The rule treats samples and truths alike, so that
    clouds that are exchangeable stay exchangeable.
    """
    samples, truths = _checked(samples, truths, least=1)
    return (np.linalg.norm(np.concatenate([samples, truths]) - start, axis=-1) > MOVES_PX).any(0)


def coverage(samples: Cloud, truths: Truths, level: float) -> Float64[np.ndarray, " k"]:
    """Return, for each point, the share of truths in the central ``level`` of the cloud, 0 to 1; calibrated: ``level``.

    A truth and the n samples form a pool of n + 1 places. The statistic of a place is its mean distance to the n
    others, and the truth is covered if its rank by the statistic, most central first, is among the first level (n + 1).
    The pool treats all places alike, so a truth from the samples' own distribution has every rank equally often. The
    rank on the boundary, and tied ranks, count by the part that lies within, so that the expectation is ``level``
    exactly, at any n. A truth outside all samples still counts with the part of level (n + 1) above n, so use levels up
    to n / (n + 1). Places between two modes count as central as the modes themselves.

    Raises:
        ValueError: The level is not between 0 and 1, or the clouds do not match.
    """
    if not 0 < level < 1:
        raise ValueError(f"coverage: got level {level:g}, expected one between 0 and 1")
    samples, truths = _checked(samples, truths, least=1)
    to_truths = np.linalg.norm(samples[:, None] - truths[None], axis=-1)
    to_others = np.linalg.norm(samples[:, None] - samples[None], axis=-1).sum(1)
    of_samples = to_others[:, None] + to_truths
    of_truths = to_truths.sum(0)
    tie = TIE_PX * len(samples)
    before = (of_samples < of_truths - tie).sum(0)
    equal = 1 + (np.abs(of_samples - of_truths) <= tie).sum(0)
    return np.clip((level * (len(samples) + 1) - before) / equal, 0, 1).mean(0)


def variance_and_squared_error(samples: Cloud, truths: Truths) -> tuple[float, float]:
    """Return the variance of a clip's cloud and the squared error of its mean, px^2, means over points.

    The variance is the unbiased one, summed over both coordinates, times (n + 1) / n: the squared error expected of a
    truth from the samples' own distribution, since the mean of n samples has a variance of 1 / n itself.

    Raises:
        ValueError: There are fewer than two samples, or the clouds do not match.
    """
    samples, truths = _checked(samples, truths, least=2)
    n = len(samples)
    variance = samples.var(0, ddof=1).sum(-1).mean() * (n + 1) / n
    squared_error = ((truths - samples.mean(0)) ** 2).sum(-1).mean()
    return float(variance), float(squared_error)


def spread_error_ratio(variances: Values, squared_errors: Values) -> Estimate:
    """Return the ratio of ensemble spread to error of the mean, at least 0: 1 calibrated, below 1 over-confident.

    Source: Fortin et al. 2014. Takes both terms of `variance_and_squared_error`, one of each per clip: means
    over clips come first, then their ratio, then the root. The bootstrap draws whole clips.
    """
    ratio = ratio_estimate(variances, squared_errors, "")
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return ratio
    value, low, high = (float(np.sqrt(one)) for one in (ratio.value, ratio.low, ratio.high))
    return ratio._replace(value=value, low=low, high=high)


def rank_histogram(samples: Cloud, truths: Truths, *, seed: int) -> Int64[np.ndarray, "k 2 ranks"]:
    """Count the ranks of truths among the n samples, 0 to n, for each coordinate of each point.

    Source: Hamill 2001. Flat if calibrated, U-shaped if over-confident. Ties are broken at random by the seed.
    """
    samples, truths = _checked(samples, truths, least=1)
    n, m = len(samples), len(truths)
    order = _pool_ranks(samples, truths, np.random.default_rng(seed))
    ranks = _ranks_among_samples(order, np.arange(n, n + m)[None])[0]
    return (ranks[..., None] == np.arange(n + 1)).sum(0)


class RankFlatness(NamedTuple):
    """Distance of a rank histogram from flat, beside the distance expected by chance."""

    counts: Int64[np.ndarray, " ranks"]
    """Rank histogram over clips, points, coordinates and truths."""
    unevenness: float
    """Share of the counts, 0 to 1, that would have to change rank for a flat histogram (total variation distance)."""
    by_chance: float
    """95th percentile of the unevenness over random relabellings."""
    p: float
    """Share of relabellings at least as uneven; small if samples and truths differ in distribution."""


def rank_flatness(
    clouds: Sequence[tuple[Float[np.ndarray, "_ _ 2"], Float[np.ndarray, "_ _ 2"]]], *, seed: int, draws: int = 999
) -> RankFlatness:
    """Test by permutation whether truths and samples have one distribution.

    Points of a clip move together, so the counts are far from independent and a chi-squared test would reject always.
    Instead, each relabelling picks as many members of each clip's pool of samples and truths as there are truths, takes
    them as the truths, and ranks again. If samples and truths have one distribution, the real histogram is one of these
    draws, however points depend on each other. The p-value counts the real histogram as a draw.

    Args:
        clouds: Samples and truths of each clip; points may differ between clips, the number of samples may not.
        seed: Seed of the relabellings and of broken ties.
        draws: Number of relabellings.

    Raises:
        ValueError: No clips, clouds that do not match, or numbers of samples that differ.
    """
    if len({len(samples) for samples, _ in clouds}) != 1:
        raise ValueError("rank flatness: expected clips with equally many samples, and at least one clip")
    ranks = len(clouds[0][0]) + 1
    counts = np.zeros((draws + 1, ranks), np.int64)
    offsets = ranks * np.arange(draws + 1)[:, None]
    for number, cloud in enumerate(clouds):
        rng = np.random.default_rng([seed, number])
        samples, truths = _checked(*cloud, least=1)
        n, m = len(samples), len(truths)
        order = _pool_ranks(samples, truths, rng)
        played = rng.permuted(np.tile(np.arange(n + m), (draws, 1)), axis=1)[:, :m]
        chosen = np.concatenate([np.arange(n, n + m)[None], played])
        found = _ranks_among_samples(order, chosen).reshape(draws + 1, -1) + offsets
        counts += np.bincount(found.ravel(), minlength=counts.size).reshape(counts.shape)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    uneven = np.abs(shares - 1 / ranks).sum(1) / 2
    return RankFlatness(
        counts=counts[0],
        unevenness=float(uneven[0]),
        by_chance=float(np.percentile(uneven[1:], 95)),
        p=float((uneven >= uneven[0] - 1e-12).mean()),
    )


def likelihood_ranking(
    log_p_true: Float[np.ndarray, "b t"], log_p_false: Float[np.ndarray, "b k"], *, seed: int = 0
) -> Estimate:
    """Return the probability, 0 to 1, that a true future has a higher log p than a false one; 0.5 is chance.

    The area under the ROC curve (Hanley and McNeil 1982) within each clip, ties counting half; mean and bootstrap over
    clips.
    """
    true, false = np.asarray(log_p_true, np.float64), np.asarray(log_p_false, np.float64)
    if true.ndim != 2 or false.ndim != 2 or len(false) != len(true) or not true.shape[1] or not false.shape[1]:
        raise ValueError(
            f"likelihood ranking: got true futures {true.shape} and false ones {false.shape}, expected (clips, 1 or "
            "more) of both, for the same clips"
        )
    true, false = true[:, :, None], false[:, None]
    return estimate(((true > false) + 0.5 * (true == false)).mean((1, 2)), "", seed=seed)


def _checked(samples: Cloud, truths: Truths, *, least: int) -> tuple[Cloud, Truths]:
    samples, truths = np.asarray(samples, np.float64), np.asarray(truths, np.float64)
    if len(samples) < least or len(truths) < 1 or samples.shape[1:] != truths.shape[1:] or samples.shape[2:] != (2,):
        raise ValueError(
            f"clouds: got samples {samples.shape} and truths {truths.shape}, expected (n, k, 2) and (m, k, 2) with the "
            f"same k, n at least {least} and m at least 1"
        )
    if not (np.isfinite(samples).all() and np.isfinite(truths).all()):
        raise ValueError("clouds: got a place that is not finite")
    return samples, truths


def _distances(a: Float64[np.ndarray, "n k 2"], b: Float64[np.ndarray, "m k 2"]) -> Float64[np.ndarray, "n m"]:
    """Return the root mean squared distance over points between every two members, px."""
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1).mean(-1))


def _pool_ranks(samples: Cloud, truths: Truths, rng: np.random.Generator) -> Int64[np.ndarray, "pool k 2"]:
    """Rank samples and truths together in each coordinate, from 0, ties in random order."""
    pool = np.concatenate([samples, truths])
    order = np.lexsort((rng.random(pool.shape), pool), axis=0)
    return np.argsort(order, axis=0)


def _ranks_among_samples(
    order: Int64[np.ndarray, "pool k 2"], truths: Int64[np.ndarray, "draws m"]
) -> Int64[np.ndarray, "draws m k 2"]:
    """Turn ranks in the pool into the number of samples below, taking the given members as the truths."""
    ranks = order[truths]
    return ranks - np.argsort(np.argsort(ranks, axis=1), axis=1)
