"""The smallest things that every part of the system can work on: clips of moving squares, a recipe, a model."""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import torch

from ipoke.core.recipe import STAGES, Recipe
from ipoke.core.runs import Run
from ipoke.core.settings import load_recipe
from ipoke.data.clips import ClipSet, ClipSetSettings
from ipoke.sampling.model import PokeModel
from ipoke.training.loop import Loop
from ipoke.training.parallel import Workers
from ipoke.training.stage import Stage

SIZE, FRAMES = 64, 4

RECIPE = Path(__file__).with_name("tinier-64.toml")


class MovingSquares:
    """Clips held in memory: a textured square moves over a textured ground, by a displacement of its own."""

    folder = Path("moving-squares")
    sha256 = "0" * 64
    size, frames = SIZE, FRAMES
    split = "test"

    def __init__(self, count: int = 6, frames: int = FRAMES) -> None:
        self.frames = frames
        self.settings = ClipSetSettings(size=SIZE, frames=frames, optical_flow="exact")
        rng = np.random.default_rng(0)
        self.displacements = rng.integers(3, 7, (count, 2)) * rng.choice([-1, 1], (count, 2))
        self.corners = rng.integers(20, 28, (count, 2))
        self.grounds = [self._texture(rng, SIZE, 60) for _ in range(count)]
        self.squares = [self._texture(rng, 16, 140) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.grounds)

    def row(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(source=SimpleNamespace(id=f"square-{index}"))

    def clip(self, index: int) -> np.ndarray:
        frames = []
        for step in range(self.frames + 1):
            x, y = self.corners[index] + np.round(self.displacements[index] * step / self.frames).astype(int)
            frame = self.grounds[index].copy()
            frame[y : y + 16, x : x + 16] = self.squares[index]
            frames.append(frame)
        return np.stack(frames)

    def optical_flow(self, index: int) -> np.ndarray:
        x, y = self.corners[index]
        field = np.zeros((2, SIZE, SIZE), np.float32)
        field[:, y : y + 16, x : x + 16] = self.displacements[index][:, None, None]
        return field

    @staticmethod
    def _texture(rng: np.random.Generator, side: int, brightness: int) -> np.ndarray:
        noise = rng.integers(0, 100, (side, side, 3), dtype=np.uint8)
        return cv2.GaussianBlur(noise, (0, 0), 1.5) + np.uint8(brightness)


def clip_set(count: int = 6, frames: int = FRAMES) -> ClipSet:
    """Pass moving squares off as a prepared set: training and evaluation ask no more of one than they have."""
    return cast(ClipSet, MovingSquares(count, frames))


class Silent:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.heard: list[tuple[str, int]] = []

    def progress(self, stage: str, clips: int, total: int, figures: dict[str, float]) -> None:
        self.heard.append((stage, clips))

    def note(self, text: str) -> None:
        self.notes.append(text)


def stop_after(steps: int) -> Callable[[], bool]:
    """Make a ``should_stop`` that says yes when asked for the ``steps``-th time."""
    asked = iter(range(1, 1_000_000))
    return lambda: next(asked) >= steps


def loop_of(stage: Stage, out: Path, should_stop: Callable[[], bool]) -> Loop:
    """Make a loop that saves when it is stopped or done."""
    return Loop(
        stage,
        Run(out),
        seed=0,
        checkpoint_every_clips=1000,
        sample_every_clips=1000,
        workers=Workers(torch.device("cpu")),
        reporter=Silent(),
        should_stop=should_stop,
    )


def tiny_recipe(*overrides: str) -> Recipe:
    return load_recipe(str(RECIPE), overrides)


def training(*, clips: int, batch: int = 2, stages: Sequence[str] = STAGES) -> list[str]:
    """Say how many clips stages see."""
    return [f"train.{stage}.{key}={value}" for stage in stages for key, value in (("clips", clips), ("batch", batch))]


@cache
def _outline(recipe: Recipe) -> PokeModel:
    with torch.device("meta"):
        return PokeModel(recipe)


def copied_outline(recipe: Recipe) -> PokeModel:
    """Give a model without weights, faster than it is built."""
    return copy.deepcopy(_outline(recipe))


@cache
def tiny_model() -> PokeModel:
    """Make a model whose latent flow and decoder do something; shared, so nobody may change it."""
    torch.manual_seed(0)
    model = PokeModel(tiny_recipe())
    generator = torch.Generator().manual_seed(1)
    side = 8
    z = torch.randn(16, model.recipe.latent_channels, side, side, generator=generator)
    model.latent_flow.initialise(z, torch.randn(16, model.conditions.channels, side, side, generator=generator))
    with torch.no_grad():
        for part in (model.latent_flow, model.autoencoder.decoder):
            for parameter in part.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval().requires_grad_(False)
