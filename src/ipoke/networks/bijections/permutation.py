"""Fixed random permutation of the channels."""

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.networks.bijections.bijection import Bijection, Transformed


class Permutation(Bijection):
    r"""Reorder the channels by a fixed random permutation, which is a buffer and saved with the weights.

    .. math:: y_i = x_{\pi(i)}, \quad \log|\det| = 0

    >>> import torch
    >>> layer = Permutation(3)
    >>> _ = layer.order.copy_(torch.tensor([2, 0, 1]))
    >>> layer(torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1))[0].flatten().tolist()
    [30.0, 10.0, 20.0]

    Args:
        channels: Channels of the input.
    """

    order: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("order", torch.randperm(channels))

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Reorder."""
        x = self.checked(x, cond)
        return x[:, self.order], x.new_zeros(x.shape[0])

    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Put back."""
        y = self.checked(y, cond)
        return y[:, self.order.argsort()], y.new_zeros(y.shape[0])

    def extra_repr(self) -> str:
        """Give the size."""
        return f"{self.channels}"
