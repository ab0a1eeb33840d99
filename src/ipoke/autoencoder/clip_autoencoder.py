"""E, GRU and G together."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.autoencoder.clip_encoder import ClipEncoder
from ipoke.autoencoder.decoded_frames import DecodedFrames
from ipoke.autoencoder.folded_decoder import folded
from ipoke.autoencoder.latent_rollout import LatentRollout
from ipoke.autoencoder.moving_decoder import MovingDecoder
from ipoke.autoencoder.painting_decoder import PaintingDecoder
from ipoke.data.tracks import tracks as find_tracks
from ipoke.nn.prepared import Prepared, is_for_sampling
from ipoke.nn.spade import Modulation
from ipoke.settings import Recipe
from ipoke.tensors import frames_from_clip


class ClipAutoencoder(nn.Module):
    """Clip to latent, and latent with source frame to clip. Paper: Sec. 3.2, blue path of Fig. 2."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = ClipEncoder(recipe.clip_encoder, recipe.latent_channels)
        decoder = recipe.clip_decoder
        self.rollout = LatentRollout(recipe.latent_channels, decoder.rollout_layers, decoder.rollout_update_bias)
        make = MovingDecoder if decoder.output == "move" else PaintingDecoder
        self.decoder = make(decoder, recipe.latent_channels)
        self.sampling_precision = torch.float32
        """In which the paper's decoder paints where no gradients are asked for."""
        self._folded = Prepared(self.decoder, self._fold)

    def encode(
        self, clip: Float[Tensor, "b t 3 s s"], tracks: Float[Tensor, "b t2 2 s s"] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior of z, each (b, c_z, 8, 8).

        An encoder that sees ``tracks`` finds them in the clip where they are not given.
        """
        if self.encoder.sees_tracks and tracks is None:
            tracks = torch.stack([torch.from_numpy(find_tracks(frames_from_clip(one))) for one in clip]).to(clip.device)
        return self.encoder(clip, tracks)

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
        decoder = self._decoder(source)
        precision = states.dtype if decoder is self.decoder else self.sampling_precision
        return decoder(states.to(precision), source.to(precision), modulations)

    def modulations(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        decoder = self._decoder(source)
        return decoder.modulations(source if decoder is self.decoder else source.to(self.sampling_precision))

    def _decoder(self, source: Tensor) -> MovingDecoder | PaintingDecoder:
        """Choose the decoder as it is trained, or the paper's as it is for sampling."""
        if is_for_sampling(source) and isinstance(self.decoder, PaintingDecoder):
            return self._folded()
        return self.decoder

    def _fold(self, decoder: MovingDecoder | PaintingDecoder) -> PaintingDecoder:
        if not isinstance(decoder, PaintingDecoder):
            raise TypeError(f"{type(decoder).__name__}: only the painting decoder is folded")
        return folded(decoder, self.sampling_precision)
