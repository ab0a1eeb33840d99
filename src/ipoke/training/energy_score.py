"""A proper score of sampled motion, to descend: as low as it gets only where samples are drawn as the truth is."""

from jaxtyping import Float
from torch import Tensor

SMALL_PX = 0.1
"""Distances are rounded off below this, so that they can be descended to zero."""


def energy_score(
    first: Float[Tensor, "b t 2 h w"], second: Float[Tensor, "b t 2 h w"], truth: Float[Tensor, "b t 2 h w"]
) -> Float[Tensor, "b t h w"]:
    r"""Score two independent samples at every pixel, px, so that the mean over draws is the energy score.

    .. math:: \tfrac12 (|a - y| + |b - y|) - \tfrac12 |a - b|

    The first term asks samples to be near the truth, the second rewards that they differ; together they are least, in
    the mean, for samples from the true distribution (Gneiting and Raftery 2007, Sec. 4.3). Distances are
    :math:`\sqrt{|x|^2 + \epsilon^2} - \epsilon`, which keeps the score proper. A weight may depend on what the
    samples are drawn from, never on the truth.
    """
    to_truth = _distance(first, truth) + _distance(second, truth)
    return 0.5 * (to_truth - _distance(first, second))


def _distance(a: Float[Tensor, "b t 2 h w"], b: Float[Tensor, "b t 2 h w"]) -> Float[Tensor, "b t h w"]:
    return ((a - b).square().sum(2) + SMALL_PX**2).sqrt() - SMALL_PX
