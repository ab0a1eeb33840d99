"""The most memory that a process takes, measured in processes of their own."""

import resource
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from ipoke.core.recipe import Recipe
from ipoke.data.workers import in_order
from ipoke.engine.engine import PlainEngine
from ipoke.evaluation.bench.models import random_model
from ipoke.evaluation.bench.ways import still_and_poke
from ipoke.sampling.model import PokeModel, Precision, load


class Sampling(NamedTuple):
    """One clip of one model: that of a name, or one of random weights."""

    model: str | Recipe
    precision: Precision = "float32"
    plain: bool = False
    """Whether the plain engine samples."""


def peak_mib(sampling: Sampling) -> float:
    """Sample one clip in a new process, and return its peak memory, MiB, with PyTorch and the model."""
    (found,) = in_order(_sample, [sampling], 1)
    return found


def _sample(sampling: Sampling) -> float:
    model = _model(sampling)
    x0, asked = still_and_poke(model.recipe.clip.size)
    noise = model.latent_flow.base_noise([0])
    with torch.no_grad():
        engine = PlainEngine(model.autoencoder, model.latent_flow) if sampling.plain else model.engine
        engine.decode(engine.rollout(engine.to_latent(noise, model.condition(x0, asked)), model.frames), x0)
    return _most_so_far()


def _model(sampling: Sampling) -> PokeModel:
    if isinstance(sampling.model, Recipe):
        return random_model(sampling.model, sampling.precision)
    return load(sampling.model, precision=sampling.precision)


def _most_so_far() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        # The figure of getrusage would include the process that started this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
