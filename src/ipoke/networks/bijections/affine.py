"""The elementwise map that couplings and masked convolutions share: y = s x + t, the scale s = 2 sigmoid(a)."""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def split_parameters(
    parameters: Float[Tensor, "b twice_c h w"], like: Float[Tensor, "b c h w"], bound: float | None
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    r"""Split a conditioner's output into the shift t and log s, in the precision of ``like``.

    .. math:: s = 2 \sigma(a), \quad \log s = \log 2 + \log \sigma(a)

    Differs from the original: log s comes from a, not from s, and so stays finite where s underflows.
    """
    shift, logit = parameters.to(like.dtype).chunk(2, dim=1)
    return shift, log_scale(bounded(logit, bound))


def bounded(logit: Float[Tensor, "..."], bound: float | None) -> Float[Tensor, "..."]:
    r"""Keep the logit of a scale in (-bound, bound), :math:`B \tanh(a / B)`; None leaves it as it is.

    With no bound the scale reaches 0. With 2, as in the lean recipes, it stays in (0.24, 1.76). That alone does not
    keep the inverse from overflowing, because shifts grow with what conditioners see; see `seen`.
    """
    return logit if bound is None else bound * (logit / bound).tanh()


def seen(x: Float[Tensor, "..."], bound: float | None) -> Float[Tensor, "..."]:
    """Clamp what a conditioner sees of its input to [-bound, bound]; None leaves it as it is.

    Without a bound, shifts grow with the values that conditioners see, and from line to line and layer to layer the
    inverse of an extreme residual grows to 1e30. Clamped, shifts and scales are bounded, and so is that growth.
    Nearly all values are within the bound and are not changed. Differs from the original, which has no bound.
    """
    return x if bound is None else x.clamp(-bound, bound)


def log_scale(logit: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Give log s of a logit a."""
    return math.log(2) + F.logsigmoid(logit)


def total(log_scale: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Sum per-element log-scales into one log-determinant per sample, nats."""
    return log_scale.flatten(1).sum(1)
