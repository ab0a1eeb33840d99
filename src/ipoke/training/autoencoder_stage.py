"""Stage 1: the video autoencoder and its discriminators."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor, nn

from ipoke.autoencoder import losses
from ipoke.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.autoencoder.clip_encoder import sample_posterior
from ipoke.autoencoder.decoded_frames import DecodedFrames
from ipoke.autoencoder.discriminators import StaticDiscriminator, TemporalDiscriminator
from ipoke.autoencoder.perceptual import LpipsSqueeze, Vgg19Distance
from ipoke.data.batches import Batch
from ipoke.settings import Recipe
from ipoke.tensors import frames_from_clip
from ipoke.training.stage import Moment, Move, Stage


class AutoencoderStage(Stage):
    """Reconstruct clips from their latents. Paper: Eq. 9.

    Turns: temporal discriminator, static discriminator, autoencoder, as in the original. Differs from the original:
    the discriminators may rest for a first share of the stage, in which only some frames need decoding.
    """

    name = "autoencoder"
    encodes_clips = True

    def __init__(
        self,
        autoencoder: ClipAutoencoder,
        recipe: Recipe,
        perceptual: LpipsSqueeze | Vgg19Distance | None,
        device: torch.device,
    ) -> None:
        players: dict[str, nn.Module] = {"autoencoder": autoencoder}
        self.weights = recipe.autoencoder_losses
        self.adversarial = self.weights.adversarial_start < 1 and (
            self.weights.adversarial_static > 0 or self.weights.adversarial_temporal > 0
        )
        if self.adversarial:
            players |= {
                "temporal": TemporalDiscriminator(recipe.discriminators).to(device),
                "static": StaticDiscriminator(recipe.discriminators).to(device),
            }
        super().__init__(recipe.train.autoencoder, players, device)
        self.recipe, self.autoencoder, self.perceptual = recipe, autoencoder, perceptual

    def moves(self, batch: Batch, moment: Moment) -> Iterator[Move]:
        """Yield the discriminators' turns, once they take part, then the autoencoder's."""
        clip = batch.clip
        source, target = clip[:, 0], clip[:, 1:]
        frames = target.shape[1]
        critics = self.adversarial and moment.progress >= self.weights.adversarial_start
        chosen = list(range(frames)) if critics else self._chosen_frames(frames, moment)
        self.let_learn("autoencoder")
        with self.autocast():
            mean, logvar = self.autoencoder.encode(clip, batch.tracks)
            z = sample_posterior(mean, logvar, moment.generator)
            decoded = self.autoencoder.decode(z, source, frames, only=chosen)
        if critics:
            yield self._temporal_move(clip, decoded.clip.detach(), moment)
            yield self._static_move(clip, decoded.clip.detach(), moment)
        self.let_learn("autoencoder")
        terms = self._reconstruction_terms(decoded, batch, chosen, moment)
        terms["kl"] = self.weights.kl * losses.kl_to_standard_normal(mean, logvar)
        if critics:
            terms |= self._critic_terms(clip, decoded.clip, moment)
        yield Move("autoencoder", terms, {"psnr_db": _psnr(decoded.clip, target[:, chosen])})

    def picture(self, batch: Batch, moment: Moment) -> UInt8[np.ndarray, "h w 3"]:
        """Draw clips above their reconstructions from the posterior mean."""
        clip = batch.clip[:4]
        with self.autocast():
            mean, _ = self.autoencoder.encode(clip, batch.tracks[:4])
            decoded = self.autoencoder.decode(mean, clip[:, 0], clip.shape[1] - 1)
        both = torch.stack([clip[:, 1:], decoded.clip], 1).flatten(0, 1)
        return _rows(both)

    def _chosen_frames(self, frames: int, moment: Moment) -> list[int]:
        count = self.weights.frames_per_step
        if count is None or count >= frames:
            return list(range(frames))
        others = torch.randperm(frames - 1, generator=moment.generator)[: count - 1].tolist()
        return [*sorted(others), frames - 1]

    def _reconstruction_terms(
        self, decoded: DecodedFrames, batch: Batch, chosen: list[int], moment: Moment
    ) -> dict[str, Tensor]:
        weights, target = self.weights, batch.clip[:, 1:][:, chosen]
        terms = {"reconstruction_l1": weights.reconstruction_l1 * F.l1_loss(decoded.clip, target)}
        if weights.pyramid_l1:
            terms["pyramid_l1"] = weights.pyramid_l1 * losses.pyramid_l1(decoded.clip, target)
        if decoded.motion is not None:
            terms |= self._motion_terms(decoded.motion, batch, chosen)
        if self.perceptual is not None and weights.perceptual:
            shown, wanted = decoded.clip.flatten(0, 1), target.flatten(0, 1)
            if weights.perceptual_images is not None:
                picked = torch.randperm(len(shown), generator=moment.generator)[: weights.perceptual_images]
                shown, wanted = shown[picked], wanted[picked]
            with self.autocast():
                distance = self.perceptual(shown, wanted).mean()
            terms["perceptual"] = weights.perceptual * distance.float()
        return terms

    def _motion_terms(self, motion: Tensor, batch: Batch, chosen: list[int]) -> dict[str, Tensor]:
        """Compare the motion of the last frame with the clip's optical flow, that of earlier ones with its tracks."""
        weights, source = self.weights, batch.clip[:, 0]
        terms = {
            "motion": weights.motion * losses.motion_error(motion[:, -1], batch.optical_flow, source, batch.clip[:, -1])
        }
        between = chosen[:-1]
        if weights.motion_between and between and batch.tracks.shape[1]:
            sources = source[:, None].expand(-1, len(between), -1, -1, -1)
            fields = (motion[:, :-1], batch.tracks[:, between], sources, batch.clip[:, 1:][:, between])
            terms["motion_between"] = weights.motion_between * losses.motion_error(
                *(field.flatten(0, 1) for field in fields)
            )
        return terms

    def _critic_terms(self, clip: Tensor, generated: Tensor, moment: Moment) -> dict[str, Tensor]:
        weights = self.weights
        real, fake = self._windows(clip, generated, moment)
        with self.autocast():
            static = self.players["static"](self._picked_frames(generated, moment))
            temporal, fake_features = self.players["temporal"](fake)
            with torch.no_grad():
                _, real_features = self.players["temporal"](real)
        return {
            "adversarial_static": weights.adversarial_static * losses.hinge_generator(static.float()),
            "adversarial_temporal": weights.adversarial_temporal * losses.hinge_generator(temporal.float()),
            "feature_matching": weights.feature_matching * losses.feature_matching(real_features, fake_features),
        }

    def _temporal_move(self, clip: Tensor, generated: Tensor, moment: Moment) -> Move:
        self.let_learn("temporal")
        real, fake = self._windows(clip, generated, moment)
        real = real.detach().requires_grad_(self.weights.gradient_penalty > 0)
        real_logits, _ = self.players["temporal"](real)
        fake_logits, _ = self.players["temporal"](fake)
        terms = {"temporal_hinge": losses.hinge_discriminator(real_logits, fake_logits)}
        if self.weights.gradient_penalty:
            terms["temporal_gradient_penalty"] = self.weights.gradient_penalty * losses.gradient_penalty(
                real_logits, real
            )
        return Move("temporal", terms, {})

    def _static_move(self, clip: Tensor, generated: Tensor, moment: Moment) -> Move:
        self.let_learn("static")
        with self.autocast():
            real = self.players["static"](self._picked_frames(clip, moment))
            fake = self.players["static"](self._picked_frames(generated, moment))
        return Move("static", {"static_hinge": losses.hinge_discriminator(real.float(), fake.float())}, {})

    def _picked_frames(self, clip: Tensor, moment: Moment) -> Tensor:
        """Draw frames of a batch of clips, with replacement."""
        frames = clip.flatten(0, 1)
        count = self.recipe.discriminators.static_frames
        return frames[torch.randint(len(frames), (count,), generator=moment.generator)]

    def _windows(self, clip: Tensor, generated: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """Cut as many frames as are predicted out of the real clip and out of source and generated frames."""
        frames = generated.shape[1]
        first = 0
        if self.recipe.discriminators.window == "random":
            first = int(torch.randint(2, (), generator=moment.generator))
        fake = torch.cat([clip[:, :1], generated], 1)
        return clip[:, first : first + frames], fake[:, first : first + frames]


def _psnr(clip: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio for values in [-1, 1], dB."""
    return 10 * torch.log10(4 / F.mse_loss(clip.detach(), target).clamp_min(1e-10))


def _rows(clips: Tensor) -> UInt8[np.ndarray, "h w 3"]:
    """Lay clips out as rows of frames."""
    frames = frames_from_clip(clips.float().clamp(-1, 1))
    return np.concatenate([np.concatenate(list(row), 1) for row in frames], 0)
