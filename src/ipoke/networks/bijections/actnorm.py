"""Per-channel affine map that starts by whitening its first batch."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.bijections.bijection import Bijection, Transformed


class ActNorm(Bijection):
    r"""Scale and shift each channel by learned numbers.

    .. math:: y = e^{l} x + b, \quad \log|\det| = h \, w \sum_c l_c

    `initialise` sets l and b so that the batch it is given leaves with mean 0 and standard deviation 1 per channel,
    once; the buffer ``initialised`` is saved with the weights, so that loading counts as having been initialised.

    Source: Kingma and Dhariwal 2018, "Glow", Sec. 3.1. Differs from the original, which initialised
    itself on the first call of any kind, evaluation and sampling included.

    >>> import torch
    >>> layer = ActNorm(2)
    >>> y = layer.initialise(3 + 2 * torch.randn(16, 2, 8, 8))
    >>> [round(abs(float(number)), 3) for number in (y.mean(), y.std(correction=0))]
    [0.0, 1.0]

    Args:
        channels: Channels of the input.
    """

    initialised: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Scale, then shift."""
        x = self.checked(x, cond)
        return x * self.log_scale.to(x.dtype).exp() + self.shift, self._log_det(x)

    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Unshift, then unscale."""
        y = self.checked(y, cond)
        return (y - self.shift) * (-self.log_scale.to(y.dtype)).exp(), -self._log_det(y)

    @torch.no_grad()
    def initialise(
        self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Whiten this batch per channel, unless already initialised; a constant channel is only shifted."""
        x = self.checked(x, cond)
        if not self.initialised:
            std, mean = torch.std_mean(x, dim=(0, 2, 3), keepdim=True, correction=0)
            std = torch.where(std > 1e-6, std, 1.0)
            self.log_scale.copy_(-std.log()[0])
            self.shift.copy_(-(mean / std)[0])
            self.initialised.fill_(True)
        return self(x, cond)[0]

    def _log_det(self, x: Tensor) -> Float[Tensor, " b"]:
        """Sum log-scales over channels, once per pixel."""
        return (self.log_scale.sum() * (x.shape[2] * x.shape[3])).to(x.dtype).expand(x.shape[0])

    def extra_repr(self) -> str:
        """Give the size."""
        return f"{self.channels}"
