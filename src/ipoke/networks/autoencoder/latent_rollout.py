"""GRU: from a latent to one state per frame."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import LATENT_SIDE
from ipoke.networks.nn.conv_gru import ConvGRU


class GruRollout(nn.Module):
    """A ConvGRU unrolled in time, whose states all start at one tensor and which is fed another at every step.

    Nothing that was generated is fed back, so any number of frames can be asked for.
    """

    def __init__(self, channels: int, layers: int, update_bias: float = 0.0) -> None:
        super().__init__()
        self.gru = ConvGRU(channels, layers, update_bias)

    def unroll(
        self, fed: Float[Tensor, "b c h w"], start: Float[Tensor, "b c h w"], frames: int
    ) -> Float[Tensor, "b t c h w"]:
        """Return the state of the top layer at each step."""
        states = [start] * len(self.gru.cells)
        tops = []
        for _ in range(frames):
            states = self.gru(fed, states)
            tops.append(states[-1])
        return torch.stack(tops, 1)


class LatentRollout(GruRollout):
    """Unroll a latent in time: all states start at z, and the input is one learned tensor. Paper: Sec. 3.2, GRU.

    Args:
        channels: Of a latent.
        layers: Cells in the stack.
        update_bias: Of the update gates, at the start.
    """

    def __init__(self, channels: int, layers: int, update_bias: float = 0.0) -> None:
        super().__init__(channels, layers, update_bias)
        self.motion_bias = nn.Parameter(torch.randn(1, channels, LATENT_SIDE, LATENT_SIDE))

    def forward(self, z: Float[Tensor, "b c h w"], frames: int) -> Float[Tensor, "b t c h w"]:
        """Return the state of the top layer at each step."""
        return self.unroll(self.motion_bias.expand(z.shape[0], -1, -1, -1), z, frames)
