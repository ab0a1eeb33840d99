"""Stacked convolutional gated recurrent units."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConvGRUCell(nn.Module):
    """One layer: h' = (1 - u) h + u n with gates u, q and proposal n from 3x3 convolutions of input and state."""

    def __init__(self, channels: int, update_bias: float = 0.0) -> None:
        super().__init__()
        self.update = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.reset = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.propose = nn.Conv2d(2 * channels, channels, 3, padding=1)
        for convolution in (self.update, self.reset, self.propose):
            nn.init.orthogonal_(convolution.weight)
            if convolution.bias is not None:
                nn.init.constant_(convolution.bias, update_bias if convolution is self.update else 0.0)

    def forward(self, x: Float[Tensor, "b c h w"], state: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Advance the state by one step."""
        both = torch.cat([x, state], 1)
        update = self.update(both).sigmoid()
        reset = self.reset(both).sigmoid()
        proposal = self.propose(torch.cat([x, reset * state], 1)).tanh()
        return state + update * (proposal - state)


class ConvGRU(nn.Module):
    """Cells in a stack: each takes the new state of the one below as its input."""

    def __init__(self, channels: int, layers: int, update_bias: float = 0.0) -> None:
        super().__init__()
        self.cells = nn.ModuleList(ConvGRUCell(channels, update_bias) for _ in range(layers))

    def forward(self, x: Float[Tensor, "b c h w"], states: list[Tensor]) -> list[Tensor]:
        """Advance all states by one step; the last of them is the output."""
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            x = cell(x, state)
            new.append(x)
        return new
