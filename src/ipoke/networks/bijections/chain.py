"""Bijections one after another, and the step of masked convolutions and couplings that the latent flow repeats."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.bijection import Bijection, Transformed
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.bijections.permutation import Permutation


class Chain(Bijection):
    r"""Apply bijections in turn; each gets the same condition, and log-determinants add up.

    .. math:: y = (f_n \circ \dots \circ f_1)(x), \quad \log|\det| = \sum_i \log|\det \partial f_i|

    >>> import torch
    >>> from ipoke.networks.bijections.permutation import Permutation
    >>> chain = Chain([ActNorm(4), Permutation(4)])
    >>> x = torch.randn(2, 4, 8, 8)
    >>> y, log_det = chain(x)
    >>> x_again, log_det_back = chain.inverse(y)
    >>> torch.allclose(x, x_again), (log_det + log_det_back).tolist()
    (True, [0.0, 0.0])

    Args:
        layers: At least one, all of the same number of channels.

    Raises:
        ValueError: There is no layer, or two of them expect other channels or other conditions.
    """

    def __init__(self, layers: Sequence[Bijection]) -> None:
        if not layers:
            raise ValueError("Chain: layers: got 0, expected at least 1")
        for layer in layers:
            if layer.channels != layers[0].channels:
                raise ValueError(f"Chain: channels: got {layer.channels} after {layers[0].channels}")
        super().__init__(layers[0].channels, shared_cond_channels(layers))
        self.layers = nn.ModuleList(layers)

    def ordered(self) -> list[Bijection]:
        """Give the layers, first to last."""
        return cast(list[Bijection], list(self.layers))

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Apply the layers first to last."""
        x = self.checked(x, cond)
        log_det = x.new_zeros(len(x))
        for layer in self.ordered():
            x, change = layer(x, cond)
            log_det = log_det + change
        return x, log_det

    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Undo the layers last to first."""
        y = self.checked(y, cond)
        log_det = y.new_zeros(len(y))
        for layer in reversed(self.ordered()):
            y, change = layer.inverse(y, cond)
            log_det = log_det + change
        return y, log_det

    @torch.no_grad()
    def inverse_vjp(
        self,
        x: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b k h w"] | None,
        gradient: Float[Tensor, "b c h w"],
        tolerance: float = 0.0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Apply that of each layer, first to last."""
        for layer in self.ordered():
            x, gradient = layer.inverse_vjp(x, cond, gradient, tolerance)
        return x, gradient

    def initialise(
        self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Initialise each layer on what the layers before it, already initialised, make of the batch."""
        for layer in self.ordered():
            x = layer.initialise(x, cond)
        return x


def shared_cond_channels(layers: Sequence[Bijection]) -> int | None:
    """Give the condition channels that the conditional ones among the layers agree on; None if there are none.

    Raises:
        ValueError: Two layers expect different conditions.
    """
    counts = {layer.cond_channels for layer in layers} - {None}
    if len(counts) > 1:
        raise ValueError(f"condition channels: layers expect {sorted(map(str, counts))}, they must agree")
    return counts.pop() if counts else None


def masked_unit(
    channels: int,
    width: int,
    cond_channels: int | None,
    logit_bound: float | None = None,
    seen_bound: float | None = None,
) -> Chain:
    """Masked convolutions that walk down, up, right and left, with an `ActNorm` after each pair.

    Paper: Sec. 3.2. Source: Ma et al. 2019, "MaCow: Masked convolutional generative flow". Arguments as `MaskedConv`.
    """
    return Chain(
        [
            MaskedConv(channels, "down", width, cond_channels, logit_bound, seen_bound),
            MaskedConv(channels, "up", width, cond_channels, logit_bound, seen_bound),
            ActNorm(channels),
            MaskedConv(channels, "right", width, cond_channels, logit_bound, seen_bound),
            MaskedConv(channels, "left", width, cond_channels, logit_bound, seen_bound),
            ActNorm(channels),
        ]
    )


def masked_step(
    channels: int,
    *,
    units: int,
    masked_width: int,
    coupling_width: int,
    cond_channels: int | None,
    coupling_cond_channels: int | None,
    logit_bound: float | None = None,
    seen_bound: float | None = None,
) -> Chain:
    """One step: two half steps of units and couplings, the first over channel halves, the second over even and odd.

    Args:
        channels: Channels of the input.
        units: Masked units in each half step.
        masked_width: Hidden channels of masked convolutions, as a multiple of ``channels``.
        coupling_width: Hidden channels of couplings.
        cond_channels: Condition channels that masked convolutions see.
        coupling_cond_channels: Condition channels that couplings see; None in the original.
        logit_bound: See `ipoke.networks.bijections.affine.bounded`.
        seen_bound: See `ipoke.networks.bijections.affine.seen`.
    """
    layers: list[Bijection] = []
    for half in ("halves", "alternating"):
        layers.append(ActNorm(channels))
        if half == "halves":
            layers.append(Permutation(channels))
        layers.extend(masked_unit(channels, masked_width, cond_channels, logit_bound, seen_bound) for _ in range(units))
        parts = ("second half", "first half") if half == "halves" else ("odd", "even")
        layers.extend(
            AffineCoupling(channels, part, coupling_width, coupling_cond_channels, logit_bound, seen_bound)
            for part in parts
        )
    return Chain(layers)
