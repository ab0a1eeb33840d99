"""One doubling beyond what the networks see: motion is said at half the side, and ends where the full one says."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.nn.residual import PlainResidualBlock
from ipoke.networks.nn.spade import Modulation

PIXELS = 2
"""Of the finer side, per pixel of the other."""


def detail_look(width: int) -> nn.Sequential:
    """Make the network that turns a source, (b, 3, s, s), into scale and shift of a detail's features."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.SiLU(),
        PlainResidualBlock(width),
        nn.SiLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
    )


class Detail(nn.Module):
    """Double what a decoder says of each pixel, and correct it by what the finer source shows.

    At the start nothing is corrected: a decoder of half the size says all, at twice the side. Differs from the
    original, whose networks see all that they show.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 3, padding=1)
        self.last = nn.Conv2d(width, 8, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        features: Float[Tensor, "bt k s2 s2"],
        said: Float[Tensor, "bt 8 s2 s2"],
        coarse: Float[Tensor, "bt 3 s4 s4"],
        modulation: Modulation,
    ) -> tuple[Float[Tensor, "bt k2 s s"], Float[Tensor, "bt 8 s s"], Float[Tensor, "bt 3 s2 s2"]]:
        """Give features, what is said and coarse motion, as `WarpDecoder.say` does, of twice the side.

        All motion that was said, px, becomes coarse, in the smaller pixels.
        """
        moves = doubled(coarse) + said[:, 3:6]
        coarse = torch.cat([PIXELS * moves[:, :2], moves[:, 2:]], 1)
        features = F.silu(modulated(self.enter(doubled(features)), modulation))
        others = torch.cat([said[:, :3], torch.zeros_like(moves), said[:, 6:]], 1)
        return features, doubled(others) + self.last(features).float(), coarse


def modulated(x: Float[Tensor, "bt c h w"], modulation: Modulation) -> Float[Tensor, "bt c h w"]:
    """Scale and shift the features of all frames of a source."""
    batch = modulation.scale.shape[0]
    frames = x.unflatten(0, (batch, -1))
    return torch.addcmul(frames + modulation.shift[:, None], frames, modulation.scale[:, None]).flatten(0, 1)


def doubled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Give maps twice the side, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")
