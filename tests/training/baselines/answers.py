"""Baselines of the smallest size that do something, and what they are asked."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ipoke.core.pixels import clip_from_frames
from ipoke.data.batches import Batch, TrainingClips, training_batch
from ipoke.data.poke import Poke
from ipoke.training.baselines.methods import make_baseline
from tiny import MovingSquares, tiny_recipe

DRAG = [Poke(x=30, y=30, dx=6, dy=-4)]


def perturbed(method: str, *overrides: str) -> Any:
    """Make a baseline in which nothing is zero any more."""
    torch.manual_seed(0)
    baseline = make_baseline(tiny_recipe(f"method={method}", *overrides))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in baseline.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return baseline


@cache
def frozen(method: str) -> Any:
    """Make a baseline to sample from; shared, so nobody may change it."""
    return perturbed(method).eval().requires_grad_(False)


def context(*indices: int, frames: int = 1) -> Tensor:
    """Give the first frames of clips of moving squares."""
    squares = MovingSquares()
    return torch.stack([clip_from_frames(squares.clip(index)[:frames]) for index in indices])


def batch(count: int = 2) -> Batch:
    """Give a training batch in which everything moves."""
    pokes = tiny_recipe().pokes.model_copy(update={"zero_poke_fraction": 0.0})
    return training_batch(TrainingClips(MovingSquares(), pokes, None, seed=0, with_tracks=True), first=0, batch=count)


def assert_alike(clip, other, *, atol):
    """Compare clips; where an origin jumps from one side of an edge to the other, rounding decides, at few places."""
    assert ((clip - other).abs() > atol).float().mean() < 2e-3
