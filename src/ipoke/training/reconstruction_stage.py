"""What stages that learn to give clips have in common: the losses of frames, and the discriminators."""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor, nn

from ipoke.core.pixels import frames_from_clip
from ipoke.core.recipe import Recipe
from ipoke.core.unused import has_adversary
from ipoke.data.batches import Batch
from ipoke.networks.autoencoder import losses
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.discriminators import StaticDiscriminator, TemporalDiscriminator
from ipoke.networks.autoencoder.generated import Generated
from ipoke.networks.autoencoder.lpips import Lpips
from ipoke.networks.autoencoder.perceptual import Vgg19Distance
from ipoke.networks.autoencoder.splat import flow_from_later_frame
from ipoke.training.stage import LossStep, Stage, StepContext


class ReconstructionStage(Stage):
    """Learn to give the frames of a clip, by the losses of Eq. 9.

    Order of updates: temporal discriminator, static discriminator, learner, as in the original. Differs from the
    original: the discriminators may rest for a first share of the stage, in which only some frames need decoding.
    """

    given = 0
    """Frames after the source frame that the learner is given, and so need not be made."""

    def __init__(
        self,
        learner: nn.Module,
        recipe: Recipe,
        perceptual: Lpips | Vgg19Distance | None,
        device: torch.device,
    ) -> None:
        players: dict[str, nn.Module] = {self.name: learner}
        self.weights = recipe.autoencoder_losses
        self.adversarial = has_adversary(recipe)
        if self.adversarial:
            players |= {
                "temporal": TemporalDiscriminator(recipe.discriminators).to(device),
                "static": StaticDiscriminator(recipe.discriminators).to(device),
            }
        super().__init__(recipe.train.autoencoder, players, device)
        self.recipe, self.perceptual = recipe, perceptual

    @abstractmethod
    def generate(self, batch: Batch, chosen: list[int], context: StepContext) -> Generated:
        """Make the chosen frames of a batch (0 is the first after the source frame) for the learner to be judged by."""

    def loss_steps(self, batch: Batch, context: StepContext) -> Iterator[LossStep]:
        """Yield the losses of the discriminators, once they take part, then the learner's."""
        clip = batch.clip
        frames = clip.shape[1] - 1
        critics = self.adversarial and context.progress >= self.weights.adversarial_start
        chosen = list(range(self.given, frames)) if critics else self._chosen_frames(frames, context)
        self.let_learn(self.name)
        with self.autocast():
            decoded, own_terms = self.generate(batch, chosen, context)
        if critics:
            yield self._temporal_step(clip, decoded.clip.detach(), context)
            yield self._static_step(clip, decoded.clip.detach(), context)
        self.let_learn(self.name)
        terms = self._reconstruction_terms(decoded, batch, chosen, context) | own_terms
        if critics:
            terms |= self._critic_terms(clip, decoded.clip, context)
        yield LossStep(self.name, terms, {"psnr_db": _psnr(decoded.clip, clip[:, 1:][:, chosen])})

    def _chosen_frames(self, frames: int, context: StepContext) -> list[int]:
        count, others = self.weights.frames_per_step, range(self.given, frames - 1)
        if count is None or count > len(others):
            return [*others, frames - 1]
        drawn = torch.randperm(len(others), generator=context.generator)[: count - 1].tolist()
        return [*sorted(others[index] for index in drawn), frames - 1]

    def _reconstruction_terms(
        self, decoded: DecodedFrames, batch: Batch, chosen: list[int], context: StepContext
    ) -> dict[str, Tensor]:
        weights, target = self.weights, batch.clip[:, 1:][:, chosen]
        terms = {"reconstruction_l1": weights.reconstruction_l1 * F.l1_loss(decoded.clip, target)}
        if weights.pyramid_l1:
            terms["pyramid_l1"] = weights.pyramid_l1 * losses.pyramid_l1(decoded.clip, target)
        if decoded.motion is not None and (not self.given or batch.tracks.shape[1]):
            terms |= self._motion_terms(decoded.motion, batch, chosen)
        if self.perceptual is not None and weights.perceptual:
            shown, wanted = decoded.clip.flatten(0, 1), target.flatten(0, 1)
            if weights.perceptual_images is not None:
                picked = torch.randperm(len(shown), generator=context.generator)[: weights.perceptual_images]
                shown, wanted = shown[picked], wanted[picked]
            with self.autocast():
                distance = self.perceptual(shown, wanted).mean()
            terms["perceptual"] = weights.perceptual * distance.float()
        return terms

    def _motion_terms(self, motion: Tensor, batch: Batch, chosen: list[int]) -> dict[str, Tensor]:
        """Compare the motion of the last frame with the clip's optical flow, that of earlier ones with its tracks."""
        weights, source = self.weights, batch.clip[:, self.given]
        wanted, frames = self._displacements(batch, chosen), batch.clip[:, 1:][:, chosen]
        terms = {"motion": weights.motion * losses.motion_error(motion[:, -1], wanted[:, -1], source, frames[:, -1])}
        if weights.motion_between and len(chosen) > 1 and batch.tracks.shape[1]:
            sources = source[:, None].expand(-1, len(chosen) - 1, -1, -1, -1)
            fields = (motion[:, :-1], wanted[:, :-1], sources, frames[:, :-1])
            terms["motion_between"] = weights.motion_between * losses.motion_error(
                *(field.flatten(0, 1) for field in fields)
            )
        return terms

    def _displacements(self, batch: Batch, chosen: list[int]) -> Tensor:
        """Give where the pixels of the last given frame are in the chosen ones, as far as it is known."""
        fields = batch.optical_flow[:, None]
        if batch.tracks.shape[1]:
            fields = torch.cat([batch.tracks[:, chosen[:-1]], fields], 1)
        if self.given:
            track = batch.tracks[:, self.given - 1, None].expand_as(fields)
            later = flow_from_later_frame(fields.flatten(0, 1), track.flatten(0, 1))
            fields = later.unflatten(0, fields.shape[:2])
        return fields

    def _critic_terms(self, clip: Tensor, generated: Tensor, context: StepContext) -> dict[str, Tensor]:
        weights = self.weights
        real, fake = self._windows(clip, generated, context)
        with self.autocast():
            static = self.players["static"](self._picked_frames(generated, context))
            temporal, fake_features = self.players["temporal"](fake)
            with torch.no_grad():
                _, real_features = self.players["temporal"](real)
        return {
            "adversarial_static": weights.adversarial_static * losses.hinge_generator(static.float()),
            "adversarial_temporal": weights.adversarial_temporal * losses.hinge_generator(temporal.float()),
            "feature_matching": weights.feature_matching * losses.feature_matching(real_features, fake_features),
        }

    def _temporal_step(self, clip: Tensor, generated: Tensor, context: StepContext) -> LossStep:
        self.let_learn("temporal")
        real, fake = self._windows(clip, generated, context)
        real = real.detach().requires_grad_(self.weights.gradient_penalty > 0)
        real_logits, _ = self.players["temporal"](real)
        fake_logits, _ = self.players["temporal"](fake)
        terms = {"temporal_hinge": losses.hinge_discriminator(real_logits, fake_logits)}
        if self.weights.gradient_penalty:
            terms["temporal_gradient_penalty"] = self.weights.gradient_penalty * losses.gradient_penalty(
                real_logits, real
            )
        return LossStep("temporal", terms, {})

    def _static_step(self, clip: Tensor, generated: Tensor, context: StepContext) -> LossStep:
        self.let_learn("static")
        with self.autocast():
            real = self.players["static"](self._picked_frames(clip, context))
            fake = self.players["static"](self._picked_frames(generated, context))
        return LossStep("static", {"static_hinge": losses.hinge_discriminator(real.float(), fake.float())}, {})

    def _picked_frames(self, clip: Tensor, context: StepContext) -> Tensor:
        """Draw frames of a batch of clips, with replacement."""
        frames = clip.flatten(0, 1)
        count = self.recipe.discriminators.static_frames
        return frames[torch.randint(len(frames), (count,), generator=context.generator)]

    def _windows(self, clip: Tensor, generated: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
        """Cut as many frames as are predicted out of the real clip and out of given and generated frames."""
        frames, first = clip.shape[1] - 1, 0
        if self.recipe.discriminators.window == "random":
            first = int(torch.randint(2, (), generator=context.generator))
        fake = torch.cat([clip[:, : 1 + self.given], generated], 1)
        return clip[:, first : first + frames], fake[:, first : first + frames]


def _psnr(clip: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio for values in [-1, 1], dB."""
    return 10 * torch.log10(4 / F.mse_loss(clip.detach(), target).clamp_min(1e-10))


def rows(clips: Tensor) -> UInt8[np.ndarray, "h w 3"]:
    """Lay clips out as rows of frames."""
    frames = frames_from_clip(clips.float().clamp(-1, 1))
    return np.concatenate([np.concatenate(list(row), 1) for row in frames], 0)
