"""Stages 2 and 3: pre-training of the image encoder and of the poke encoder."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ipoke.core.pixels import frames_from_clip
from ipoke.core.recipe import Recipe
from ipoke.data.batches import Batch
from ipoke.data.optical_flow import to_colour
from ipoke.networks.autoencoder import losses
from ipoke.networks.autoencoder.discriminators import StaticDiscriminator
from ipoke.networks.autoencoder.lpips import Lpips
from ipoke.networks.autoencoder.perceptual import Vgg19Distance
from ipoke.networks.conditions.condition import ConditionEncoders
from ipoke.networks.conditions.condition_encoder import ConditionDecoder
from ipoke.networks.nn.shrink import shrunk, shrunk_field
from ipoke.training.stage import LossStep, Stage, StepContext

LARGEST_ADVERSARIAL_WEIGHT = 1e4


class ScaledError(nn.Module):
    """Negative log-likelihood of errors under a Laplace-like law whose log scale is learned: e / exp(s) + s."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, error: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Sum over places, average over the batch."""
        return (error / self.log_scale.exp() + self.log_scale).flatten(1).sum(1).mean()


def pixel_and_perceptual_error(
    predicted: Float[Tensor, "b 3 s s"],
    target: Float[Tensor, "b 3 s s"],
    perceptual: Lpips | Vgg19Distance | None,
) -> Float[Tensor, "b 3 s s"]:
    """Absolute difference, plus the perceptual distance spread over all places."""
    error = (predicted - target).abs()
    return error if perceptual is None else error + perceptual(predicted, target)[:, None, None, None]


class ImageEncoderStage(Stage):
    """Autoencode single frames; the decoder is thrown away afterwards.

    From ``adversarial_start`` on a discriminator joins, weighted so that its gradient at the last layer is as large as
    that of the reconstruction, as in the original.
    """

    name = "image_encoder"

    def __init__(
        self,
        conditions: ConditionEncoders,
        recipe: Recipe,
        perceptual: Lpips | Vgg19Distance | None,
        device: torch.device,
    ) -> None:
        self.encoder, self.shrink = conditions.image, conditions.shrink
        self.decoder = ConditionDecoder(recipe.image_encoder, 3, bounded=True).to(device)
        self.scaled_error = ScaledError().to(device)
        players: dict[str, nn.Module] = {
            "image_encoder": nn.ModuleDict(
                {"encoder": self.encoder, "decoder": self.decoder, "error": self.scaled_error}
            )
        }
        settings = recipe.train.image_encoder
        if settings.adversarial_start < 1:
            players["static"] = StaticDiscriminator(recipe.discriminators, norm="group").to(device)
        super().__init__(settings, players, device)
        self.perceptual = perceptual if settings.perceptual else None
        self.adversarial_start = settings.adversarial_start

    def loss_steps(self, batch: Batch, context: StepContext) -> Iterator[LossStep]:
        """Yield the encoder's loss, then the discriminator's."""
        frame = shrunk(batch.clip[:, -1], self.shrink)
        critic = "static" in self.players and context.progress >= self.adversarial_start
        self.let_learn("image_encoder")
        with self.autocast():
            generated = self.decoder(self.encoder(frame))
        generated = generated.float()
        nll = self.scaled_error(pixel_and_perceptual_error(generated, frame, self.perceptual))
        terms = {"reconstruction_nll": nll}
        if critic:
            adversarial = losses.hinge_generator(self.players["static"](generated))
            terms["adversarial"] = self._weight(nll, adversarial) * adversarial
        yield LossStep("image_encoder", terms, {"l1": (generated - frame).abs().mean()})
        if critic:
            yield self._static_step(frame, generated.detach())

    def _weight(self, nll: Tensor, adversarial: Tensor) -> Tensor:
        last = self.decoder.last.bias
        if last is None:
            raise AssertionError("the decoder's last layer has a bias")
        (of_nll,) = torch.autograd.grad(nll, last, retain_graph=True)
        (of_adversarial,) = torch.autograd.grad(adversarial, last, retain_graph=True)
        return (of_nll.norm() / (of_adversarial.norm() + 1e-4)).clamp(0, LARGEST_ADVERSARIAL_WEIGHT).detach()

    def _static_step(self, frame: Tensor, generated: Tensor) -> LossStep:
        self.let_learn("static")
        real = frame.detach().requires_grad_()
        real_logits, fake_logits = self.players["static"](real), self.players["static"](generated)
        return LossStep(
            "static",
            {
                "image_hinge": 2 * losses.hinge_discriminator(real_logits, fake_logits),
                "image_gradient_penalty": losses.gradient_penalty(real_logits, real),
            },
            {},
        )

    def picture(self, batch: Batch, context: StepContext) -> UInt8[np.ndarray, "h w 3"]:
        """Draw frames above their reconstructions."""
        frame = shrunk(batch.clip[:8, -1], self.shrink)
        both = torch.stack([frame, self.decoder(self.encoder(frame)).float().clamp(-1, 1)])
        return np.concatenate([np.concatenate(list(row), 1) for row in frames_from_clip(both)], 0)


class PokeEncoderStage(Stage):
    """Predict dense optical flow from pokes and source frame; the decoder is thrown away afterwards."""

    name = "poke_encoder"

    def __init__(
        self,
        conditions: ConditionEncoders,
        recipe: Recipe,
        perceptual: Lpips | Vgg19Distance | None,
        device: torch.device,
    ) -> None:
        self.conditions = conditions
        self.decoder = ConditionDecoder(recipe.poke_encoder, 2, bounded=False).to(device)
        self.scaled_error = ScaledError().to(device)
        player = nn.ModuleDict({"encoder": conditions.poke, "decoder": self.decoder, "error": self.scaled_error})
        super().__init__(recipe.train.poke_encoder, {"poke_encoder": player}, device)
        self.predicts_mean = recipe.poke_encoder.error == "squared"
        uses_it = not self.predicts_mean and recipe.train.poke_encoder.perceptual
        self.perceptual = perceptual if uses_it else None

    def loss_steps(self, batch: Batch, context: StepContext) -> Iterator[LossStep]:
        """Yield the one loss."""
        self.let_learn("poke_encoder")
        predicted, wanted = self._predict(batch), shrunk_field(batch.optical_flow, self.conditions.shrink)
        difference = predicted - wanted
        if self.predicts_mean:
            error = difference.square()
        else:
            pair = (torch.cat([field, torch.zeros_like(field[:, :1])], 1) for field in (predicted, wanted))
            error = pixel_and_perceptual_error(*pair, self.perceptual)[:, :2]
        yield LossStep(
            "poke_encoder",
            {"optical_flow_nll": self.scaled_error(error)},
            {
                "endpoint_error_px": difference.norm(dim=1).mean(),
                "endpoint_error_of_no_motion_px": wanted.norm(dim=1).mean(),
                "unexplained_variance": difference.square().mean() / wanted.square().mean().clamp_min(1e-6),
            },
        )

    def picture(self, batch: Batch, context: StepContext) -> UInt8[np.ndarray, "h w 3"]:
        """Draw source frames, optical flow, and the optical flow predicted from pokes."""
        few = Batch(*(part[:8] for part in batch))
        shrink = self.conditions.shrink
        wanted = shrunk_field(few.optical_flow, shrink)
        rows = [list(frames_from_clip(shrunk(few.clip[:, 0], shrink)))]
        rows += [[to_colour(field) for field in fields.cpu().numpy()] for fields in (wanted, self._predict(few))]
        return np.concatenate([np.concatenate(row, 1) for row in rows], 0)

    def _predict(self, batch: Batch) -> Float[Tensor, "b 2 s2 s2"]:
        with self.autocast():
            predicted = self.decoder(self.conditions.encode_pokes(batch.poke_map, batch.clip[:, 0]))
        return predicted.float()
