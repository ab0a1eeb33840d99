"""The ways to sample that are compared: each a row of steps from a still and a poke to clips."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipoke.evaluation.bench import plain_way
from ipoke.sampling.model import PokeModel, Precision

if TYPE_CHECKING:
    from ipoke.exchange.export.onnx_model import OnnxModel

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


def plainly(name: str, model: PokeModel) -> Way:
    """Sample as the released code does; one residual at a time."""
    x0, asked = still_and_poke(model.recipe.clip.size)
    kept: dict[str, Tensor] = {}

    def encode(noise: Tensor) -> Tensor:
        kept["cond"] = model.condition(x0, asked)
        return noise

    return Way(
        name,
        "float32",
        model,
        dict(
            zip(
                PARTS,
                (
                    encode,
                    lambda noise: plain_way.inverse(model.latent_flow.bijection, noise, kept["cond"]),
                    lambda z: plain_way.roll_out(model, z),
                    lambda states: plain_way.paint(model, states, x0),
                ),
                strict=True,
            )
        ),
    )


def by_onnx(name: str, model: PokeModel, exported: "OnnxModel") -> Way:
    """Sample by an exported model."""
    x0, asked = still_and_poke(model.recipe.clip.size)
    return Way(name, "float32", model, {"clip": lambda noise: torch.from_numpy(exported.frames(x0, asked, noise))})


def as_we_do(name: str, model: PokeModel, precision: Precision) -> Way:
    """Sample all residuals together, with what depends on the still computed once."""
    x0, asked = still_and_poke(model.recipe.clip.size)
    kept: dict[str, Tensor] = {}

    def encode(noise: Tensor) -> Tensor:
        kept["cond"] = model.condition(x0, asked).expand(len(noise), -1, -1, -1)
        return noise

    def decode(states: Tensor) -> Tensor:
        count = len(states)
        features = model.engine.source_features(x0)
        repeated = [one.expand(count) for one in features]
        return model.engine.decode(states, x0.expand(count, -1, -1, -1), repeated).clip

    steps = (
        encode,
        lambda noise: model.engine.to_latent(noise, kept["cond"]),
        lambda z: model.engine.rollout(z, model.recipe.clip.frames),
        decode,
    )
    return Way(name, precision, model, dict(zip(PARTS, steps, strict=True)))
