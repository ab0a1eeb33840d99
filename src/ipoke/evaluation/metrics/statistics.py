"""From figures per clip to one figure with its uncertainty."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

Figures = list[float] | Float[np.ndarray, " n"]
"""One figure per clip."""
DRAWS = 1000
"""Resamplings of a bootstrap."""


class Estimate(NamedTuple):
    """A metric's value with a 95 % interval, or why there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    reason: str | None = None


def finite(found: Estimate) -> Estimate:
    """Give an estimate whose numbers are finite, or that there is none and why."""
    wrong = [name for name in ("value", "low", "high") if not math.isfinite(getattr(found, name) or 0.0)]
    if not wrong:
        return found
    said = ", ".join(f"its {name} is {getattr(found, name)}" for name in wrong)
    return unavailable(found.unit, f"not finite: {said} over {found.n}")


def estimate(values: Figures, unit: str, *, median: bool = False, seed: int = 0) -> Estimate:
    """Average figures of clips (or take the median), with a percentile bootstrap over clips (1,000 draws)."""
    array = np.asarray(values, np.float64)
    if len(array) == 0:
        return unavailable(unit, "no clip of the split allows this measurement")
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        return unavailable(unit, f"not finite in {wrong} of {len(array)} clips")
    summary = np.median if median else np.mean
    low, high = np.percentile(summary(array[_draws(len(array), seed)], axis=1), [2.5, 97.5])
    return Estimate(float(summary(array)), float(low), float(high), len(array), unit)


def ratio_estimate(numerators: Figures, denominators: Figures, unit: str, *, seed: int = 0) -> Estimate:
    """Divide the mean of one figure over clips by that of another, with a bootstrap that draws whole clips.

    A clip's numerator and denominator stay together, so that what they share cancels. There is no ratio where the 95 %
    interval of the denominator's mean includes 0.

    Raises:
        ValueError: There are not as many numerators as denominators.

    >>> ratio_estimate([1.0, 4.0], [2.0, 8.0], "")[:3]
    (0.5, 0.5, 0.5)
    """
    above, below = _paired(numerators, denominators)
    if len(above) == 0:
        return unavailable(unit, "no clip of the split allows this measurement")
    draws = _draws(len(above), seed)
    above_means, below_means = above[draws].mean(1), below[draws].mean(1)
    low, high = np.percentile(below_means, [2.5, 97.5])
    if low <= 0 <= high:
        return unavailable(unit, f"the denominator is not told from 0 (95 % interval {low:.3g} to {high:.3g})")
    told = below_means != 0
    low, high = np.percentile(above_means[told] / below_means[told], [2.5, 97.5])
    return Estimate(float(above.mean() / below.mean()), float(low), float(high), len(above), unit)


def paired_difference(a: Figures, b: Figures, unit: str, *, seed: int = 0) -> Estimate:
    """Give the mean of a - b, figures of two methods on the same clips, with a bootstrap over clips.

    What makes a clip hard for both cancels, so the interval is narrower than the two methods' own would suggest.

    Raises:
        ValueError: There are not as many figures of one as of the other.
    """
    first, second = _paired(a, b)
    return estimate(first - second, unit, seed=seed)


def unavailable(unit: str, reason: str) -> Estimate:
    """Say that a metric cannot be given, and why."""
    return Estimate(None, None, None, 0, unit, reason)


def _draws(clips: int, seed: int) -> Int64[np.ndarray, "draws n"]:
    return np.random.default_rng(seed).integers(clips, size=(DRAWS, clips))


def _paired(a: Figures, b: Figures) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired figures: got {len(first)} and {len(second)}, expected one of each for every clip")
    return first, second
