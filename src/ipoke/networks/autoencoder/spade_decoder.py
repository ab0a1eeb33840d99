"""G of the paper: roll-out states become frames, painted pixel by pixel."""

import itertools

from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import LATENT_SIDE
from ipoke.core.sections import SpadeDecoderSettings
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.nn.normalisation import weight_wrap
from ipoke.networks.nn.residual import ResidualBlock, UpBlock
from ipoke.networks.nn.spade import Modulation, Spade


class SpadeDecoder(nn.Module):
    """SPADE decoder, modulated by the source frame. Paper: Sec. 3.2, G."""

    def __init__(self, settings: SpadeDecoderSettings, latent_channels: int) -> None:
        super().__init__()
        self.settings, self.latent_channels = settings, latent_channels
        widths, wrap = settings.widths, weight_wrap(settings.spectral_norm)
        self.inner = ResidualBlock(
            latent_channels, widths[0], shortcut=latent_channels != widths[0], groups=settings.groups, wrap=wrap
        )
        self.ups = nn.ModuleList(UpBlock(a, b, wrap=wrap) for a, b in itertools.pairwise(widths))
        self.spades = nn.ModuleList(Spade(width, settings.spade_width, settings.groups) for width in widths[1:])
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
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
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode roll-out states into frames in [-1, 1]."""
        features = self.source_features(source) if features is None else features
        x = self.inner(states.flatten(0, 1))
        for up, spade, modulation in zip(self.ups, self.spades, features, strict=True):
            x = spade(up(x), modulation)
        paint = self.last(x).float().unflatten(0, states.shape[:2]).tanh()
        return DecodedFrames(paint, paint, None, None, None)
