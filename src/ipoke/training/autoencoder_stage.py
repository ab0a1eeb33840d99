"""Stage 1: the video autoencoder and its discriminators."""

import numpy as np
import torch
from jaxtyping import UInt8

from ipoke.core.recipe import Recipe
from ipoke.data.batches import Batch
from ipoke.engine.engine import choose_engine
from ipoke.networks.autoencoder import losses
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.autoencoder.clip_encoder import sample_posterior
from ipoke.networks.autoencoder.generated import Generated
from ipoke.networks.autoencoder.lpips import Lpips
from ipoke.networks.autoencoder.perceptual import Vgg19Distance
from ipoke.training.reconstruction_stage import ReconstructionStage, rows
from ipoke.training.stage import StepContext


class AutoencoderStage(ReconstructionStage):
    """Reconstruct clips from their latents. Paper: Eq. 9."""

    name = "autoencoder"
    encodes_clips = True

    def __init__(
        self,
        autoencoder: ClipAutoencoder,
        recipe: Recipe,
        perceptual: Lpips | Vgg19Distance | None,
        device: torch.device,
    ) -> None:
        super().__init__(autoencoder, recipe, perceptual, device)
        self.autoencoder = autoencoder

    def generate(self, batch: Batch, chosen: list[int], context: StepContext) -> Generated:
        """Decode the chosen frames from a draw of the posterior."""
        mean, logvar = self.autoencoder.encode(batch.clip, batch.tracks)
        z = sample_posterior(mean, logvar, context.generator)
        decoded = self.autoencoder.decode(z, batch.clip[:, 0], batch.clip.shape[1] - 1, only=chosen)
        weight = losses.kl_weight(self.weights.kl, self.weights.kl_last, context.progress)
        return Generated(decoded, {"kl": weight * losses.kl_to_standard_normal(mean, logvar)})

    def picture(self, batch: Batch, context: StepContext) -> UInt8[np.ndarray, "h w 3"]:
        """Draw clips above their reconstructions from the posterior mean."""
        clip = batch.clip[:4]
        with self.autocast():
            mean, _ = self.autoencoder.encode(clip, batch.tracks[:4])
            engine = choose_engine(self.autoencoder)
            decoded = engine.decode(engine.rollout(mean, clip.shape[1] - 1), clip[:, 0])
        return rows(torch.stack([clip[:, 1:], decoded.clip], 1).flatten(0, 1))
