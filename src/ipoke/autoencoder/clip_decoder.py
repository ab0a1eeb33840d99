"""GRU and G: from a latent and the source frame to the frames that follow."""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.data.optical_flow import warp
from ipoke.nn.conv_gru import ConvGRU
from ipoke.nn.normalisation import weight_wrap
from ipoke.nn.residual import ResidualBlock, UpBlock
from ipoke.nn.spade import Modulation, Spade
from ipoke.settings import LATENT_SIDE, ClipDecoderSettings


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


class DecodedFrames(NamedTuple):
    """What the decoder says of each frame; ``displacement`` and ``shown`` are None where it only paints."""

    clip: Float[Tensor, "b t 3 s s"]
    paint: Float[Tensor, "b t 3 s s"]
    displacement: Float[Tensor, "b t 2 s s"] | None
    """Where each pixel comes from in the source, relative to itself, px."""
    shown: Float[Tensor, "b t 1 s s"] | None
    """Share of each pixel that is the moved source; the rest is painted."""


class FrameDecoder(nn.Module):
    """G: SPADE decoder, modulated by the source frame.

    ``output="paint"`` is the paper's. Differs from the original: ``"warp"`` also predicts where each pixel comes from
    in the source and how much of it can be seen there, so that what only moves keeps its looks and only what was
    hidden is painted. Displacements are summed over all levels, so that a limb can move as a whole.
    """

    def __init__(self, settings: ClipDecoderSettings, latent_channels: int) -> None:
        super().__init__()
        widths, wrap = settings.widths, weight_wrap(settings.spectral_norm)
        self.output = settings.output
        self.inner = ResidualBlock(
            latent_channels, widths[0], shortcut=latent_channels != widths[0], groups=settings.groups, wrap=wrap
        )
        self.ups = nn.ModuleList(UpBlock(a, b, wrap=wrap) for a, b in itertools.pairwise(widths))
        self.spades = nn.ModuleList(Spade(width, settings.spade_width, settings.groups) for width in widths[1:])
        self.last = nn.Conv2d(widths[-1], 3 if settings.output == "paint" else 6, 3, padding=1)
        coarse = widths[:-1] if settings.output == "warp" else ()
        self.coarse_displacements = nn.ModuleList(nn.Conv2d(width, 2, 3, padding=1) for width in coarse)
        if settings.output == "warp":
            self._begin_with_the_source()

    def _begin_with_the_source(self) -> None:
        """Start from no displacement, with the source shown almost everywhere."""
        for head in self.coarse_displacements:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        with torch.no_grad():
            self.last.weight[3:] = 0.0
            if self.last.bias is not None:
                self.last.bias[3:5] = 0.0
                self.last.bias[5] = 2.0

    def modulations(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        return [
            spade.modulation(source, LATENT_SIDE * 2 ** (level + 1))
            for level, spade in enumerate(self.spades)
            if isinstance(spade, Spade)
        ]

    def forward(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        modulations: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode roll-out states into frames in [-1, 1]."""
        batch, frames = states.shape[:2]
        modulations = self.modulations(source) if modulations is None else modulations
        x = self.inner(states.flatten(0, 1))
        levels = [x]
        for up, spade, modulation in zip(self.ups, self.spades, modulations, strict=True):
            x = spade(up(x), modulation)
            levels.append(x)
        x = self.last(x).float().unflatten(0, (batch, frames))
        paint = x[:, :, :3].tanh()
        if self.output == "paint":
            return DecodedFrames(paint, paint, None, None)
        coarse = torch.zeros_like(x[:, :, 3:5]).flatten(0, 1)
        for head, features in zip(self.coarse_displacements, levels, strict=False):
            coarse = coarse + F.interpolate(head(features).float(), x.shape[-2:], mode="bilinear")
        displacement = (coarse.unflatten(0, (batch, frames)) + x[:, :, 3:5]) * DISPLACEMENT_UNIT_PX
        shown = x[:, :, 5:].sigmoid()
        sources = source.float()[:, None].expand(-1, frames, -1, -1, -1)
        moved = warp(sources.flatten(0, 1), displacement.flatten(0, 1)).unflatten(0, (batch, frames))
        return DecodedFrames(torch.lerp(paint, moved, shown), paint, displacement, shown)


DISPLACEMENT_UNIT_PX = 1.0
"""Displacement that one unit of a decoder's displacement map stands for. At 4 px a single Adam step of 1e-3 moved every
pixel by about half a pixel, more than the mean motion of a clip, and displacements were not learned."""
