"""E, GRU and G together."""

from jaxtyping import Float
from torch import Tensor, nn

from ipoke.autoencoder.clip_decoder import DecodedFrames, FrameDecoder, LatentRollout
from ipoke.autoencoder.clip_encoder import ClipEncoder
from ipoke.nn.spade import Modulation
from ipoke.settings import Recipe


class ClipAutoencoder(nn.Module):
    """Clip to latent, and latent with source frame to clip. Paper: Sec. 3.2, blue path of Fig. 2."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = ClipEncoder(recipe.clip_encoder, recipe.latent_channels)
        decoder = recipe.clip_decoder
        self.rollout = LatentRollout(recipe.latent_channels, decoder.rollout_layers, decoder.rollout_update_bias)
        self.decoder = FrameDecoder(recipe.clip_decoder, recipe.latent_channels)

    def encode(self, clip: Float[Tensor, "b t 3 s s"]) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior of z, each (b, c_z, 8, 8)."""
        return self.encoder(clip)

    def decode(
        self,
        z: Float[Tensor, "b c h w"],
        source: Float[Tensor, "b 3 s s"],
        frames: int,
        *,
        only: list[int] | None = None,
        modulations: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Roll z out for ``frames`` steps and decode them all, or ``only`` some (indices from 0)."""
        states = self.rollout(z, frames)
        if only is not None:
            states = states[:, only]
        return self.decoder(states, source, modulations)
