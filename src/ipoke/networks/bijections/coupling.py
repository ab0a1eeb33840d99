"""Affine coupling: one part of the channels decides how another part is scaled and shifted."""

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.bijections.affine import seen, split_parameters, total
from ipoke.networks.bijections.bijection import Bijection, Transformed, working_dtype
from ipoke.networks.bijections.weight_norm import WeightNormConv2d

Part: TypeAlias = Literal["first half", "second half", "even", "odd"]


class AffineCoupling(Bijection):
    r"""Scale and shift some channels by amounts that a network computes from the others.

    .. math:: y_a = s \, x_a + t, \quad y_b = x_b, \quad (t, a) = \mathrm{net}(x_b, c), \quad s = 2 \sigma(a)

    The network is a 3x3 convolution, ELU, a 1x1 convolution, ELU, and a 3x3 convolution with weight normalisation.
    Source: Dinh et al. 2017, "Density estimation using Real NVP", Sec. 3.2; the scale of Ma et al. 2019 ("MaCow").

    >>> import torch
    >>> coupling = AffineCoupling(4, "second half", width=8)
    >>> y, log_det = coupling(torch.randn(2, 4, 8, 8))
    >>> y.shape, log_det.tolist()  # its last convolution starts at zero, and so the map as the identity
    (torch.Size([2, 4, 8, 8]), [0.0, 0.0])

    Args:
        channels: Channels of the input, at least 2.
        transformed: Which channels are transformed: a named half, or how many at the end.
        width: Hidden channels of the network.
        cond_channels: Condition channels concatenated after the network's first convolution, as in `MaskedConv` (at
            the input they would cost nine times as much); None leaves the condition out, as the original does in all
            its couplings.
        logit_bound: Bound on the logits of the scales, see `ipoke.networks.bijections.affine.bounded`.
        seen_bound: Bound on what the network sees of the input, see `ipoke.networks.bijections.affine.seen`.
    """

    def __init__(
        self,
        channels: int,
        transformed: Part | int,
        width: int,
        cond_channels: int | None = None,
        logit_bound: float | None = None,
        seen_bound: float | None = None,
    ) -> None:
        super().__init__(channels, cond_channels)
        if channels < 2:
            raise ValueError(f"AffineCoupling: channels: got {channels}, expected at least 2")
        self.logit_bound, self.seen_bound = logit_bound, seen_bound
        self.transformed, self.kept = _parts(channels, transformed)
        count = len(range(channels)[self.transformed])
        self.conv = nn.Conv2d(channels - count, width, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(width + (cond_channels or 0), width, 1, bias=False)
        self.project = WeightNormConv2d(width, 2 * count, 3)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Scale and shift the transformed part."""
        x = self.checked(x, cond)
        part = x[:, self.transformed]
        shift, log_scale = self._shift_and_log_scale(x, part, cond)
        return self._with_part(x, part * log_scale.exp() + shift), total(log_scale)

    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Undo the shift and scale of the transformed part."""
        y = self.checked(y, cond)
        part = y[:, self.transformed]
        shift, log_scale = self._shift_and_log_scale(y, part, cond)
        return self._with_part(y, (part - shift) * (-log_scale).exp()), -total(log_scale)

    def inverse_vjp(
        self,
        x: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b k h w"] | None,
        gradient: Float[Tensor, "b c h w"],
        tolerance: float = 0.0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        r"""Divide the gradient of the transformed part by its scale, and correct that of the others; exact.

        .. math:: g_{y_a} = g_{x_a} / s, \quad g_{y_b} = g_{x_b} - (\partial y_a / \partial x_b)^\top g_{y_a}
        """
        part = self.checked(x, cond)[:, self.transformed].detach()
        with torch.enable_grad():
            seen = x.detach().requires_grad_()
            shift, log_scale = self._shift_and_log_scale(seen, part, cond)
            mapped = part * log_scale.exp() + shift
            of_part = gradient[:, self.transformed] * (-log_scale.detach()).exp()
            (of_seen,) = torch.autograd.grad(mapped, seen, of_part)
        return self._with_part(x, mapped.detach()), self._with_part(gradient - of_seen, of_part)

    def _shift_and_log_scale(self, x: Tensor, part: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        dtype = working_dtype(x, self.conv.weight)
        hidden = F.conv2d(seen(x[:, self.kept], self.seen_bound).to(dtype), self.conv.weight.to(dtype), padding=1)
        if self.cond_channels is not None and cond is not None:
            hidden = torch.cat([hidden, cond.to(hidden.dtype)], dim=1)
        return split_parameters(
            self.project(F.elu(F.conv2d(F.elu(hidden), self.mix.weight.to(dtype)))), part, self.logit_bound
        )

    def _with_part(self, x: Tensor, part: Tensor) -> Tensor:
        result = x.clone()
        result[:, self.transformed] = part
        return result

    def extra_repr(self) -> str:
        """Give the sizes."""
        return f"{self.channels}, transformed={self.transformed}, cond_channels={self.cond_channels}"


def _parts(channels: int, transformed: Part | int) -> tuple[slice, slice]:
    """Give the slices of the transformed and of the kept channels."""
    half = channels // 2
    match transformed:
        case "second half":
            return slice(half, None), slice(half)
        case "first half":
            return slice(half), slice(half, None)
        case "odd":
            return slice(1, None, 2), slice(0, None, 2)
        case "even":
            return slice(0, None, 2), slice(1, None, 2)
        case int(count) if 0 < count < channels:
            return slice(channels - count, None), slice(channels - count)
        case _:
            raise ValueError(f"AffineCoupling: transformed channels: got {transformed}, expected 1 to {channels - 1}")
