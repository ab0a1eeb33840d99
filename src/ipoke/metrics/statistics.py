"""From figures per clip to one figure with its uncertainty."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Estimate(NamedTuple):
    """A metric's value with a 95 % interval, or why there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    reason: str | None = None


def estimate(
    values: list[float] | Float[np.ndarray, " n"], unit: str, *, median: bool = False, seed: int = 0
) -> Estimate:
    """Average figures of clips (or take the median), with a percentile bootstrap over clips (1,000 draws)."""
    array = np.asarray(values, np.float64)
    if len(array) == 0:
        return unavailable(unit, "no clip of the split allows this measurement")
    summary = np.median if median else np.mean
    draws = np.random.default_rng(seed).integers(len(array), size=(1000, len(array)))
    low, high = np.percentile(summary(array[draws], axis=1), [2.5, 97.5])
    return Estimate(float(summary(array)), float(low), float(high), len(array), unit)


def unavailable(unit: str, reason: str) -> Estimate:
    """Say that a metric cannot be given, and why."""
    return Estimate(None, None, None, 0, unit, reason)
