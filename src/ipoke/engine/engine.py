"""Engines: how the networks of one model compute samples.

The networks know nothing of engines. `PlainEngine` calls the modules' own code; it is the reference that tests compare
with. `CpuEngine` computes the same, up to rounding, from weights that are normalised, laid out and packed beforehand,
and from compiled functions where the machine has a C compiler. `choose_engine` takes one of them, once per model.
"""

import functools
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.engine.inverse import PreparedInverse
from ipoke.engine.library import SIDE, compiled
from ipoke.engine.rollout import PreparedRollout
from ipoke.engine.spade_decoder import PreparedSpadeDecoder
from ipoke.engine.warp_decoder import PreparedWarpDecoder
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder, Decoder
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.spade_decoder import SpadeDecoder
from ipoke.networks.latent_flow import LatentFlow
from ipoke.networks.nn.spade import Modulation


class Engine(ABC):
    """The functions that sampling calls, from residuals to frames; without gradients, except in `predict_motion`.

    An engine may keep what it prepares from the weights at its first use, so changed weights need a new engine.
    `ipoke.engine.holder.EngineHolder` lists when a model chooses one by itself.

    Args:
        autoencoder: Its roll-out and decoder are used.
        latent_flow: Not needed for an engine that only decodes.
    """

    def __init__(self, autoencoder: ClipAutoencoder, latent_flow: LatentFlow | None = None) -> None:
        self._autoencoder, self._latent_flow = autoencoder, latent_flow

    @abstractmethod
    def to_latent(self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
        """Map residuals to latents in float32, as `LatentFlow.approximate_latent`.

        Raises:
            ValueError: A shape is wrong; the message names the axis and both numbers.
            RuntimeError: The latent flow is not initialised.
        """

    @abstractmethod
    def rollout(self, z: Float[Tensor, "b c h w"], frames: int) -> Float[Tensor, "b t c h w"]:
        """Unroll latents into one state per frame."""

    @abstractmethod
    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""

    @abstractmethod
    def decode(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode the states of a roll-out into frames."""

    def predict_motion(
        self,
        z: Float[Tensor, "b c h w"],
        source: Float[Tensor, "k 3 s s"],
        frames: int,
        *,
        only: list[int],
        features: list[Modulation] | None = None,
    ) -> Float[Tensor, "b t 2 s s"]:
        """Predict where the source's pixels go, as `ClipAutoencoder.predict_motion`; with gradients if enabled."""
        rollout = self._autoencoder.rollout if torch.is_grad_enabled() else self.rollout
        return self._autoencoder.predict_motion(rollout(z, frames)[:, only], source, features)

    def _given_latent_flow(self) -> LatentFlow:
        if self._latent_flow is None:
            raise ValueError(
                "engine: latent flow: got none, expected one to map residuals with; this engine only decodes"
            )
        return self._latent_flow


class PlainEngine(Engine):
    """The modules' own code, on any device and in any precision."""

    @torch.no_grad()
    def to_latent(self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
        """Map residuals to latents, layer by layer."""
        return self._given_latent_flow().approximate_latent(r, cond)

    @torch.no_grad()
    def rollout(self, z: Float[Tensor, "b c h w"], frames: int) -> Float[Tensor, "b t c h w"]:
        """Step the cells frame by frame."""
        return self._autoencoder.rollout(z, frames)

    @torch.no_grad()
    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Ask the decoder."""
        return self._autoencoder.decoder.source_features(source)

    @torch.no_grad()
    def decode(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Ask the decoder."""
        return self._autoencoder.decoder(states, source, features)


class CpuEngine(Engine):
    """Prepared and compiled functions for models in float32 on a CPU.

    Each part is prepared at its first use, in as much memory again as its weights take. Where there is no C compiler,
    the modules' own code computes roll-outs and warps. Threads may share an engine.

    Args:
        autoencoder: Its roll-out and decoder are used.
        latent_flow: Not needed for an engine that only decodes.
        precision: Of the decoder's networks.
    """

    def __init__(
        self,
        autoencoder: ClipAutoencoder,
        latent_flow: LatentFlow | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(autoencoder, latent_flow)
        self._precision = precision

    def to_latent(self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
        """Map residuals to latents by `PreparedInverse`."""
        self._given_latent_flow().check_ready("residual", r)
        return self._inverse(r, cond)

    @torch.no_grad()
    def rollout(self, z: Float[Tensor, "b c h w"], frames: int) -> Float[Tensor, "b t c h w"]:
        """Unroll by `PreparedRollout`."""
        rollout = self._autoencoder.rollout
        if self._prepared_rollout is None:
            return rollout(z, frames)
        return self._prepared_rollout(rollout.motion_bias.expand(len(z), -1, -1, -1), z, frames)

    @torch.no_grad()
    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Ask the prepared decoder."""
        return self._decoder.source_features(source)

    @torch.no_grad()
    def decode(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Ask the prepared decoder."""
        return self._decoder(states, source, features)

    @functools.cached_property
    def _inverse(self) -> PreparedInverse:
        return PreparedInverse(self._given_latent_flow().bijection)

    @functools.cached_property
    def _prepared_rollout(self) -> PreparedRollout | None:
        functions = compiled()
        return None if functions is None else PreparedRollout(self._autoencoder.rollout.gru, functions)

    @functools.cached_property
    def _decoder(self) -> Decoder | PreparedSpadeDecoder | PreparedWarpDecoder:
        decoder, functions = self._autoencoder.decoder, compiled()
        if isinstance(decoder, SpadeDecoder):
            return PreparedSpadeDecoder(decoder, self._precision)
        return decoder if functions is None else PreparedWarpDecoder(decoder, functions, self._precision)


def choose_engine(
    autoencoder: ClipAutoencoder, latent_flow: LatentFlow | None = None, precision: torch.dtype = torch.float32
) -> Engine:
    """Choose how a model computes samples: prepared on a CPU in float32, plainly elsewhere and under autocast.

    Args:
        autoencoder: Of the model.
        latent_flow: Of the model; not needed for an engine that only decodes.
        precision: Of the decoder's networks, if they are prepared.
    """
    weight = autoencoder.rollout.motion_bias
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if on_cpu and (latent_flow is None or latent_flow.side == SIDE):
        return CpuEngine(autoencoder, latent_flow, precision)
    return PlainEngine(autoencoder, latent_flow)
