"""Error of the round trip of residuals, r to z to r, at several standard deviations."""

from jaxtyping import Float
from torch import Tensor

from ipoke.evaluation.metrics.statistics import Estimate, unavailable
from ipoke.networks.round_trip import SCALES, round_trip_errors
from ipoke.sampling.model import PokeModel

RESIDUALS = 16
"""Residuals per condition."""
UNIT = "of the largest |r|"
ABOUT_ROUND_TRIPS = {
    f"residual_round_trip_{scale}x": f"largest |r' - r| of n residuals of standard deviation {scale}, r to z to r'"
    for scale in SCALES
}


def measure_round_trips(model: PokeModel, conds: Float[Tensor, "b k h w"]) -> dict[str, Estimate]:
    """Measure the largest error, relative to the largest |r|, over conditions; unavailable if one is not finite."""
    found = {}
    for name, scale in zip(ABOUT_ROUND_TRIPS, SCALES, strict=True):
        errors = round_trip_errors(model.latent_flow, conds, scale, range(RESIDUALS))
        lost = int((~errors.isfinite()).sum())
        found[name] = (
            unavailable(UNIT, f"not finite for {lost} of {len(errors)} residuals")
            if lost
            else Estimate(float(errors.max()), None, None, len(errors), UNIT)
        )
    return found
