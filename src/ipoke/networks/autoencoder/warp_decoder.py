"""A decoder that moves the source's pixels and paints only what was hidden."""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.sections import WarpDecoderSettings
from ipoke.data.optical_flow import warp
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.detail import Detail, detail_look, doubled, modulated
from ipoke.networks.autoencoder.fill import filled
from ipoke.networks.autoencoder.splat import arrival, origins, wholeness
from ipoke.networks.nn.residual import PlainResidualBlock
from ipoke.networks.nn.shrink import shrunk
from ipoke.networks.nn.spade import Modulation

ORDER_PER_PX = 2.0
"""What moves is in front of what stands still, in nats per px, before anything is learned."""
LARGEST_ORDER = 10.0
NEARNESS_PER_PX = 2.0
"""How much less, in nats per px, what has moved counts where what comes to light is filled in: it lay behind."""
LEAST_NEARNESS = 1e-3
"""What has moved counts at least this much, so that a picture that moves as a whole is filled in too."""

FILL_RANGE = 0.98
"""What is filled in keeps off the ends of [-1, 1] by this factor, so that it can be retouched."""


class WarpDecoder(nn.Module):
    """Roll-out states and source features become a displacement of every source pixel, and so frames.

    Differs from the original, which paints every pixel (see `SpadeDecoder`). Motion is said of the source's pixels,
    on the source's grid: there lie the edges of things, the pokes, and the optical flow that teaches it. Source
    features scale and shift the states' features as in SPADE, without its normalisation, which would take away how far
    things move. How far they go is said coarsely, as smooth fields. Whether a pixel goes along is said finely, so that
    parts end sharply. What arrives at a place hides what is behind it; where nothing arrives, something hidden comes
    to light: it is filled in from what is shown around it, and retouched.
    """

    def __init__(self, settings: WarpDecoderSettings, latent_channels: int) -> None:
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
        self.last = nn.Conv2d(widths[-1], 8, 3, padding=1)
        self.detail_looks = nn.ModuleList(detail_look(width) for width in settings.detail_widths)
        self.details = nn.ModuleList(Detail(a, b) for a, b in itertools.pairwise((widths[-1], *settings.detail_widths)))
        self._begin_with_the_source()

    def _begin_with_the_source(self) -> None:
        """Start from no motion, with the source shown almost everywhere."""
        for head in self.coarse_motion:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        with torch.no_grad():
            nn.init.zeros_(self.last.weight)
            if self.last.bias is not None:
                nn.init.zeros_(self.last.bias)
                self.last.bias[6] = 3.0
                self.last.bias[7] = 2.0

    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        doublings = len(self.details)
        features = [F.silu(self.look(shrunk(source, 2**doublings)))]
        for wider, around in zip(self.look_wider, self.look_around, strict=True):
            features.append(F.silu(around(wider(features[-1]))))
        seen = [
            Modulation(*modulate(x).chunk(2, 1)) for modulate, x in zip(self.modulate, reversed(features), strict=True)
        ]
        finer = [
            Modulation(*look(shrunk(source, 2 ** (doublings - level))).chunk(2, 1))
            for level, look in enumerate(self.detail_looks, 1)
        ]
        return seen + finer

    def forward(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode roll-out states into frames, of which the moved part lies in [-1, 1] like the painted one."""
        said, coarse = self.say(states, features or self.source_features(source))
        parts = self._show(said, doubled(coarse), source.float(), states.shape[1])
        return DecodedFrames(*(part.unflatten(0, states.shape[:2]) for part in parts))

    def predict_motion(
        self, states: Float[Tensor, "b t c h w"], features: list[Modulation]
    ) -> Float[Tensor, "b t 2 s s"]:
        """Say where the source's pixels go, px; make no frames of it."""
        said, coarse = self.say(states, features)
        return _moves(said, doubled(coarse))[0].unflatten(0, states.shape[:2])

    def say(
        self, states: Float[Tensor, "b t c h w"], modulations: list[Modulation]
    ) -> tuple[Float[Tensor, "bt 8 s s"], Float[Tensor, "bt 3 s2 s2"]]:
        """Say of each frame retouch, fine motion, its order, gate and whether it goes along; and coarse motion.

        All float32. Coarse motion and its order are said on a grid of half the side and doubled before they are added.
        """
        states = states.flatten(0, 1)
        x = F.silu(modulated(self.enter[0](states), modulations[0]))
        coarse = None
        for inner, head, enter, modulation in zip(
            self.inner, self.coarse_motion, self.enter[1:], modulations[1 : len(self.enter)], strict=True
        ):
            x = inner(x)
            motion = head(x).float()
            coarse = motion if coarse is None else doubled(coarse) + motion
            x = F.silu(modulated(enter(doubled(x)), modulation))
        if coarse is None:
            raise AssertionError("a decoder has at least two widths")
        said = self.last(x).float()
        for detail, modulation in zip(self.details, modulations[len(self.enter) :], strict=True):
            x, said, coarse = detail(x, said, coarse, modulation)
        return said, coarse

    def _show(
        self,
        said: Float[Tensor, "bt 8 s s"],
        coarse: Float[Tensor, "bt 3 s s"],
        source: Float[Tensor, "b 3 s s"],
        frames: int,
    ) -> tuple[Tensor, ...]:
        """Turn what was said into clip, paint, motion, origin and what is shown, frame by frame."""
        motion, order = _moves(said, coarse)
        retouch, gate = said[:, :3], said[:, 6:7]
        whole = wholeness(motion)
        origin = origins(motion, (order - LARGEST_ORDER * (1 - whole)).clamp(-LARGEST_ORDER, LARGEST_ORDER))
        shown = arrival(motion, origin) * warp(whole, origin) * gate.sigmoid()
        moved = warp(source[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1), origin)
        paint = (_retouchable(moved, origin, shown) + retouch).tanh()
        return torch.lerp(paint, moved, shown), paint, motion, origin, shown


def _moves(
    said: Float[Tensor, "n 8 s s"], coarse: Float[Tensor, "n 3 s s"]
) -> tuple[Float[Tensor, "n 2 s s"], Float[Tensor, "n 1 s s"]]:
    """Put together where each pixel goes, px, and its order, nats."""
    moves = coarse + said[:, 3:6]
    motion = said[:, 7:].sigmoid() * moves[:, :2]
    return motion, moves[:, 2:] + ORDER_PER_PX * motion.detach().norm(dim=1, keepdim=True)


@torch.no_grad()
def _retouchable(
    moved: Float[Tensor, "n 3 s s"], origin: Float[Tensor, "n 2 s s"], shown: Float[Tensor, "n 1 s s"]
) -> Float[Tensor, "n 3 s s"]:
    """Fill in what is not shown, before tanh."""
    nearness = (-NEARNESS_PER_PX * origin.norm(dim=1, keepdim=True)).exp().clamp_min(LEAST_NEARNESS)
    return torch.atanh(FILL_RANGE * filled(moved, shown.square() * nearness))
