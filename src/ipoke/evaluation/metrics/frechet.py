"""The Frechet distance between two sets of clips, from the Gaussians fitted to their features.

d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2) for means m and covariances C (Dowson & Landau 1982). With
I3D features it is FVD (Unterthiner et al. 2018); with other features it has another name.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Float64

from ipoke.core.errors import InputError

KEPT = 0.8
"""Share of the clips that each draw of an interval keeps."""


@dataclass(frozen=True)
class GaussianStatistics:
    """Number, mean and scatter of a set of features, in float64."""

    count: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]
    """Sum of the outer products of the deviations from the mean."""

    @classmethod
    def of(cls, features: Float[np.ndarray, "n d"]) -> Self:
        """Compute the statistics of features."""
        rows = np.asarray(features, np.float64)
        mean = rows.mean(0)
        return cls(len(rows), mean, (rows - mean).T @ (rows - mean))

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """Unbiased covariance, with n - 1 in its denominator, as common implementations of FID and FVD.

        Raises:
            InputError: There are not more clips than features, so that the covariance is singular.
        """
        dimension = len(self.mean)
        if self.count <= dimension:
            raise InputError(
                f"Frechet distance: got {self.count} clips for {dimension} features, "
                f"expected at least {dimension + 1}; evaluate more clips"
            )
        return self.scatter / (self.count - 1)


class FrechetInterval(NamedTuple):
    """A Frechet distance with its 95 % interval and its bias from the finite number of clips."""

    value: float
    low: float
    high: float
    bias: float
    """Estimate of how much too large the value is because the sets are finite; value, low and high include it."""


def frechet_distance(first: GaussianStatistics, second: GaussianStatistics) -> float:
    """Return the squared Frechet distance of the Gaussians fitted to two sets: at least 0, in squared feature units.

    Raises:
        InputError: A set has no more clips than features.
    """
    a, b = first.covariance, second.covariance
    values, vectors = np.linalg.eigh(a)
    # A^1/2 B A^1/2 in the eigenvectors of A: it has the eigenvalues of A B, and is symmetric.
    root = np.sqrt(values.clip(0))
    product = root[:, None] * (vectors.T @ b @ vectors) * root
    cross = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    distance = np.square(first.mean - second.mean).sum() + np.trace(a) + np.trace(b) - 2 * cross
    return max(float(distance), 0.0)


def frechet_interval(
    real: Float[np.ndarray, "n d"],
    fake: Float[np.ndarray, "m d"],
    draws: int = 100,
    seed: int = 0,
    *,
    paired: bool = False,
) -> FrechetInterval:
    """Return the Frechet distance of two sets of features with an interval over clips, by subsampling.

    With few clips the distance is too large, because noise in means and covariances counts as a difference. Bootstrap
    draws contain copies of clips, which act like fewer clips still: their distances lie above the value, and a
    percentile interval may not contain it. Each draw here keeps four fifths of the clips, each once (more where the
    features need more clips). Only the variance of the draws around their own mean is used, scaled as in the delete-d
    jackknife (Shao & Wu 1989): variance = kept / dropped x variance of the draws. The interval is that of the distance
    at this number of clips, bias included, so compare distances of equal numbers of clips alone. The bias is
    proportional to 1 / n, so the mean of the draws estimates it; near the smallest possible n the bias is larger.

    Args:
        real: Features of true clips.
        fake: Features of generated clips.
        draws: Number of subsamples; each costs one Frechet distance.
        seed: Seed of the subsamples.
        paired: Row i of both sets belongs to the same question, so that both are dropped together.

    Raises:
        InputError: Fewer clips than the number of features and two.
    """
    if paired and len(real) != len(fake):
        raise ValueError(f"frechet_interval: got {len(real)} and {len(fake)} clips, expected as many of both in pairs")
    value = frechet_distance(GaussianStatistics.of(real), GaussianStatistics.of(fake))
    fewest, needed = min(len(real), len(fake)), real.shape[1] + 1
    if fewest <= needed:
        raise InputError(
            f"Frechet distance: got {fewest} clips for {real.shape[1]} features, "
            f"expected at least {needed + 1} to leave one out for the interval; evaluate more clips"
        )
    kept = max(KEPT, needed / fewest)
    counts = [min(round(kept * len(rows) + 0.5), len(rows) - 1) for rows in (real, fake)]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        first = rng.permutation(len(real))[: counts[0]]
        second = first if paired else rng.permutation(len(fake))[: counts[1]]
        drawn.append(frechet_distance(GaussianStatistics.of(real[first]), GaussianStatistics.of(fake[second])))
    scale = counts[0] / (len(real) - counts[0])
    margin = 1.96 * float(np.std(drawn, ddof=1)) * scale**0.5
    bias = (float(np.mean(drawn)) - value) * scale
    return FrechetInterval(value, max(value - margin, 0.0), value + margin, bias)
