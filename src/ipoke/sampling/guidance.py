r"""Guidance: adjust residuals until the poked points of their clips reach their targets.

The latent flow is conditioned on the pokes, yet its samples follow them only as well as it has learned. A decoder that
predicts motion lets us measure by how much they miss. A poke is then a measurement of the motion :math:`m(r)` of its
pixel, and of all residuals :math:`r \sim N(0, I)` we want those that agree with it. If the motion were linear,

.. math:: r' = r + J^\top (J J^\top + \sigma^2 I)^{-1} (d - m(r)), \quad J = \partial m / \partial r,

would be an exact draw from the conditional Gaussian (Matheron's rule: a draw, plus the Kalman gain times its error for
the asked displacement d). Motion is not linear, so `guide` iterates the rule with bounded steps, and corrects J by what
each step did (Broyden 1965). The change of r is the smallest that reaches the targets, so a sample keeps whatever the
pokes do not determine.

Differs from the original, which samples from the latent flow alone.
"""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ipoke.engine.engine import Engine
from ipoke.networks.latent_flow import LatentFlow

NOISE_PX = 0.25
"""Standard deviation of a poke as a measurement of the motion of its pixel."""
NEAR_ENOUGH_PX = 0.5
"""A sample stays as it is once all its poked pixels are this near their targets."""
LONGEST_STEP = 4.0
"""Norm of the first step of a residual, whose own norm is about the root of its dimensions, 32 for 1024."""
MOST_STEPS = 6
GRADIENT_TOLERANCE = 0.03
"""Error that the Jacobian at the mode may have; every step corrects it."""
WILDEST = 1.0
"""A step is rejected if any pixel then moves by more than this many sides of the picture."""
SHRINKAGE = 0.85
"""Factor by which a draw is shrunk towards the mode while one of its pixels moves that far by itself."""
MOST_SHRINKAGES = 12
"""How often; then the draw stays as it was."""


class Rows(Protocol):
    """What rows of residuals are conditioned on, whatever it is; a tensor of row numbers selects some of them."""

    def __getitem__(self, rows: Int64[Tensor, " k"], /) -> Self: ...


AnyRows = TypeVar("AnyRows", bound=Rows)


@torch.no_grad()
def jacobian_at_mode(
    engine: Engine,
    latent_flow: LatentFlow,
    cond: Float[Tensor, "1 k h w"],
    motion_of: Callable[[Float[Tensor, "m c h w"]], Float[Tensor, "m m"]],
    numbers: int,
) -> Float[Tensor, "m d"]:
    """Differentiate the motion of the poked pixels with respect to the residual, at residual zero.

    Args:
        engine: Of the model.
        latent_flow: Of the model.
        cond: The condition of the picture and its pokes.
        motion_of: From latents to the motion of the poked pixels, px; differentiable.
        numbers: How many numbers that motion has: x and y of each poke.
    """
    mode = torch.zeros(1, latent_flow.channels, latent_flow.side, latent_flow.side, device=cond.device)
    z = engine.to_latent(mode, cond)
    with torch.enable_grad():
        copies = z.expand(numbers, -1, -1, -1).clone().requires_grad_()
        (gradients,) = torch.autograd.grad(motion_of(copies).diagonal().sum(), copies)
    return latent_flow.inverse_vjp(z, cond, gradients, GRADIENT_TOLERANCE).flatten(1)


@torch.no_grad()
def guide(
    r: Float[Tensor, "n d"],
    rows: AnyRows,
    targets: Float[Tensor, "n m"],
    jacobians: Float[Tensor, "n m d"],
    motion_of: Callable[[Float[Tensor, "k d"], AnyRows], Float[Tensor, "k m"]],
    most_steps: int = MOST_STEPS,
) -> Float[Tensor, "n d"]:
    """Iterate Matheron's rule from each residual; a step that does not help is undone and retried shorter.

    A residual whose own motion is not finite is first shrunk towards the mode. Rows do not influence one another.

    Args:
        r: Residuals as they were drawn.
        rows: What each of them is conditioned on.
        targets: Displacements asked of the poked pixels, px: x and y of each poke.
        jacobians: Of the motion, about where the residuals are.
        motion_of: From some of the residuals and their rows to the motion of their poked pixels, px, as `poked_motion`.
        most_steps: Residuals that have not arrived by then stay where they are.
    """
    best, moved = _tamed(r, rows, motion_of)
    jacobians, longest = jacobians.clone(), r.new_full((len(r),), LONGEST_STEP)
    for _ in range(most_steps):
        (far,) = (_farthest(moved - targets) > NEAR_ENOUGH_PX).nonzero(as_tuple=True)
        if not len(far):
            break
        jacobian, missing = jacobians[far], targets[far] - moved[far]
        step = _matheron(jacobian, missing)
        step = step * (longest[far] / step.norm(dim=1).clamp_min(1e-9)).clamp(max=1)[:, None]
        tried = motion_of(best[far] + step, rows[far.cpu()])
        tame = tried.isfinite().all(1)
        helps = tame & (_farthest(tried - targets[far]) < _farthest(missing))
        surprise = tried - moved[far] - torch.einsum("nmd,nd->nm", jacobian, step)
        correction = torch.einsum("nm,nd->nmd", surprise, step) / step.square().sum(1).clamp_min(1e-9)[:, None, None]
        jacobians[far] = torch.where(tame[:, None, None], jacobian + correction, jacobian)
        longest[far] *= torch.where(helps, 1.5, 0.4)
        best[far] = torch.where(helps[:, None], best[far] + step, best[far])
        moved[far] = torch.where(helps[:, None], tried, moved[far])
    return best


def poked_motion(motion: Float[Tensor, "n 2 s s"], places: Int64[Tensor, "n p 2"]) -> Float[Tensor, "n m"]:
    """Read the motion of poked pixels, px: x and y of each in turn; NaN where any pixel of the picture flies off.

    Args:
        motion: Where each pixel goes, relative to itself, px.
        places: Row and column of each poked pixel.
    """
    is_wild = motion.abs().flatten(1).amax(1) > WILDEST * motion.shape[-1]
    return motion_at(motion, places).masked_fill(is_wild[:, None], float("nan"))


def motion_at(motion: Float[Tensor, "n 2 s s"], places: Int64[Tensor, "n p 2"]) -> Float[Tensor, "n m"]:
    """Read the motion at places (row, column), the nearest ones inside, px: x and y of each in turn."""
    rows, columns = places.to(motion.device).clamp(0, motion.shape[-1] - 1).unbind(2)
    samples = torch.arange(len(motion), device=motion.device)[:, None]
    return motion[samples, :, rows, columns].flatten(1).float()


def _tamed(
    r: Float[Tensor, "n d"],
    rows: AnyRows,
    motion_of: Callable[[Float[Tensor, "k d"], AnyRows], Float[Tensor, "k m"]],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n m"]]:
    """Return residuals whose motion is finite, unchanged where it already is, and that motion."""
    tame, moved = r.clone(), motion_of(r, rows)
    for _ in range(MOST_SHRINKAGES):
        (wild,) = moved.isfinite().all(1).logical_not().nonzero(as_tuple=True)
        if not len(wild):
            return tame, moved
        tame[wild] *= SHRINKAGE
        moved[wild] = motion_of(tame[wild], rows[wild.cpu()])
    return torch.where(moved.isfinite().all(1, keepdim=True), tame, r), moved


def _matheron(jacobian: Float[Tensor, "n m d"], missing: Float[Tensor, "n m"]) -> Float[Tensor, "n d"]:
    """Return the smallest change of a standard normal that makes up for what is missing; not finite where J is not."""
    noise = NOISE_PX**2 * torch.eye(missing.shape[1], dtype=missing.dtype, device=missing.device)
    weights, _ = torch.linalg.solve_ex(jacobian @ jacobian.transpose(1, 2) + noise, missing)
    return torch.einsum("nmd,nm->nd", jacobian, weights)


def _farthest(missing: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """Return the distance, px, of the poked pixel that is farthest from its target."""
    return missing.unflatten(1, (-1, 2)).norm(dim=2).amax(1)
