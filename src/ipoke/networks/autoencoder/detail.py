"""One doubling beyond the size that the networks see: coarse motion, with edges from the finer source."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.autoencoder.heads import CHANNELS, Heads
from ipoke.networks.nn.residual import PlainResidualBlock
from ipoke.networks.nn.spade import Modulation

PIXELS = 2
"""Of the finer side, per pixel of the other."""


def detail_features(width: int) -> nn.Sequential:
    """Make the network that turns a source, (b, 3, s, s), into scale and shift of a detail's features."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.SiLU(),
        PlainResidualBlock(width),
        nn.SiLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
    )


class Detail(nn.Module):
    """Double a warp decoder's predictions, and correct them by what the finer source shows.

    At the start nothing is corrected: the predictions are those of a decoder of half the size, at twice the side.
    Differs from the original, whose networks see the size that they paint.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 3, padding=1)
        self.last = nn.Conv2d(width, CHANNELS, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        features: Float[Tensor, "bt k s2 s2"],
        heads: Float[Tensor, "bt 8 s2 s2"],
        coarse: Float[Tensor, "bt 3 s4 s4"],
        modulation: Modulation,
    ) -> tuple[Float[Tensor, "bt k2 s s"], Float[Tensor, "bt 8 s s"], Float[Tensor, "bt 3 s2 s2"]]:
        """Give features, heads and coarse motion, as `WarpDecoder.predict`, at twice the side.

        All motion that was predicted, px, becomes coarse motion, in the smaller pixels.
        """
        parts = Heads.split(heads)
        motion = doubled(coarse) + parts.motion
        coarse = torch.cat([PIXELS * motion[:, :2], motion[:, 2:]], 1)
        features = F.silu(modulated(self.enter(doubled(features)), modulation))
        others = parts._replace(motion=torch.zeros_like(motion)).cat()
        return features, doubled(others) + self.last(features).float(), coarse


def modulated(x: Float[Tensor, "bt c h w"], modulation: Modulation) -> Float[Tensor, "bt c h w"]:
    """Scale and shift the features of all frames of a source."""
    batch = modulation.scale.shape[0]
    frames = x.unflatten(0, (batch, -1))
    return torch.addcmul(frames + modulation.shift[:, None], frames, modulation.scale[:, None]).flatten(0, 1)


def doubled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Give maps twice the side, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")
