"""The elementwise map that couplings and masked convolutions share: y = s x + t with a scale in (0, 2)."""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def split_parameters(
    parameters: Float[Tensor, "b twice_c h w"], like: Float[Tensor, "b c h w"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    r"""Split a conditioner's output into the shift t and log s, in the precision of ``like``.

    .. math:: s = 2 \sigma(a), \quad \log s = \log 2 + \log \sigma(a)

    Differs from the original: log s comes from a, not from s, and so stays finite where s underflows.
    """
    shift, logit = parameters.to(like.dtype).chunk(2, dim=1)
    return shift, math.log(2) + F.logsigmoid(logit)


def total(log_scale: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Sum per-element log-scales into one log-determinant per sample, nats."""
    return log_scale.flatten(1).sum(1)
