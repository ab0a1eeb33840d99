"""Whether samples are spread as true futures are: proper scores, coverage, spread against error, ranks.

A cloud is n samples of k points, ``n k 2`` px; truths are m futures of the same points, ``m k 2``. A point of a whole
trajectory counts once per frame. Samples and truths must be measured in the same way, so that what is wrong with the
measurement is in both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from ipoke.evaluation.metrics.statistics import Estimate, Figures, estimate, ratio_estimate

MOVES_PX = 0.5
"""A point further than this from its place in the picture, in any sample or truth, counts as one that moves."""
TIE_PX = 1e-6
"""Distances that differ by less are equal."""

Cloud = Float[np.ndarray, "n k 2"]
Truths = Float[np.ndarray, "m k 2"]


def energy_score(samples: Cloud, truths: Truths) -> float:
    """Score a cloud against truths (Gneiting and Raftery 2007, eq. 22); lower is better, the truth's own law is best.

    The mean over truths y of E|X - y| - E|X - X'| / 2, X and X' two different samples: means over all n samples and
    over all n (n - 1) ordered pairs, so that the score is unbiased at any n. |.| is the Euclidean norm of all k points'
    displacements together, divided by sqrt(k): px, root mean square over points. A single sample is taken for all
    that can happen, without spread; a stochastic model needs two or more.

    >>> here, there = np.zeros((1, 3, 2)), np.full((1, 3, 2), [3.0, 4.0])
    >>> energy_score(here, there)
    5.0
    """
    samples, truths = _checked(samples, truths, least=1)
    n = len(samples)
    between = 0.0 if n == 1 else float(_distances(samples, samples).sum()) / (n * (n - 1))
    return float(_distances(samples, truths).mean()) - between / 2


def energy_skill(model: Figures, copy: Figures, oracle: Figures) -> Estimate:
    """Place a model between copying the picture (0) and true futures (1), by energy scores of the same clips.

    (copy - model) / (copy - oracle), means over clips, with a bootstrap that draws whole clips. The oracle's samples
    are true futures other than those scored against. Negative where copying is better; there is no skill where copying
    is not told from the oracle.
    """
    gained = np.asarray(copy, np.float64) - np.asarray(model, np.float64)
    possible = np.asarray(copy, np.float64) - np.asarray(oracle, np.float64)
    skill = ratio_estimate(gained, possible, "")
    if skill.value is not None or len(possible) == 0:
        return skill
    return skill._replace(reason="on these clips, copying the picture scores no differently than true futures do")


def moving_points(samples: Cloud, truths: Truths, start: Float[np.ndarray, "k 2"]) -> Bool[np.ndarray, " k"]:
    """Tell which points to judge: those that any sample or any truth takes more than 0.5 px from their ``start``.

    The rest is background, at which every model is right. Samples and truths play the same part in the rule, so it does
    not favour either: what holds for exchangeable clouds holds for the points that remain.
    """
    samples, truths = _checked(samples, truths, least=1)
    return (np.linalg.norm(np.concatenate([samples, truths]) - start, axis=-1) > MOVES_PX).any(0)


def coverage(samples: Cloud, truths: Truths, level: float) -> Float64[np.ndarray, " k"]:
    """Give, for each point, the share of truths within the central ``level`` of the cloud; calibrated: ``level``.

    A truth and the n samples make a pool of n + 1 places. Each place's statistic is its mean distance to the n others,
    and the truth is covered if its rank by it, most central first, is among the first level (n + 1). The pool treats
    all alike, so a truth drawn as the samples are has every rank equally often, whatever the law. The rank on the
    boundary, and ranks shared by equal statistics, count by the part of them that lies within: the expectation is then
    ``level`` exactly, at any n. A truth outside everything is counted with what level (n + 1) exceeds n, so the level
    should be at most n / (n + 1). Says nothing about places between two modes, which are as central as the modes.

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


def spread_and_error(samples: Cloud, truths: Truths) -> tuple[float, float]:
    """Give the variance that a clip's cloud claims and the squared error of its mean, px^2, means over points.

    The variance is the unbiased one of both coordinates together, times (n + 1) / n: so much squared error a truth
    drawn as the samples are has, as the mean of n samples is itself off by a share 1 / n.

    Raises:
        ValueError: There are fewer than two samples, or the clouds do not match.
    """
    samples, truths = _checked(samples, truths, least=2)
    n = len(samples)
    spread = samples.var(0, ddof=1).sum(-1).mean() * (n + 1) / n
    error = ((truths - samples.mean(0)) ** 2).sum(-1).mean()
    return float(spread), float(error)


def spread_error_ratio(spreads: Figures, errors: Figures) -> Estimate:
    """Divide the root mean spread by the root mean squared error (Fortin et al. 2014), both of `spread_and_error`.

    1 where spread and error agree, below 1 for an over-confident model. Means over clips come first, then their ratio,
    then the root; the bootstrap draws whole clips.
    """
    ratio = ratio_estimate(spreads, errors, "")
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return ratio
    value, low, high = (float(np.sqrt(one)) for one in (ratio.value, ratio.low, ratio.high))
    return ratio._replace(value=value, low=low, high=high)


def rank_histogram(samples: Cloud, truths: Truths, *, seed: int) -> Int64[np.ndarray, "k 2 ranks"]:
    """Count, for each coordinate of each point, how many samples lie below a truth: 0 to n, one count per truth.

    Among equal values the truth's place is drawn by the seed. Flat where calibrated, a U where over-confident.
    """
    samples, truths = _checked(samples, truths, least=1)
    n, m = len(samples), len(truths)
    order = _pool_ranks(samples, truths, np.random.default_rng(seed))
    ranks = _ranks_among_samples(order, np.arange(n, n + m)[None])[0]
    return (ranks[..., None] == np.arange(n + 1)).sum(0)


class RankFlatness(NamedTuple):
    """How far the ranks of truths are from flat, and how far they would be by chance."""

    counts: Int64[np.ndarray, " ranks"]
    """Over clips, points, coordinates and truths."""
    unevenness: float
    """Share of the counts that would have to move for all ranks to be equally frequent."""
    by_chance: float
    """Unevenness that 95 in 100 exchangeable relabellings stay below."""
    p: float
    """Share of relabellings at least as uneven; small where samples and truths are not of one law."""


def rank_flatness(clouds: Sequence[tuple[Cloud, Truths]], *, seed: int, draws: int = 999) -> RankFlatness:
    """Test whether the truths of clips rank among their samples as any sample would.

    Points of a clip move together, so counts are far from independent and a chi-squared test would find unevenness
    everywhere. Instead each draw picks, in every clip, as many members of the pool of samples and truths as there are
    truths, lets them play the truths, and ranks anew: if samples and truths are of one law, the real histogram is one
    of these draws, whatever the dependence between points. The p-value counts the real one as a draw.

    Args:
        clouds: Samples and truths of each clip; points may differ from clip to clip, numbers of samples may not.
        seed: Decides draws and places among equal values.
        draws: Relabellings.

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
    """Give the probability that a true future has a higher log p than a false one of its clip; 0.5 is guessing.

    The area under the ROC curve within each clip, equal values counting half; mean and bootstrap over clips.
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
    """Give the root mean squared distance over points between every two members, px."""
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1).mean(-1))


def _pool_ranks(samples: Cloud, truths: Truths, rng: np.random.Generator) -> Int64[np.ndarray, "pool k 2"]:
    """Rank samples and truths together in each coordinate, from 0, equal values in random order."""
    pool = np.concatenate([samples, truths])
    order = np.lexsort((rng.random(pool.shape), pool), axis=0)
    return np.argsort(order, axis=0)


def _ranks_among_samples(
    order: Int64[np.ndarray, "pool k 2"], truths: Int64[np.ndarray, "draws m"]
) -> Int64[np.ndarray, "draws m k 2"]:
    """Turn ranks in the pool into the number of samples below, where the given members are the truths."""
    ranks = order[truths]
    return ranks - np.argsort(np.argsort(ranks, axis=1), axis=1)
