r"""Residuals whose clips do what was asked: a poke as a measurement of the motion that a residual leads to.

The latent flow was told of the pokes, yet its samples obey them only as well as it has learned. A decoder that moves
the still's pixels says where each of them goes, so that we can ask for more: of residuals :math:`r \sim N(0, I)`, those
whose poked pixels end where they were asked to. Were that motion :math:`m(r)` linear, the conditional draw would be

.. math:: r' = r + J^\top (J J^\top + \sigma^2 I)^{-1} (d - m(r))

exactly (Matheron's rule: a draw, plus the gain times what it misses). It is not linear, so the rule is iterated, with a
bound on each step, and J is corrected by what each step did (Broyden 1965). The least change of r does it, so a sample
keeps whatever the pokes do not decide.

Differs from the original, which leaves it at what the latent flow has learned.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ipoke.data.poke import Poke
from ipoke.engine.engine import Engine
from ipoke.networks.latent_flow import LatentFlow

NOISE_PX = 0.25
"""Standard deviation of what a poke says of the motion of its pixel."""
NEAR_ENOUGH_PX = 0.5
"""A sample is left alone once the farthest of its poked pixels is this near its target."""
LONGEST_STEP = 4.0
"""Norm of the first step of a residual, whose own norm is about the root of its dimensions, 32 for 1024."""
MOST_STEPS = 6
GRADIENT_TOLERANCE = 0.03
"""What the first gradient may leave undone; every step corrects it."""
WILDEST = 1.0
"""A step after which any pixel moves by more than this many sides of the picture is taken back."""
NEARER = 0.85
"""A draw that moves a pixel that far by itself is brought nearer to the mode, times this much, until it does not."""
MOST_NEARER = 12
"""How often; then it stays as it was drawn."""

MotionAt: TypeAlias = Callable[[Float[Tensor, "n d"], Int64[Tensor, " n"]], Float[Tensor, "n m"]]
"""From residuals, and which ones they are, to the motion of their poked pixels, px, x and y of each in turn."""
Saying: TypeAlias = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n 2 s s"]]
"""From latents to where the still's pixels are in the last frame, relative to themselves, px; with gradients."""
SayingOf: TypeAlias = Callable[[Float[Tensor, "n c h w"], Int64[Tensor, " n"]], Float[Tensor, "n 2 s s"]]
"""The same, told for each latent of which of several stills it is."""


class Pull(NamedTuple):
    """Residuals of one still, and what was asked of it."""

    r: Float[Tensor, "n c h w"]
    """As they were drawn."""
    pokes: Sequence[Poke]
    """At least one, in the model's pixels."""
    cond: Float[Tensor, "1 k h w"]
    """Of the still and these pokes."""
    gain: Float[Tensor, "m d"]
    """As of `gain_at_mode` for these pokes, or for others at the same places, which leads almost as near."""
    most_steps: int = MOST_STEPS


@torch.no_grad()
def pulled(pulls: Sequence[Pull], engine: Engine, says: SayingOf) -> list[Float[Tensor, "n c h w"]]:
    """Change residuals as little as it takes for the poked pixels of their clips to end where they were asked to.

    Stills with as many pokes are computed together; each row goes its own way, whatever the others do.

    Args:
        pulls: Residuals of one still each.
        engine: Of the model.
        says: What the decoder says of a latent's motion by the last frame, in the still of that number.
    """
    results = [pull.r for pull in pulls]
    kinds = [(len(pull.pokes), pull.most_steps) for pull in pulls]
    for kind in dict.fromkeys(kinds):
        group = [i for i, other in enumerate(kinds) if other == kind]
        reached = _pulled_alike([pulls[i] for i in group], torch.tensor(group), engine, says)
        for i, r in zip(group, reached, strict=True):
            results[i] = r
    return results


def _pulled_alike(
    pulls: Sequence[Pull], names: Int64[Tensor, " k"], engine: Engine, says: SayingOf
) -> Sequence[Float[Tensor, "n c h w"]]:
    """Pull residuals of stills with as many pokes; ``names`` are the numbers by which ``says`` knows the stills."""
    counts = [len(pull.r) for pull in pulls]
    of = torch.arange(len(pulls)).repeat_interleave(torch.tensor(counts))
    r, conds = torch.cat([pull.r for pull in pulls]), torch.cat([pull.cond for pull in pulls])
    gains = torch.stack([pull.gain for pull in pulls])
    asked = torch.tensor([[[poke.dx, poke.dy] for poke in pull.pokes] for pull in pulls]).to(r).flatten(1)
    places = torch.tensor([[[poke.y, poke.x] for poke in pull.pokes] for pull in pulls]).round().long()

    def motion_at(residuals: Float[Tensor, "n d"], rows: Int64[Tensor, " n"]) -> Float[Tensor, "n m"]:
        which = of[rows]
        z = engine.to_latent(residuals.view(-1, *r.shape[1:]), conds[which])
        motion = says(z, names[which])
        is_wild = motion.abs().flatten(1).amax(1) > WILDEST * motion.shape[-1]
        return _motion_at_places(motion, places[which]).masked_fill(is_wild[:, None], float("nan"))

    reached = reaching(r.flatten(1), motion_at, gains[of], asked[of], pulls[0].most_steps)
    return reached.view_as(r).split(counts)


@torch.no_grad()
def gain_at_mode(
    pokes: Sequence[Poke], engine: Engine, latent_flow: LatentFlow, cond: Float[Tensor, "1 k h w"], says: Saying
) -> Float[Tensor, "m d"]:
    """Differentiate the motion of the poked pixels with respect to the residual, where that is zero."""
    zero = torch.zeros(1, latent_flow.channels, latent_flow.side, latent_flow.side, device=cond.device)
    z = engine.to_latent(zero, cond)
    gradients = gradients_at(z, lambda latents: motion_of_poked(says(latents), pokes), 2 * len(pokes))
    return latent_flow.gradient_at(z, cond, gradients, GRADIENT_TOLERANCE).flatten(1)


def motion_of_poked(motion: Float[Tensor, "n 2 s s"], pokes: Sequence[Poke]) -> Float[Tensor, "n m"]:
    """Pick where the poked pixels go, px: x and y of each in turn."""
    places = torch.tensor([[round(poke.y), round(poke.x)] for poke in pokes])
    return _motion_at_places(motion, places.expand(len(motion), -1, -1))


def _motion_at_places(motion: Float[Tensor, "n 2 s s"], places: Int64[Tensor, "n p 2"]) -> Float[Tensor, "n m"]:
    rows, columns = places.to(motion.device).clamp(0, motion.shape[-1] - 1).unbind(2)
    of = torch.arange(len(motion), device=motion.device)[:, None]
    return motion[of, :, rows, columns].flatten(1).float()


def gradients_at(
    z: Float[Tensor, "1 c h w"], motion_of: Callable[[Tensor], Float[Tensor, "n m"]], numbers: int
) -> Float[Tensor, "m c h w"]:
    """Differentiate motion at one latent: as many copies of it as there are numbers, each for one of them."""
    with torch.enable_grad():
        copies = z.expand(numbers, -1, -1, -1).clone().requires_grad_()
        (gradients,) = torch.autograd.grad(motion_of(copies).diagonal().sum(), copies)
    return gradients


def reaching(
    r: Float[Tensor, "n d"],
    motion_at: MotionAt,
    jacobians: Float[Tensor, "n m d"],
    asked: Float[Tensor, "n m"],
    most_steps: int = MOST_STEPS,
) -> Float[Tensor, "n d"]:
    """Iterate Matheron's rule from each residual; a step that does not help is taken back and tried shorter.

    A residual whose own motion is not finite is first brought nearer to the mode. Each row goes its own way, whatever
    the others do.

    Args:
        r: Residuals as they were drawn.
        motion_at: Motion of the poked pixels; not finite where any pixel flies off.
        jacobians: Of ``motion_at``, about where the residuals are.
        asked: The motion that was asked for, px.
        most_steps: After which they are left where they are.
    """
    best, moved = _tamed(r, motion_at)
    jacobians, longest = jacobians.clone(), r.new_full((len(r),), LONGEST_STEP)
    for _ in range(most_steps):
        (open_,) = (_farthest(moved - asked) > NEAR_ENOUGH_PX).nonzero(as_tuple=True)
        if not len(open_):
            break
        gain, missing = jacobians[open_], asked[open_] - moved[open_]
        step = _matheron(gain, missing)
        step = step * (longest[open_] / step.norm(dim=1).clamp_min(1e-9)).clamp(max=1)[:, None]
        tried = motion_at(best[open_] + step, open_.cpu())
        tame = tried.isfinite().all(1)
        helps = tame & (_farthest(tried - asked[open_]) < _farthest(missing))
        surprise = tried - moved[open_] - torch.einsum("nmd,nd->nm", gain, step)
        correction = torch.einsum("nm,nd->nmd", surprise, step) / step.square().sum(1).clamp_min(1e-9)[:, None, None]
        jacobians[open_] = torch.where(tame[:, None, None], gain + correction, gain)
        longest[open_] *= torch.where(helps, 1.5, 0.4)
        best[open_] = torch.where(helps[:, None], best[open_] + step, best[open_])
        moved[open_] = torch.where(helps[:, None], tried, moved[open_])
    return best


def _tamed(r: Float[Tensor, "n d"], motion_at: MotionAt) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n m"]]:
    """Give residuals whose motion is finite, as they were drawn where it is, and that motion."""
    tame, moved = r.clone(), motion_at(r, torch.arange(len(r)))
    for _ in range(MOST_NEARER):
        (wild,) = moved.isfinite().all(1).logical_not().nonzero(as_tuple=True)
        if not len(wild):
            return tame, moved
        tame[wild] *= NEARER
        moved[wild] = motion_at(tame[wild], wild.cpu())
    return torch.where(moved.isfinite().all(1, keepdim=True), tame, r), moved


def _matheron(jacobian: Float[Tensor, "n m d"], missing: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
    """Give the least change of a standard normal that makes up for what is missing; not finite where J is not."""
    noise = NOISE_PX**2 * torch.eye(missing.shape[1], dtype=missing.dtype, device=missing.device)
    weights, _ = torch.linalg.solve_ex(jacobian @ jacobian.transpose(1, 2) + noise, missing)
    return torch.einsum("nmd,nm->nd", jacobian, weights)


def _farthest(missing: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """Give the distance, px, of the poked pixel that is farthest from its target."""
    return missing.unflatten(1, (-1, 2)).norm(dim=2).amax(1)
