"""Levels that send part of the channels straight to the residual, so that later levels work on fewer."""

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.bijection import Bijection, Transformed
from ipoke.networks.bijections.chain import Chain, shared_cond_channels
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.permutation import Permutation


class LastChannels(Bijection):
    """Apply a bijection to the last channels of a wider tensor and leave the others as they are.

    Args:
        channels: Channels of the wider tensor.
        inner: The bijection; its ``channels`` says how many are the last ones.
    """

    def __init__(self, channels: int, inner: Bijection) -> None:
        super().__init__(channels, inner.cond_channels)
        if inner.channels > channels:
            raise ValueError(f"LastChannels: channels: got {channels}, expected at least {inner.channels}")
        self.inner = inner

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Map the last channels."""
        others, last = self._split(self.checked(x, cond))
        last, log_det = self.inner(last, cond)
        return torch.cat([others, last], dim=1), log_det

    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Map the last channels back."""
        others, last = self._split(self.checked(y, cond))
        last, log_det = self.inner.inverse(last, cond)
        return torch.cat([others, last], dim=1), log_det

    @torch.no_grad()
    def inverse_vjp(
        self,
        x: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b k h w"] | None,
        gradient: Float[Tensor, "b c h w"],
        tolerance: float = 0.0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Apply that of the inner bijection to the last channels."""
        (others, last), (of_others, of_last) = self._split(x), self._split(gradient)
        last, of_last = self.inner.inverse_vjp(last, cond, of_last, tolerance)
        return torch.cat([others, last], dim=1), torch.cat([of_others, of_last], dim=1)

    def initialise(
        self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Initialise the inner bijection on the last channels."""
        others, last = self._split(self.checked(x, cond))
        return torch.cat([others, self.inner.initialise(last, cond)], dim=1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.channels - self.inner.channels], x[:, self.channels - self.inner.channels :]


class Multiscale(Bijection):
    r"""Run levels of falling width; after each level, the channels that the next does not take are done.

    .. math:: (x_1, d_1) = f_1(x), \quad (x_2, d_2) = f_2(x_1), \quad \dots, \quad y = (x_n, d_n, \dots, d_1)

    Source: Dinh et al. 2017, "Density estimation using Real NVP", Sec. 3.6, without its squeezing.

    >>> from ipoke.networks.bijections.permutation import Permutation
    >>> levels = Multiscale([Permutation(6), Permutation(4)], last_channels=2)
    >>> levels.widths
    [6, 4, 2]

    Args:
        levels: Each takes fewer channels than the one before.
        last_channels: Channels that the last level leaves for the first place of the result.

    Raises:
        ValueError: The numbers of channels do not fall.
    """

    def __init__(self, levels: Sequence[Bijection], last_channels: int) -> None:
        widths = [level.channels for level in levels] + [last_channels]
        if any(narrow >= wide for wide, narrow in itertools.pairwise(widths)) or last_channels < 1:
            raise ValueError(f"Multiscale: channels per level: got {widths}, expected falling numbers")
        super().__init__(widths[0], shared_cond_channels(levels))
        self.levels = nn.ModuleList(levels)
        self.widths = widths

    def ordered(self) -> list[Bijection]:
        """Give the levels, first to last."""
        return cast(list[Bijection], list(self.levels))

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Run the levels first to last."""
        x = self.checked(x, cond)
        log_det = x.new_zeros(len(x))
        done: list[Tensor] = []
        for level, keep in zip(self.ordered(), self.widths[1:], strict=True):
            x, change = level(x, cond)
            log_det = log_det + change
            done.append(x[:, keep:])
            x = x[:, :keep]
        return torch.cat([x, *reversed(done)], dim=1), log_det

    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Run the levels last to first, each on as many of the first channels as it is wide."""
        y = self.checked(y, cond)
        log_det = y.new_zeros(len(y))
        for level in reversed(self.ordered()):
            head, change = level.inverse(y[:, : level.channels], cond)
            log_det = log_det + change
            y = torch.cat([head, y[:, level.channels :]], dim=1)
        return y, log_det

    @torch.no_grad()
    def inverse_vjp(
        self,
        x: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b k h w"] | None,
        gradient: Float[Tensor, "b c h w"],
        tolerance: float = 0.0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Apply that of each level, first to last."""
        done: list[tuple[Tensor, Tensor]] = []
        for level, keep in zip(self.ordered(), self.widths[1:], strict=True):
            x, gradient = level.inverse_vjp(x, cond, gradient, tolerance)
            done.append((x[:, keep:], gradient[:, keep:]))
            x, gradient = x[:, :keep], gradient[:, :keep]
        values, gradients = zip((x, gradient), *reversed(done), strict=True)
        return torch.cat(values, dim=1), torch.cat(gradients, dim=1)

    def initialise(
        self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Initialise the levels first to last."""
        done: list[Tensor] = []
        for level, keep in zip(self.ordered(), self.widths[1:], strict=True):
            x = level.initialise(x, cond)
            done.append(x[:, keep:])
            x = x[:, :keep]
        return torch.cat([x, *reversed(done)], dim=1)


def factor_out(
    channels: int,
    drop: int,
    width: int,
    cond_channels: int | None,
    logit_bound: float | None = None,
    seen_bound: float | None = None,
) -> Chain:
    """Prepare the split of the last ``drop`` channels: predict them from the others, normalise them, and mix.

    The original's order is kept: the permutation that ends the layer means that the channels that leave are a random
    mix, not the ones just predicted. Harmless, and needed to compute the same function.
    """
    return Chain(
        [
            Permutation(channels),
            AffineCoupling(channels, drop, width, cond_channels, logit_bound, seen_bound),
            LastChannels(channels, ActNorm(drop)),
            Permutation(channels),
        ]
    )
