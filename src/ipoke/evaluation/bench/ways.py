"""The ways to sample that are compared: each a row of steps from a still and a poke to clips."""

import functools
import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipoke.core.recipe import Recipe
from ipoke.engine.engine import Engine, PlainEngine
from ipoke.evaluation.bench.models import random_model, reduced
from ipoke.sampling.model import PokeModel, Precision, load

if TYPE_CHECKING:
    from ipoke.exchange.export.onnx_model import OnnxModel

PLAIN, REFERENCE = "reference, plain engine", "reference"
"""Names of the models of the paper's size in the rows."""
PARTS = ("condition_encoders", "latent_flow_inverse", "rollout", "decoder")


def still_and_poke(size: int) -> tuple[Tensor, Tensor]:
    """Make a still of noise, and the map of one poke in its middle."""
    generator = torch.Generator().manual_seed(1)
    asked = torch.zeros(1, 2, size, size)
    asked[:, :, size // 2 - 2 : size // 2 + 3, size // 2 - 2 : size // 2 + 3] = 8.0
    return 2 * torch.rand(1, 3, size, size, generator=generator) - 1, asked


@dataclass
class Way:
    """How one model samples clips of one still: functions from what the one before gave, timed one by one."""

    name: str
    precision: Precision
    model: PokeModel
    steps: dict[str, Callable[[Tensor], Tensor]]
    last: Tensor = field(default_factory=lambda: torch.empty(0))

    @torch.no_grad()
    def run(self, samples: int) -> dict[str, float]:
        """Sample clips; give the seconds of each part, and of all together."""
        given = self.model.latent_flow.base_noise(list(range(samples)))
        seconds, begun = {}, time.perf_counter()
        for part, step in self.steps.items():
            start = time.perf_counter()
            given = step(given)
            seconds[part] = time.perf_counter() - start
        self.last = given
        return {**seconds, "clip": time.perf_counter() - begun}


def in_turn(name: str, model: PokeModel, engine: Engine, precision: Precision) -> Way:
    """Sample all residuals together by an engine, with what depends on the still computed once."""
    x0, asked = still_and_poke(model.size)
    kept: dict[str, Tensor] = {}

    def encode(noise: Tensor) -> Tensor:
        kept["cond"] = model.condition(x0, asked).expand(len(noise), -1, -1, -1)
        return noise

    def decode(states: Tensor) -> Tensor:
        count = len(states)
        features = [one.expand(count) for one in engine.source_features(x0)]
        return engine.decode(states, x0.expand(count, -1, -1, -1), features).clip

    steps = (
        encode,
        lambda noise: engine.to_latent(noise, kept["cond"]),
        lambda z: engine.rollout(z, model.frames),
        decode,
    )
    return Way(name, precision, model, dict(zip(PARTS, steps, strict=True)))


def plainly(name: str, model: PokeModel) -> Way:
    """Sample by the plain engine."""
    return in_turn(name, model, PlainEngine(model.autoencoder, model.latent_flow), "float32")


def as_we_do(name: str, model: PokeModel, precision: Precision) -> Way:
    """Sample by the engine of the model."""
    return in_turn(name, model, model.engine, precision)


def exported_model(model: PokeModel) -> "OnnxModel":
    """Export a model and load it again; the export compares the frames."""
    from ipoke.exchange.export.onnx_model import OnnxModel, export_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_onnx(model, file)
        return OnnxModel(file, threads=torch.get_num_threads())


def by_onnx(name: str, model: PokeModel, exported: "OnnxModel") -> Way:
    """Sample by an exported model."""
    x0, asked = still_and_poke(model.size)
    return Way(name, "float32", model, {"clip": lambda noise: torch.from_numpy(exported.frames(x0, asked, noise))})


def has_onnx() -> bool:
    """Tell whether models can be exported here."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


class Ways:
    """The ways that are compared, by name and precision; each is made at its first use and run once, untimed.

    Args:
        lean: Bundled name or file of a model, or a recipe, whose weights then are random.
        reference: Recipe of the paper's size, with random weights; None leaves it out.
    """

    def __init__(self, lean: str | Recipe, reference: Recipe | None) -> None:
        self.lean, self.reference = lean, reference
        self.name = lean if isinstance(lean, str) else lean.name
        self.exported = f"{self.name}, ONNX"
        self._made: dict[tuple[str, Precision], Way] = {}

    @property
    def recipe(self) -> Recipe:
        """Recipe of the lean model."""
        return self.lean if isinstance(self.lean, Recipe) else self[self.name, "float32"].model.recipe

    @property
    def keys(self) -> list[tuple[str, Precision]]:
        """Name them, in the order in which they take turns."""
        ours: list[tuple[str, Precision]] = [(self.name, "float32"), (self.name, "bfloat16")]
        ours += [(self.exported, "float32")] if has_onnx() else []
        if self.reference is None:
            return ours
        return [*ours, (PLAIN, "float32"), (REFERENCE, "float32"), (REFERENCE, "bfloat16")]

    def __getitem__(self, key: tuple[str, Precision]) -> Way:
        """Give one of them."""
        if key not in self._made:
            self._made[key] = self._make(*key)
            self._made[key].run(1)
        return self._made[key]

    def _make(self, name: str, precision: Precision) -> Way:
        if name == PLAIN:
            return plainly(name, self._random)
        if name == REFERENCE:
            model = self._random if precision == "float32" else reduced(self._random)
            return as_we_do(name, model, precision)
        if name == self.exported:
            model = self[self.name, "float32"].model
            return by_onnx(name, model, exported_model(model))
        if isinstance(self.lean, Recipe):
            return as_we_do(name, random_model(self.lean, precision), precision)
        return as_we_do(name, load(self.lean, precision=precision), precision)

    @functools.cached_property
    def _random(self) -> PokeModel:
        if self.reference is None:
            raise AssertionError("a way of the reference is made where there is one")
        return random_model(self.reference)
