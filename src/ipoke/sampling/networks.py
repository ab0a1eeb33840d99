"""The networks of one model, with the facts of its recipe: what samplers, pictures and the model itself stand on."""

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.core.recipe import Recipe
from ipoke.engine.engine import Engine, choose_engine
from ipoke.engine.holder import EngineHolder
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.conditions.condition import ConditionEncoders
from ipoke.networks.latent_flow import LatentFlow


class Networks(EngineHolder):
    """Video autoencoder, condition encoders and latent flow. Paper: Fig. 2."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.residual_std = 1.0
        """Standard deviation of residuals at temperature 1: 1 as learned, or fitted to true futures by
        `ipoke.evaluation.metrics.residual_std`."""
        self.decoder_precision = torch.float32
        """Of the decoder's networks when the engine samples."""
        self.autoencoder = ClipAutoencoder(recipe)
        self.conditions = ConditionEncoders(recipe)
        self.latent_flow = LatentFlow(
            recipe.latent_flow, channels=recipe.latent_channels, cond_channels=self.conditions.channels
        )

    def choose_engine(self) -> Engine:
        """Choose what computes samples, for the weights as they are now."""
        return choose_engine(self.autoencoder, self.latent_flow, self.decoder_precision)

    def encode(
        self, clip: Float[Tensor, "b t 3 s s"], tracks: Float[Tensor, "b t2 2 s s"] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior of z for clips in [-1, 1], frame 0 being the source.

        An encoder that takes tracks computes them from the clip where they are not given.

        >>> import ipoke, torch
        >>> model = ipoke.load("scenes-64")
        >>> mean, logvar = model.encode(torch.zeros(1, 11, 3, 64, 64))
        >>> tuple(mean.shape)
        (1, 16, 8, 8)
        """
        return self.autoencoder.encode(clip, tracks)

    def condition(self, x0: Float[Tensor, "b 3 s s"], poke_map: Float[Tensor, "b 2 s s"]) -> Float[Tensor, "b k 8 8"]:
        """Encode source frames in [-1, 1] and poke maps in px into the condition of the latent flow.

        >>> import ipoke, torch
        >>> model = ipoke.load("scenes-64")
        >>> cond = model.condition(torch.zeros(1, 3, 64, 64), torch.zeros(1, 2, 64, 64))
        >>> tuple(cond.shape)
        (1, 96, 8, 8)
        """
        return self.conditions(x0, poke_map).float()

    def to_residual(
        self, z: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, " b"]]:
        """Map latents to residuals, with log|det dr/dz| in nats. Paper: Eq. 5.

        >>> import ipoke, torch
        >>> model = ipoke.load("scenes-64")
        >>> z, cond = torch.zeros(2, 16, 8, 8), torch.zeros(2, 96, 8, 8)
        >>> r, log_det = model.to_residual(z, cond)
        >>> tuple(r.shape), tuple(log_det.shape)
        ((2, 16, 8, 8), (2,))
        """
        return self.latent_flow.to_residual(z, cond)

    def to_latent(self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
        """Map residuals to latents, the exact inverse of `to_residual`. Paper: Eq. 4.

        >>> import ipoke, torch
        >>> model = ipoke.load("scenes-64")
        >>> z, cond = torch.ones(2, 16, 8, 8), torch.zeros(2, 96, 8, 8)
        >>> r, _ = model.to_residual(z, cond)
        >>> torch.allclose(model.to_latent(r, cond), z, atol=1e-4)
        True
        """
        return self.latent_flow.to_latent(r, cond)

    def decode(
        self, z: Float[Tensor, "b c h w"], x0: Float[Tensor, "b 3 s s"], frames: int = 10
    ) -> Float[Tensor, "b t 3 s s"]:
        """Decode latents into the ``frames`` frames that follow x0, in [-1, 1]; any number of them.

        >>> import ipoke, torch
        >>> model = ipoke.load("scenes-64")
        >>> clip = model.decode(torch.zeros(1, 16, 8, 8), torch.zeros(1, 3, 64, 64), frames=4)
        >>> tuple(clip.shape)
        (1, 4, 3, 64, 64)
        """
        if torch.is_grad_enabled():
            return self.autoencoder.decode(z, x0, frames).clip
        engine = self.engine
        return engine.decode(engine.rollout(z, frames), x0).clip

    @property
    def predicts_motion(self) -> bool:
        """Whether the decoder predicts where the source's pixels go, which guidance needs."""
        return self.autoencoder.predicts_motion

    @property
    def size(self) -> int:
        """Side of the clips, px."""
        return self.recipe.clip.size

    @property
    def frames(self) -> int:
        """Frames after the still that it was trained on."""
        return self.recipe.clip.frames

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
