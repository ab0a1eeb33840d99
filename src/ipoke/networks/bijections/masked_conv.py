"""Masked convolution: a bijection that is autoregressive over rows or columns, with an exact inverse.

Each element is scaled and shifted by amounts that a small network computes from the two rows (or columns) before it,
so the forward pass is one convolution and the inverse solves row after row.
"""

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.bijections.affine import bounded, log_scale, seen, split_parameters, total
from ipoke.networks.bijections.bijection import Bijection, Transformed, working_dtype
from ipoke.networks.bijections.weight_norm import WeightNormConv2d

Sweep: TypeAlias = Literal["down", "up", "right", "left"]
"""The way in which the inverse walks the grid; the network sees the two lines that it has left behind."""

PADDING = {"down": (1, 1, 2, -1), "up": (1, 1, -1, 2), "right": (2, -1, 1, 1), "left": (-1, 2, 1, 1)}
"""Left, right, top and bottom padding that lets an unmasked kernel see only lines already solved."""


class MaskedConv(Bijection):
    r"""Scale and shift each element by amounts that a network computes from the two lines before it.

    .. math::
        y_{ij} = s_{ij} \, x_{ij} + t_{ij}, \quad (t, a)_{ij} = \mathrm{net}(x_{i-2:i-1,\,j-1:j+1}, c_{ij}), \quad
        s = 2 \sigma(a)

    The Jacobian is triangular in the order of lines, so its log-determinant is the sum of log s. The network is a
    convolution of 2x3 (rows) or 3x2 (columns), to which the condition is concatenated, ELU, and a 1x1 convolution. Each
    element sees its neighbours in the two lines before its own, and the condition at its place.

    Paper: Sec. 3.2. Source: Ma et al. 2019, "MaCow: Masked convolutional generative flow". Differs from the paper,
    like the original: the condition enters after the first convolution.

    >>> import torch
    >>> layer = MaskedConv(4, "down", width=2)
    >>> _ = torch.nn.init.normal_(layer.project.gain)
    >>> x = torch.randn(1, 4, 8, 8)
    >>> y, _ = layer(x)
    >>> [torch.allclose(y[:, :, line], x[:, :, line]) for line in (0, 1)]  # the first line has none before it
    [True, False]
    >>> torch.allclose(layer.inverse(y)[0], x, atol=1e-4)
    True

    Args:
        channels: Channels of the input.
        sweep: The way the inverse walks, orders A to D of the original: down, up, right, left.
        width: Hidden channels, as a multiple of ``channels``.
        cond_channels: Channels of the condition; None for an unconditional layer.
        logit_bound: Bound on the logits of the scales, see `ipoke.networks.bijections.affine.bounded`.
        seen_bound: Bound on what the network sees of the input, see `ipoke.networks.bijections.affine.seen`.
    """

    def __init__(
        self,
        channels: int,
        sweep: Sweep,
        width: int,
        cond_channels: int | None = None,
        logit_bound: float | None = None,
        seen_bound: float | None = None,
    ) -> None:
        super().__init__(channels, cond_channels)
        self.sweep: Sweep = sweep
        self.logit_bound, self.seen_bound = logit_bound, seen_bound
        hidden = width * channels
        size = (2, 3) if sweep in ("down", "up") else (3, 2)
        self.conv = nn.Conv2d(channels, hidden, size, bias=False)
        self.project = WeightNormConv2d(hidden + (cond_channels or 0), 2 * channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Scale and shift every element at once."""
        x = self.checked(x, cond)
        shift, log_s = split_parameters(self.project(F.elu(self._hidden(x, cond))), x, self.logit_bound)
        return x * log_s.exp() + shift, total(log_s)

    def _hidden(self, x: Tensor, cond: Tensor | None) -> Float[Tensor, "b k2 h w"]:
        given = F.pad(seen(x, self.seen_bound), PADDING[self.sweep])
        hidden = F.conv2d(given, self.conv.weight.to(working_dtype(x, self.conv.weight)))
        if self.cond_channels is None or cond is None:
            return hidden
        return torch.cat([hidden, cond.to(hidden.dtype)], dim=1)

    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Solve line after line; exact, with as many steps as there are lines.

        What does not depend on solved lines is computed before the walk; a step is two matrix products.
        """
        y = self.checked(y, cond)
        batch, channels = y.shape[:2]
        known, hidden_weight = self._known_part(y, cond)
        neighbours = self._neighbour_weights(y.dtype)
        hidden = pending = torch.zeros((), dtype=y.dtype, device=y.device)
        solved, logits = [], []
        for parameters in known:
            if solved:
                parameters = torch.addmm(parameters, F.elu(hidden), hidden_weight)
            half, negative_logit = parameters.chunk(2, dim=1)
            negative_logit = bounded(negative_logit, self.logit_bound)
            x = torch.addcmul(half, half, negative_logit.exp())  # (y - t) / s, for 1 / s = (1 + exp(-a)) / 2
            visible = seen(x, self.seen_bound).view(batch, -1, channels)
            patches = F.pad(visible, (0, 0, 1, 1)).unfold(1, 3, 1).reshape(len(x), -1)
            near, far = (patches @ neighbours).chunk(2, dim=1)
            hidden, pending = near + pending, far
            solved.append(x)
            logits.append(-negative_logit)
        log_scales = log_scale(torch.stack(logits)).view(len(solved), batch, -1)
        return self._from_lines(torch.stack(solved), y), -log_scales.sum(dim=(0, 2))

    @torch.no_grad()
    def inverse_vjp(
        self,
        x: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b k h w"] | None,
        gradient: Float[Tensor, "b c h w"],
        tolerance: float = 0.0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        r"""Solve the transposed Jacobian by fixed-point iteration.

        .. math:: (\mathrm{diag}(s) + N)^\top g_y = g_x, \quad g_y \leftarrow s^{-1} (g_x - N^\top g_y)

        N, the derivative of the network with respect to lines before, is strictly triangular, so the iteration is exact
        after as many steps as there are lines, less one.
        """
        x = self.checked(x, cond)
        hidden = self._hidden(x, cond)
        shift, logit = self.project(F.elu(hidden)).to(x.dtype).chunk(2, dim=1)
        log_s = log_scale(bounded(logit, self.logit_bound))
        scale = log_s.exp()
        of_logit = x * scale * bounded(logit, self.logit_bound).neg().sigmoid()
        if self.logit_bound is not None:
            of_logit = of_logit * (1 - (logit / self.logit_bound).tanh().square())
        hidden = hidden[:, : self.conv.out_channels]
        slope = torch.where(hidden > 0, 1.0, hidden.exp()).to(x.dtype)
        mix = self.project.weight()[:, : self.conv.out_channels].to(x.dtype)
        kernel, back = self.conv.weight.to(x.dtype), [-side for side in PADDING[self.sweep]]
        sees = 1.0 if self.seen_bound is None else (x.abs() <= self.seen_bound).to(x.dtype)
        start = of_y = gradient / scale
        lines = x.shape[2] if self.sweep in ("down", "up") else x.shape[3]
        for _ in range(lines - 1):
            of_hidden = F.conv_transpose2d(torch.cat([of_y, of_y * of_logit], dim=1), mix) * slope
            of_lines = F.pad(F.conv_transpose2d(of_hidden, kernel), back) * sees
            before, of_y = of_y, start - of_lines / scale
            if tolerance and (of_y - before).abs().amax() <= tolerance * of_y.abs().amax():
                break
        return x * scale + shift, of_y

    def _to_lines(self, x: Tensor) -> Float[Tensor, "lines b_across c"]:
        """Lay the grid out line after line, in the order of the walk."""
        lines = x.permute(2, 0, 3, 1) if self.sweep in ("down", "up") else x.permute(3, 0, 2, 1)
        lines = lines.flip(0) if self.sweep in ("up", "left") else lines
        return lines.reshape(len(lines), -1, x.shape[1])

    def _from_lines(self, lines: Float[Tensor, "lines b_across c"], like: Tensor) -> Tensor:
        """Undo `_to_lines`."""
        lines = lines.flip(0) if self.sweep in ("up", "left") else lines
        lines = lines.view(len(lines), len(like), -1, like.shape[1])
        return lines.permute(1, 3, 0, 2) if self.sweep in ("down", "up") else lines.permute(1, 3, 2, 0)

    def _known_part(self, y: Tensor, cond: Tensor | None) -> tuple[Float[Tensor, "lines b_across two_c"], Tensor]:
        """Compute what needs no solved line of ((y - t) / 2, -a), and the weight of what does."""
        weight, bias = self.project.weight().to(y.dtype), self.project.bias.to(y.dtype)
        hidden_weight, cond_weight = weight[:, : self.conv.out_channels], weight[:, self.conv.out_channels :]
        if self.cond_channels is not None and cond is not None:
            parameters = F.conv2d(F.elu(cond.to(y.dtype)), cond_weight, bias)
        else:
            parameters = bias[:, None, None].expand(len(y), -1, *y.shape[2:])
        shift, logit = parameters.chunk(2, dim=1)
        known = torch.cat([0.5 * (y - shift), -logit], dim=1)
        shift_weight, logit_weight = hidden_weight.flatten(1).T.chunk(2, dim=1)
        return self._to_lines(known), torch.cat([-0.5 * shift_weight, -logit_weight], dim=1)

    def _neighbour_weights(self, dtype: torch.dtype) -> Float[Tensor, "three_c two_hidden"]:
        """Give the kernel as one matrix from three neighbours of a line to what the next two lines receive from it."""
        weight = self.conv.weight.to(dtype)
        kernel = weight if self.sweep in ("down", "up") else weight.transpose(2, 3)
        kernel = kernel.flip(2) if self.sweep in ("up", "left") else kernel
        far, near = kernel.unbind(2)
        return torch.cat([near.flatten(1), far.flatten(1)]).T

    def extra_repr(self) -> str:
        """Give the sizes."""
        return f"{self.channels}, {self.sweep}, cond_channels={self.cond_channels}"
