"""The autoencoder's losses, each by what it is."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ipoke.data.optical_flow import warp

SMALL_ERROR_PX = 0.3
"""Errors below this are rounded off in `motion_error`."""
MOST_WEIGHT = 4.0
"""How much more than 1 a moving pixel counts at most."""
VISIBLE_MISMATCH = 0.3
"""Difference of pixels, in [-1, 1], at which a point counts 1/e: about 38 grey levels, above noise and shading."""


def kl_to_standard_normal(mean: Float[Tensor, "b c h w"], logvar: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """KL of the posterior to N(0, I): summed over channels, averaged over batch and places, nats."""
    return -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1).mean()


def kl_weight(first: float, last: float | None, progress: float) -> float:
    """Weight of the KL divergence, which rises or falls from ``first`` to ``last`` in the third quarter of a stage.

    Late in training, a heavier weight widens posteriors as far as the decoder tolerates, so that the latent flow need
    not model what no frame shows. Early, it would make the decoder ignore the latent.

    Differs from the original, which keeps one weight.

    >>> kl_weight(1.0, 3.0, progress=0.5), kl_weight(1.0, 3.0, progress=0.625), kl_weight(1.0, 3.0, progress=0.75)
    (1.0, 2.0, 3.0)
    """
    if last is None:
        return first
    return first + (last - first) * min(1.0, max(0.0, 4 * progress - 2))


def hinge_discriminator(real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Half the sum of both hinge terms: 0.5 (E relu(1 - D(real)) + E relu(1 + D(fake)))."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def hinge_generator(fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Minus the mean logit of what was generated."""
    return -fake.mean()


def feature_matching(real: list[Tensor], fake: list[Tensor]) -> Float[Tensor, ""]:
    """Mean absolute difference of a discriminator's feature maps, averaged over layers; real ones are constants."""
    return torch.stack([F.l1_loss(b, a.detach()) for a, b in zip(real, fake, strict=True)]).mean()


def gradient_penalty(logits: Float[Tensor, "b ..."], inputs: Float[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """R1: squared norm of d(sum of logits)/d(inputs) per clip, averaged over clips, without the factor 1/2."""
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def pyramid_l1(clip: Float[Tensor, "b t 3 s s"], target: Float[Tensor, "b t 3 s s"]) -> Float[Tensor, ""]:
    """Mean absolute difference at 1/2 and at 1/4 of the side, averaged: it compares over more than a pixel."""
    difference = (clip - target).flatten(0, 1)
    terms = []
    for _ in range(2):
        difference = F.avg_pool2d(difference, 2)
        terms.append(difference.abs().mean())
    return torch.stack(terms).mean()


def motion_error(
    motion: Float[Tensor, "n 2 s s"],
    optical_flow: Float[Tensor, "n 2 s s"],
    source: Float[Tensor, "n 3 s s"],
    frame: Float[Tensor, "n 3 s s"],
) -> Float[Tensor, ""]:
    """Disagreement, px, between the decoder's motion of a frame and the optical flow from the source to that frame.

    The distance of both displacements, rounded off below `SMALL_ERROR_PX` so that it can be descended from zero.
    Pixels that move far count more, up to five times, because most pixels of most clips stand still. Points that look
    different at the target of the optical flow count little: the frame does not show them.
    """
    distance = ((motion - optical_flow).square().sum(1) + SMALL_ERROR_PX**2).sqrt() - SMALL_ERROR_PX
    moving = 1 + optical_flow.norm(dim=1).clamp(max=MOST_WEIGHT)
    return (_visible(optical_flow, source, frame) * moving * distance).mean()


def _visible(
    optical_flow: Float[Tensor, "n 2 s s"], source: Float[Tensor, "n 3 s s"], frame: Float[Tensor, "n 3 s s"]
) -> Float[Tensor, "n s s"]:
    """Estimate how visible each point is at its target, 0 to 1, from its colour there."""
    mismatch = (warp(frame, optical_flow) - source).abs().mean(1)
    return torch.exp(-(mismatch / VISIBLE_MISMATCH).square())
