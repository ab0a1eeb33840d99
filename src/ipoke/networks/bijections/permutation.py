"""Fixed random permutation of the channels."""

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.networks.bijections.bijection import Bijection, Transformed


class Permutation(Bijection):
    """Reorder the channels: channel i of the output is channel ``order[i]`` of the input; volume is kept."""

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
