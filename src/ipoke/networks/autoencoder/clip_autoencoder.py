"""E, GRU and G together."""

from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.pixels import frames_from_clip
from ipoke.core.settings import ClipDecoderSettings, Recipe
from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.tracks import tracks as find_tracks
from ipoke.engine.library import compiled
from ipoke.networks.autoencoder.clip_encoder import ClipEncoder
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.fast_spade import FastPaintingDecoder
from ipoke.networks.autoencoder.fast_warp import FastMovingDecoder
from ipoke.networks.autoencoder.latent_rollout import LatentRollout
from ipoke.networks.autoencoder.spade_decoder import PaintingDecoder
from ipoke.networks.autoencoder.warp_decoder import MovingDecoder
from ipoke.networks.nn.prepared import Prepared, is_for_sampling
from ipoke.networks.nn.spade import Modulation

Decoder: TypeAlias = MovingDecoder | PaintingDecoder | FastMovingDecoder | FastPaintingDecoder


class ClipAutoencoder(nn.Module):
    """Clip to latent, and latent with source frame to clip. Paper: Sec. 3.2, blue path of Fig. 2."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = ClipEncoder(recipe.clip_encoder, recipe.latent_channels, recipe.shrink)
        decoder = recipe.clip_decoder
        self.rollout = LatentRollout(recipe.latent_channels, decoder.rollout_layers, decoder.rollout_update_bias)
        self.decoder = make_decoder(decoder, recipe.latent_channels)
        self.sampling_precision = torch.float32
        """Of the decoder's networks where no gradients are asked for."""
        self._fast_decoder = Prepared(self.decoder, self._prepare)

    def encode(
        self, clip: Float[Tensor, "b t 3 s s"], tracks: Float[Tensor, "b t2 2 s s"] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior of z, each (b, c_z, 8, 8).

        An encoder that sees ``tracks`` finds them in the clip where they are not given.
        """
        if self.encoder.sees_tracks and tracks is None:
            found = [find_tracks(frames_from_clip(one), estimate_with_dis) for one in clip]
            tracks = torch.from_numpy(np.stack(found)).to(clip.device)
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
        return self.decode_states(states, source, modulations)

    @property
    def says_motion(self) -> bool:
        """Whether the decoder moves the source's pixels, and so can say where they go."""
        return isinstance(self.decoder, MovingDecoder)

    def motion(
        self,
        z: Float[Tensor, "b c h w"],
        source: Float[Tensor, "k 3 s s"],
        frames: int,
        *,
        only: list[int],
        modulations: list[Modulation] | None = None,
    ) -> Float[Tensor, "b t 2 s s"]:
        """Say where the source's pixels go in some of ``frames`` frames, px; with gradients, and no frames are made.

        One source goes for all latents, or one for each.

        Raises:
            ValueError: The decoder paints, and so says no motion.
        """
        if not isinstance(self.decoder, MovingDecoder):
            raise ValueError("motion: got a decoder that paints, expected one that moves")
        known = modulations or self.decoder.modulations(source)
        of_each = [one.expand(len(z)) for one in known]
        return self.decoder.motion(self.rollout(z, frames)[:, only], of_each)

    def decode_states(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        modulations: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode the states of a roll-out."""
        return self._decoder(source)(states, source, modulations)

    def modulations(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        return self._decoder(source).modulations(source)

    def _decoder(self, source: Tensor) -> Decoder:
        """Choose the decoder as it is trained, or as it is prepared for sampling."""
        fast = self._fast_decoder() if is_for_sampling(source) else None
        return self.decoder if fast is None else fast

    def _prepare(self, decoder: MovingDecoder | PaintingDecoder) -> FastMovingDecoder | FastPaintingDecoder | None:
        """Prepare a decoder for sampling; None where its functions cannot be compiled."""
        if isinstance(decoder, PaintingDecoder):
            return FastPaintingDecoder(decoder, self.sampling_precision)
        functions = compiled()
        return None if functions is None else FastMovingDecoder(decoder, functions, self.sampling_precision)


def make_decoder(settings: ClipDecoderSettings, channels: int) -> MovingDecoder | PaintingDecoder:
    """Make the decoder that a recipe names, for states of this many channels."""
    make = MovingDecoder if settings.output == "move" else PaintingDecoder
    return make(settings, channels)
