"""Means over clips with bootstrap intervals."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

Values = list[float] | Float[np.ndarray, " n"]
"""One number per clip."""
DRAWS = 1000
"""Resamples of a bootstrap."""


class Estimate(NamedTuple):
    """A metric's value with its 95 % interval and number of clips, or the reason why there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    reason: str | None = None


def finite(found: Estimate) -> Estimate:
    """Return an estimate if its numbers are finite, else one that is unavailable, with the reason."""
    wrong = [name for name in ("value", "low", "high") if not math.isfinite(getattr(found, name) or 0.0)]
    if not wrong:
        return found
    named = ", ".join(f"its {name} is {getattr(found, name)}" for name in wrong)
    return unavailable(found.unit, f"not finite: {named} over {found.n}")


def estimate(values: Values, unit: str, *, median: bool = False, seed: int = 0) -> Estimate:
    """Return the mean (or median) over clips with a percentile bootstrap over clips, 1,000 draws (Efron 1979)."""
    array = np.asarray(values, np.float64)
    if len(array) == 0:
        return unavailable(unit, "no clip of the split allows this measurement")
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        return unavailable(unit, f"not finite in {wrong} of {len(array)} clips")
    summary = np.median if median else np.mean
    low, high = np.percentile(summary(array[_draws(len(array), seed)], axis=1), [2.5, 97.5])
    return Estimate(float(summary(array)), float(low), float(high), len(array), unit)


def ratio_estimate(numerators: Values, denominators: Values, unit: str, *, seed: int = 0) -> Estimate:
    """Divide the mean of one number over clips by that of another, with a bootstrap that draws whole clips.

    A clip's numerator and denominator stay together, so that errors they share cancel. The ratio is unavailable if the
    95 % interval of the denominator's mean includes 0.

    Raises:
        ValueError: Numbers of numerators and denominators differ.

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
        return unavailable(unit, f"the denominator may be 0 (95 % interval {low:.3g} to {high:.3g})")
    nonzero = below_means != 0
    low, high = np.percentile(above_means[nonzero] / below_means[nonzero], [2.5, 97.5])
    return Estimate(float(above.mean() / below.mean()), float(low), float(high), len(above), unit)


def paired_difference(a: Values, b: Values, unit: str, *, seed: int = 0) -> Estimate:
    """Return the mean of a - b, numbers of two methods on the same clips, with a bootstrap over clips.

    The difficulty of a clip cancels, so the interval is narrower than those of the two methods suggest.

    Raises:
        ValueError: Numbers of clips differ.
    """
    first, second = _paired(a, b)
    return estimate(first - second, unit, seed=seed)


def unavailable(unit: str, reason: str) -> Estimate:
    """Make an estimate of a metric that is missing, with the reason."""
    return Estimate(None, None, None, 0, unit, reason)


def _draws(clips: int, seed: int) -> Int64[np.ndarray, "draws n"]:
    return np.random.default_rng(seed).integers(clips, size=(DRAWS, clips))


def _paired(a: Values, b: Values) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired figures: got {len(first)} and {len(second)}, expected one of each for every clip")
    return first, second
