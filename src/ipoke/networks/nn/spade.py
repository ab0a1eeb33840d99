"""Spatially adaptive normalisation (SPADE): a picture sets scale and shift of every feature, place by place."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ipoke.networks.nn.normalisation import group_norm


class Modulation(NamedTuple):
    """Scale and shift of one SPADE layer, computed once per picture and shared by all its frames and samples."""

    scale: Float[Tensor, "b c h w"]
    shift: Float[Tensor, "b c h w"]

    def rows(self, chosen: slice | Int64[Tensor, " n"]) -> "Modulation":
        """Select some of the pictures, in any order and number."""
        return Modulation(self.scale[chosen], self.shift[chosen])

    def expand(self, batch: int) -> "Modulation":
        """Use the one picture for a whole batch, without a copy."""
        return Modulation(self.scale.expand(batch, -1, -1, -1), self.shift.expand(batch, -1, -1, -1))

    def repeat_interleave(self, times: int) -> "Modulation":
        """Repeat each picture, for samples that lie picture after picture."""
        return Modulation(self.scale.repeat_interleave(times, 0), self.shift.repeat_interleave(times, 0))

    @staticmethod
    def cat(modulations: Sequence["Modulation"]) -> "Modulation":
        """Join the pictures of several modulations of one layer into one batch."""
        scales, shifts = zip(*modulations, strict=True)
        return Modulation(torch.cat(scales), torch.cat(shifts))


class Spade(nn.Module):
    """GroupNorm without weights, then times (1 + scale) plus shift, both read off the source picture.

    Source: Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization". As in the original
    decoder the picture is resized (corners aligned) and seen through one hidden convolution with LeakyReLU.
    """

    def __init__(self, channels: int, hidden: int, groups: int = 16) -> None:
        super().__init__()
        self.norm = group_norm(groups, channels, affine=False)
        self.shared = nn.Conv2d(3, hidden, 3, padding=1)
        self.scale = nn.Conv2d(hidden, channels, 3, padding=1)
        self.shift = nn.Conv2d(hidden, channels, 3, padding=1)

    def modulation(self, source: Float[Tensor, "b 3 s s"], side: int) -> Modulation:
        """Read scale and shift at ``side`` x ``side`` off a source picture."""
        small = F.interpolate(source, (side, side), mode="bilinear", align_corners=True)
        hidden = F.leaky_relu(self.shared(small), 0.2)
        return Modulation(self.scale(hidden), self.shift(hidden))

    def forward(self, x: Float[Tensor, "bt c h w"], modulation: Modulation) -> Float[Tensor, "bt c h w"]:
        """Normalise and modulate the frames of a batch; ``bt`` is a multiple of the modulation's batch."""
        batch, channels, height, width = modulation.scale.shape
        frames = self.norm(x).reshape(batch, -1, channels, height, width)
        return torch.addcmul(modulation.shift[:, None] + frames, frames, modulation.scale[:, None]).reshape(x.shape)
