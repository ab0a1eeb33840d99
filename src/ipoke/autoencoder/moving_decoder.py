"""A decoder that moves the source's pixels and paints only what was hidden."""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.autoencoder.decoded_frames import DecodedFrames
from ipoke.autoencoder.splat import origins
from ipoke.data.optical_flow import warp
from ipoke.nn.residual import PlainResidualBlock
from ipoke.nn.spade import Modulation
from ipoke.settings import ClipDecoderSettings

FULL_COVERAGE = 0.5
"""Coverage from which a place shows what arrived there: a part may grow to 1.6 times its area without holes."""
ORDER_PER_PX = 2.0
"""What moves is in front of what stands still, in nats per px, before anything is learned."""
LARGEST_ORDER = 10.0


class MovingDecoder(nn.Module):
    """Roll-out states and source features become a displacement of every source pixel, and so frames.

    Differs from the original, which paints every pixel (see `PaintingDecoder`). Motion is said of the source's pixels,
    on the source's grid: there lie the edges of things, the pokes, and the optical flow that teaches it. Source
    features scale and shift the states' features as in SPADE, without its normalisation, which would take away how far
    things move. What arrives at a place hides what is behind it; where nothing arrives, something hidden comes to light
    and is painted.
    """

    def __init__(self, settings: ClipDecoderSettings, latent_channels: int) -> None:
        super().__init__()
        widths, sources = settings.widths, settings.source_widths
        self.look = nn.Conv2d(3, sources[-1], 3, padding=1)
        self.look_wider = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, 2, 1) for coarse, fine in reversed(list(itertools.pairwise(sources)))
        )
        self.look_around = nn.ModuleList(PlainResidualBlock(width) for width in reversed(sources[:-1]))
        self.modulate = nn.ModuleList(nn.Conv2d(a, 2 * b, 3, padding=1) for a, b in zip(sources, widths, strict=True))
        self.enter = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise((latent_channels, *widths))
        )
        self.inner = nn.ModuleList(PlainResidualBlock(width) for width in widths[:-1])
        self.coarse_motion = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in widths[:-1])
        self.last = nn.Conv2d(widths[-1], 7, 3, padding=1)
        self._begin_with_the_source()

    def _begin_with_the_source(self) -> None:
        """Start from no motion, with the source shown almost everywhere."""
        for head in self.coarse_motion:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        with torch.no_grad():
            self.last.weight[3:] = 0.0
            if self.last.bias is not None:
                self.last.bias[3:6] = 0.0
                self.last.bias[6] = 3.0

    def modulations(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        features = [F.silu(self.look(source))]
        for wider, around in zip(self.look_wider, self.look_around, strict=True):
            features.append(F.silu(around(wider(features[-1]))))
        return [
            Modulation(*modulate(x).chunk(2, 1)) for modulate, x in zip(self.modulate, reversed(features), strict=True)
        ]

    def forward(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        modulations: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode roll-out states into frames, of which the moved part lies in [-1, 1] like the painted one."""
        batch, frames = states.shape[:2]
        x, moves = states.flatten(0, 1), None
        levels = zip(self.enter, modulations or self.modulations(source), strict=True)
        for level, (enter, modulation) in enumerate(levels):
            x = F.silu(_modulated(enter(x if level == 0 else _doubled(x)), modulation))
            if level < len(self.inner):
                x = self.inner[level](x)
                head = self.coarse_motion[level](x)
                moves = head if moves is None else _doubled(moves) + head
        x = self.last(x).float()
        moves = x[:, 3:6] if moves is None else _doubled(moves.float()) + x[:, 3:6]
        motion = moves[:, :2]
        order = moves[:, 2:] + ORDER_PER_PX * motion.detach().norm(dim=1, keepdim=True)
        origin, coverage = origins(motion, order.clamp(-LARGEST_ORDER, LARGEST_ORDER))
        shown = (coverage / FULL_COVERAGE).clamp(0, 1) * x[:, 6:].sigmoid()
        sources = source.float()[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
        paint = x[:, :3].tanh()
        clip = torch.lerp(paint, warp(sources, origin), shown)
        return DecodedFrames(*(part.unflatten(0, (batch, frames)) for part in (clip, paint, motion, origin, shown)))


def _modulated(x: Float[Tensor, "bt c h w"], modulation: Modulation) -> Float[Tensor, "bt c h w"]:
    batch = len(modulation.scale)
    frames = x.unflatten(0, (batch, -1))
    return torch.addcmul(frames + modulation.shift[:, None], frames, modulation.scale[:, None]).flatten(0, 1)


def _doubled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear")
