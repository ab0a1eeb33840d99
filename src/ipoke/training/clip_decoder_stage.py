"""A stage before the first: the decoder learns alone which pixels go along with a given motion."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.autoencoder import losses
from ipoke.autoencoder.affine_motion import MOTION_UNIT_PX, fitted
from ipoke.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.autoencoder.moving_decoder import MovingDecoder
from ipoke.data.batches import Batch
from ipoke.data.optical_flow import to_colour
from ipoke.nn.shrink import shrunk_field
from ipoke.settings import LATENT_SIDE, Recipe
from ipoke.tensors import frames_from_clip
from ipoke.training.stage import Moment, Move, Stage


class ClipDecoderStage(Stage):
    """Tell, from a still and one affine map per cell, where each of its pixels goes.

    The latent is what an encoder that has learned nothing gives: the maps fitted to the clip's optical flow, with the
    noise of the first posterior. To tell parts from ground takes many stills and no encoder, no roll-out and no frames,
    so a step costs a quarter of one of the autoencoder. Differs from the original, which has no such stage.
    """

    name = "clip_decoder"

    def __init__(self, autoencoder: ClipAutoencoder, recipe: Recipe, device: torch.device) -> None:
        settings = recipe.train.clip_decoder
        if settings is None or not isinstance(autoencoder.decoder, MovingDecoder):
            raise ValueError("got a recipe without the stage, expected train.clip_decoder and output = move")
        super().__init__(settings, {self.name: autoencoder.decoder}, device)
        self.decoder, self.weights = autoencoder.decoder, recipe.autoencoder_losses
        self.shrink = recipe.shrink
        self.channels, self.noise = recipe.latent_channels, float(np.exp(0.5 * recipe.clip_encoder.initial_logvar))

    def moves(self, batch: Batch, moment: Moment) -> Iterator[Move]:
        """Yield the one turn."""
        self.let_learn(self.name)
        source, frame = batch.clip[:, 0], batch.clip[:, -1]
        motion, along = self._say(batch, moment)
        fields = (batch.optical_flow, source, frame)
        error = losses.motion_error(motion, *fields)
        terms = {"motion": self.weights.motion * error}
        if self.weights.going:
            terms["going"] = self.weights.going * losses.going_error(along, *fields)
        still = batch.optical_flow.norm(dim=1) < losses.SMALL_ERROR_PX
        of_still = (motion.detach().norm(dim=1) * still).sum() / still.sum().clamp_min(1)
        yield Move(self.name, terms, {"motion_of_still_px": of_still})

    def picture(self, batch: Batch, moment: Moment) -> UInt8[np.ndarray, "h w 3"]:
        """Draw stills, their optical flow, and the motion that the decoder says."""
        few = Batch(*(part[:8] for part in batch))
        motion, _ = self._say(few, moment)
        rows = [list(frames_from_clip(few.clip[:, 0]))]
        rows += [[to_colour(field) for field in fields.cpu().numpy()] for fields in (few.optical_flow, motion)]
        return np.concatenate([np.concatenate(row, 1) for row in rows], 0)

    def _say(self, batch: Batch, moment: Moment) -> tuple[Float[Tensor, "b 2 s s"], Float[Tensor, "b 1 s s"]]:
        source = batch.clip[:, 0]
        noise = torch.randn(len(source), self.channels, LATENT_SIDE, LATENT_SIDE, generator=moment.generator)
        z = self.noise * noise.to(self.device)
        maps = fitted(shrunk_field(batch.optical_flow, self.shrink), LATENT_SIDE) / MOTION_UNIT_PX
        z[:, : maps.shape[1]] += maps
        with self.autocast():
            motion, along = self.decoder.motion(z[:, None], self.decoder.modulations(source))
        return motion[:, 0].float(), along[:, 0].float()
