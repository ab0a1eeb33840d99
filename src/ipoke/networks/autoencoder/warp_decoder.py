"""A decoder that warps the source and paints disoccluded pixels only."""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.sections import WarpDecoderSettings
from ipoke.data.optical_flow import warp
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.detail import Detail, detail_features, doubled, modulated
from ipoke.networks.autoencoder.fill import filled
from ipoke.networks.autoencoder.heads import CHANNELS, Heads
from ipoke.networks.autoencoder.splat import continuity_mask, find_coverage, forward_splat
from ipoke.networks.nn.residual import PlainResidualBlock
from ipoke.networks.nn.shrink import shrunk
from ipoke.networks.nn.spade import Modulation

ORDER_PER_PX = 2.0
"""How much nearer, in nats per px, a pixel is that moves further, before anything is learned."""
LARGEST_ORDER = 10.0
NEARNESS_PER_PX = 2.0
"""How much less, in nats per px, a pixel that has moved counts when disoccluded pixels are filled: it lay in front."""
LEAST_NEARNESS = 1e-3
"""A pixel that has moved counts at least this much, so that a picture that moves as a whole is filled too."""
FILL_RANGE = 0.98
"""Filled colours are scaled by this, off the ends of [-1, 1], so that they can be retouched."""
FIRST_VISIBILITY, FIRST_FOREGROUND = 3.0, 2.0
"""Logits at the start of training: the warped source is visible almost everywhere, and almost all of it moves."""


class WarpDecoder(nn.Module):
    """Roll-out states and source features become a displacement of every source pixel, and so frames.

    Differs from the original, which paints every pixel (see `SpadeDecoder`). Motion is predicted for the source's
    pixels, on the source's grid: edges, pokes, and the optical flow that teaches the motion lie there. Source features
    scale and shift the states' features as in SPADE, without its normalisation, which would remove the size of the
    motion. Displacements are predicted coarsely, as smooth fields; the foreground gate, by which they are multiplied,
    is predicted finely, so that parts end sharply. Forward splatting brings the pixels to their targets, nearer ones in
    front. Disoccluded pixels are filled from visible ones around them, and retouched.

    Args:
        settings: Of the decoder, from the recipe.
        latent_channels: Channels of the roll-out's states.
    """

    def __init__(self, settings: WarpDecoderSettings, latent_channels: int) -> None:
        super().__init__()
        widths, sources = settings.widths, settings.source_widths
        # The attributes name the weights of model files, so they stay: look and look_wider encode the source, finest
        # first, look_around refines it, and detail_looks encode it for the doublings.
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
        self.last = nn.Conv2d(widths[-1], CHANNELS, 3, padding=1)
        self.detail_looks = nn.ModuleList(detail_features(width) for width in settings.detail_widths)
        self.details = nn.ModuleList(Detail(a, b) for a, b in itertools.pairwise((widths[-1], *settings.detail_widths)))
        self._begin_with_the_source()

    @torch.no_grad()
    def _begin_with_the_source(self) -> None:
        """Start from no motion, with the source visible almost everywhere."""
        for head in self.coarse_motion:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)
            heads = Heads.split(self.last.bias[None, :, None, None])
            heads.visibility.fill_(FIRST_VISIBILITY)
            heads.foreground.fill_(FIRST_FOREGROUND)

    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        doublings = len(self.details)
        encoded = [F.silu(self.look(shrunk(source, 2**doublings)))]
        for wider, around in zip(self.look_wider, self.look_around, strict=True):
            encoded.append(F.silu(around(wider(encoded[-1]))))
        coarser = [
            Modulation(*modulate(x).chunk(2, 1)) for modulate, x in zip(self.modulate, reversed(encoded), strict=True)
        ]
        finer = [
            Modulation(*look(shrunk(source, 2 ** (doublings - level))).chunk(2, 1))
            for level, look in enumerate(self.detail_looks, 1)
        ]
        return coarser + finer

    def forward(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode roll-out states into frames in [-1, 1]."""
        heads, coarse = self.predict(states, features or self.source_features(source))
        sources = source.float()[:, None].expand(-1, states.shape[1], -1, -1, -1).flatten(0, 1)
        parts = _compose(Heads.split(heads), doubled(coarse), sources)
        return DecodedFrames(*(part.unflatten(0, states.shape[:2]) for part in parts))

    def predict_motion(
        self, states: Float[Tensor, "b t c h w"], features: list[Modulation]
    ) -> Float[Tensor, "b t 2 s s"]:
        """Predict where the source's pixels go, px, without making frames."""
        heads, coarse = self.predict(states, features)
        return _motion_and_order(Heads.split(heads), doubled(coarse))[0].unflatten(0, states.shape[:2])

    def predict(
        self, states: Float[Tensor, "b t c h w"], features: list[Modulation]
    ) -> tuple[Float[Tensor, "bt 8 s s"], Float[Tensor, "bt 3 s2 s2"]]:
        """Predict the channels of `Heads` for each pixel, and coarse motion and its order on a grid of half the side.

        All float32. Coarse motion is doubled before that of the heads is added.
        """
        states = states.flatten(0, 1)
        x = F.silu(modulated(self.enter[0](states), features[0]))
        coarse = None
        for inner, head, enter, modulation in zip(
            self.inner, self.coarse_motion, self.enter[1:], features[1 : len(self.enter)], strict=True
        ):
            x = inner(x)
            motion = head(x).float()
            coarse = motion if coarse is None else doubled(coarse) + motion
            x = F.silu(modulated(enter(doubled(x)), modulation))
        if coarse is None:
            raise AssertionError("a decoder has at least two widths")
        heads = self.last(x).float()
        for detail, modulation in zip(self.details, features[len(self.enter) :], strict=True):
            x, heads, coarse = detail(x, heads, coarse, modulation)
        return heads, coarse


def _compose(
    heads: Heads, coarse: Float[Tensor, "n 3 s s"], source: Float[Tensor, "n 3 s s"]
) -> tuple[Float[Tensor, "n c s s"], ...]:
    """Turn predictions into clip, paint, motion, backward flow and coverage, frame by frame."""
    motion, order = _motion_and_order(heads, coarse)
    continuity = continuity_mask(motion)
    order = (order - LARGEST_ORDER * (1 - continuity)).clamp(-LARGEST_ORDER, LARGEST_ORDER)
    backward_flow = forward_splat(motion, order)
    coverage = find_coverage(motion, backward_flow) * warp(continuity, backward_flow) * heads.visibility.sigmoid()
    warped = warp(source, backward_flow)
    paint = (_retouchable(warped, backward_flow, coverage) + heads.retouch).tanh()
    return torch.lerp(paint, warped, coverage), paint, motion, backward_flow, coverage


def _motion_and_order(
    heads: Heads, coarse: Float[Tensor, "n 3 s s"]
) -> tuple[Float[Tensor, "n 2 s s"], Float[Tensor, "n 1 s s"]]:
    """Put together where each pixel goes, px, and its order in depth, nats."""
    total = coarse + heads.motion
    motion = heads.foreground.sigmoid() * total[:, :2]
    return motion, total[:, 2:] + ORDER_PER_PX * motion.detach().norm(dim=1, keepdim=True)


@torch.no_grad()
def _retouchable(
    warped: Float[Tensor, "n 3 s s"], backward_flow: Float[Tensor, "n 2 s s"], coverage: Float[Tensor, "n 1 s s"]
) -> Float[Tensor, "n 3 s s"]:
    """Fill disoccluded pixels, before tanh."""
    nearness = (-NEARNESS_PER_PX * backward_flow.norm(dim=1, keepdim=True)).exp().clamp_min(LEAST_NEARNESS)
    return torch.atanh(FILL_RANGE * filled(warped, coverage.square() * nearness))
