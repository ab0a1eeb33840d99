"""Stage 4: the conditional latent flow."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ipoke.core.pixels import frames_from_clip
from ipoke.data.batches import Batch
from ipoke.engine.engine import choose_engine
from ipoke.networks.autoencoder.clip_encoder import sample_posterior
from ipoke.sampling.model import PokeModel
from ipoke.training.stage import LossStep, Stage, StepContext


class LatentFlowStage(Stage):
    """Maximise the likelihood of posterior samples of z given source frame and pokes. Paper: Eq. 8.

    The autoencoder is frozen; the condition encoders too, unless the recipe trains them on.
    """

    name = "latent_flow"
    encodes_clips = True

    def __init__(self, model: PokeModel, device: torch.device) -> None:
        learning: dict[str, nn.Module] = {"latent_flow": model.latent_flow}
        self.conditions_learn = model.recipe.latent_flow.train_condition_encoders
        if self.conditions_learn:
            learning["conditions"] = model.conditions
        super().__init__(model.recipe.train.latent_flow, {"latent_flow": nn.ModuleDict(learning)}, device)
        self.model = model
        model.autoencoder.eval().requires_grad_(False)
        model.conditions.eval().requires_grad_(False)

    def begin(self, batch: Batch, context: StepContext) -> None:
        """Initialise the bijection's layers from the first batch."""
        with torch.no_grad():
            self.model.latent_flow.initialise(self._latent(batch, context), self._condition(batch))

    def loss_steps(self, batch: Batch, context: StepContext) -> Iterator[LossStep]:
        """Yield the one loss, nats per clip."""
        self.let_learn("latent_flow")
        z = self._latent(batch, context)
        with torch.set_grad_enabled(self.conditions_learn):
            cond = self._condition(batch)
        with self.autocast():
            nll = self.model.latent_flow.nll(z, cond)
        bits = (nll.detach() / z[0].numel() + 0.5 * math.log(2 * math.pi)) / math.log(2)
        yield LossStep("latent_flow", {"nll_nats": nll}, {"nll_bits_per_dim": bits})

    def picture(self, batch: Batch, context: StepContext) -> UInt8[np.ndarray, "h w 3"]:
        """Draw each clip above two samples under its pokes."""
        few = Batch(*(part[:3] for part in batch))
        cond = self._condition(few)
        latent_flow = self.model.latent_flow
        engine = choose_engine(self.model.autoencoder, latent_flow)
        rows = [few.clip[:, 1:]]
        for draw in range(2):
            r = latent_flow.residuals([100 * draw + i for i in range(len(cond))], cond, 1.0)
            states = engine.rollout(engine.to_latent(r, cond), few.clip.shape[1] - 1)
            rows.append(engine.decode(states, few.clip[:, 0]).clip.clamp(-1, 1))
        # A flow that is half trained can send a rare residual out of range: such a sample is drawn grey.
        frames = frames_from_clip(torch.stack(rows, 1).flatten(0, 1).float().nan_to_num(0.0))
        return np.concatenate([np.concatenate(list(row), 1) for row in frames], 0)

    def _latent(self, batch: Batch, context: StepContext) -> Float[Tensor, "b c h w"]:
        with torch.no_grad(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._half_encoder):
            mean, logvar = self.model.encode(batch.clip, batch.tracks)
        return sample_posterior(mean, logvar, context.generator)

    def _condition(self, batch: Batch) -> Float[Tensor, "b k h w"]:
        with self.autocast():
            return self.model.condition(batch.clip[:, 0], batch.poke_map)

    @property
    def _half_encoder(self) -> bool:
        return self.model.recipe.train.autoencoder.precision == "bfloat16"
