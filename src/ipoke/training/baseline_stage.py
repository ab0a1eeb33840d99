"""The one stage of a run that trains a baseline."""

import numpy as np
import torch
from jaxtyping import UInt8

from ipoke.core.recipe import BASELINE_STAGE
from ipoke.data.batches import Batch
from ipoke.networks.autoencoder.generated import Generated
from ipoke.networks.autoencoder.lpips import Lpips
from ipoke.networks.autoencoder.perceptual import Vgg19Distance
from ipoke.training.baselines.baseline import Baseline
from ipoke.training.reconstruction_stage import ReconstructionStage, rows
from ipoke.training.stage import StepContext

RATE = 1 / 4
"""Learning rate of a baseline, as a share of the autoencoder's. At all of it, roll-outs that no latent tells what moves
stop moving within 1,500 clips of 64 px, and their gradient vanishes for good."""


class BaselineStage(ReconstructionStage):
    """Train a baseline as the autoencoder is trained: its clips, its losses of frames, its discriminators."""

    name = BASELINE_STAGE

    def __init__(self, baseline: Baseline, perceptual: Lpips | Vgg19Distance | None, device: torch.device) -> None:
        super().__init__(baseline, baseline.recipe, perceptual, device)
        self.settings = self.settings.model_copy(update={"learning_rate": RATE * self.settings.learning_rate})
        self.baseline = baseline
        self.given = baseline.context - 1
        self.encodes_clips = baseline.reads_tracks

    def generate(self, batch: Batch, chosen: list[int], context: StepContext) -> Generated:
        """Let the baseline make the chosen frames."""
        return self.baseline.generate(batch, chosen, context.generator, context.progress)

    def picture(self, batch: Batch, context: StepContext) -> UInt8[np.ndarray, "h w 3"]:
        """Draw clips above what the baseline answers to their stills and pokes."""
        clip, asked = batch.clip[:4], batch.poke_map[:4]
        answers = self.baseline.answer(clip[:, : self.baseline.context], asked, [[n] for n in range(len(clip))])
        return rows(torch.stack([clip[:, 1:], answers[:, 0]], 1).flatten(0, 1))
