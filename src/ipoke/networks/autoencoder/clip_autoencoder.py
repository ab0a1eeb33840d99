"""E, GRU and G together."""

from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.pixels import frames_from_clip
from ipoke.core.recipe import Recipe
from ipoke.core.sections import ClipDecoderSettings, WarpDecoderSettings
from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.tracks import tracks as find_tracks
from ipoke.networks.autoencoder.clip_encoder import ClipEncoder
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.latent_rollout import LatentRollout
from ipoke.networks.autoencoder.spade_decoder import SpadeDecoder
from ipoke.networks.autoencoder.warp_decoder import WarpDecoder
from ipoke.networks.nn.spade import Modulation

Decoder: TypeAlias = WarpDecoder | SpadeDecoder


class ClipAutoencoder(nn.Module):
    """Clip to latent, and latent with source frame to clip. Paper: Sec. 3.2, blue path of Fig. 2."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = ClipEncoder(recipe.clip_encoder, recipe.latent_channels, recipe.shrink)
        decoder = recipe.clip_decoder
        self.rollout = LatentRollout(recipe.latent_channels, decoder.rollout_layers, decoder.rollout_update_bias)
        self.decoder = make_decoder(decoder, recipe.latent_channels)

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
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Roll z out for ``frames`` steps and decode them all, or ``only`` some (indices from 0)."""
        states = self.rollout(z, frames)
        if only is not None:
            states = states[:, only]
        return self.decoder(states, source, features)

    @property
    def predicts_motion(self) -> bool:
        """Whether the decoder warps the source, and so predicts where each of its pixels goes."""
        return isinstance(self.decoder, WarpDecoder)

    def predict_motion(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "k 3 s s"],
        features: list[Modulation] | None = None,
    ) -> Float[Tensor, "b t 2 s s"]:
        """Predict where the source's pixels go by the states of a roll-out, px, without making frames.

        One source goes for all rows, or one for each.

        Raises:
            ValueError: The decoder is a SPADE decoder, which predicts no motion.
        """
        if not isinstance(self.decoder, WarpDecoder):
            raise ValueError("motion: got a SPADE decoder, expected a warp decoder, which predicts motion")
        known = features or self.decoder.source_features(source)
        return self.decoder.predict_motion(states, [one.expand(len(states)) for one in known])


def make_decoder(settings: ClipDecoderSettings, channels: int) -> Decoder:
    """Make the decoder that a recipe names, for states of this many channels."""
    if isinstance(settings, WarpDecoderSettings):
        return WarpDecoder(settings, channels)
    return SpadeDecoder(settings, channels)
