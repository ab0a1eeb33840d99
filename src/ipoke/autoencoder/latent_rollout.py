"""GRU: from a latent to one state per frame."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.nn.conv_gru import ConvGRU
from ipoke.settings import LATENT_SIDE


class LatentRollout(nn.Module):
    """Unroll a latent in time: a ConvGRU whose states all start at z and whose input is one learned tensor.

    Nothing that was generated is fed back, so any number of frames can be asked for. Paper: Sec. 3.2, GRU.
    """

    def __init__(self, channels: int, layers: int, update_bias: float = 0.0) -> None:
        super().__init__()
        self.gru = ConvGRU(channels, layers, update_bias)
        self.motion_bias = nn.Parameter(torch.randn(1, channels, LATENT_SIDE, LATENT_SIDE))

    def forward(self, z: Float[Tensor, "b c h w"], frames: int) -> Float[Tensor, "b t c h w"]:
        """Return the state of the top layer at each step."""
        states = [z] * len(self.gru.cells)
        constant = self.motion_bias.expand(z.shape[0], -1, -1, -1)
        tops = []
        for _ in range(frames):
            states = self.gru(constant, states)
            tops.append(states[-1])
        return torch.stack(tops, 1)
