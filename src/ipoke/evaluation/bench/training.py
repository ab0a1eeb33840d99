"""Training, side by side: clips per second of each stage, lean and of the paper's size, and of the data alone."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ipoke.core.recipe import STAGES, Recipe
from ipoke.core.runs import Run
from ipoke.data.batches import Batch, TrainingClips, training_batches
from ipoke.data.clips import ClipSet
from ipoke.evaluation.bench.kept import MINUTES, Clock, Kept
from ipoke.evaluation.bench.machine import available_gib, describe
from ipoke.evaluation.bench.models import random_model
from ipoke.sampling.model import PokeModel
from ipoke.scenes import write_scenes
from ipoke.training.speed import bare_loop, timed_steps
from ipoke.training.stage import StepContext
from ipoke.training.train import loader_threads, make_stage

CLIPS = 40
"""Simulated clips to train on."""
SECONDS = 6.0
"""How long each stage of the lean recipe is timed, and the data alone."""
REFERENCE_STEPS = 2
REFERENCE_BATCH = 2
"""Of the paper's recipes, whose own batches would take minutes per step here."""
GIB_PER_PARAMETER = 14 / 1.054e9
"""Memory that a gradient of the paper's latent flow takes per parameter, GiB."""


class StageSpeed(NamedTuple):
    """How fast a stage learns."""

    stage: str
    recipe: str
    batch: int
    precision: str
    clips_per_s: float | None
    """Of whole steps, their data made ahead in threads, as in training."""
    data_clips_per_s: float | None
    """Of the data alone."""
    waiting: float | None
    """Share of the time in which a step had to wait for its data."""
    note: str | None


def measure(
    reference: Recipe,
    lean: Recipe,
    *,
    progress: Callable[[int, int], None],
    kept: Kept | None = None,
    minutes: float = MINUTES,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Train every stage for some seconds from random weights, on simulated clips, without perceptual weights.

    Of the paper's latent flow the gradient alone is timed, for its optimiser's state does not fit here; that makes it
    look faster than it is. Every stage is kept as soon as it is measured. When the time is over, no further one begins.

    Args:
        reference: Recipe of the paper's size.
        lean: The lean recipe.
        progress: Told of what is done.
        kept: What the same command has measured before, and where the result goes.
        minutes: Time for all; a stage that has begun is finished.
        seconds: How long a lean stage, and its data alone, are timed, if there is time for that.
    """
    clock, device, kept = Clock(minutes), torch.device("cpu"), kept or Kept()
    cases = [(name, recipe) for name in STAGES for recipe in (lean, reference)]
    measured: dict[str, Any] = kept.measured.setdefault("stages", {})
    seconds = min(seconds, 60 * minutes / (4 * len(cases)))
    with tempfile.TemporaryDirectory() as folder:
        clips, run = Path(folder) / "clips", Run(Path(folder) / "run")
        write_scenes(clips, clips=CLIPS, size=lean.clip.size, seed=0, workers=1, progress=lambda *_: None)
        data = ClipSet(clips, split="train")
        for done, (name, recipe) in enumerate(cases):
            progress(done, len(cases))
            if _named(name, recipe) in measured:
                continue
            if clock.is_over:
                break
            if recipe is lean:
                speed = _lean(name, lean, data, run, seconds, device)
            else:
                speed = _reference(name, reference, data, run, device)
            measured[_named(name, recipe)] = speed._asdict()
            kept.write(_result(measured, cases))
    progress(len(cases), len(cases))
    return _result(measured, cases)


def _named(stage: str, recipe: Recipe) -> str:
    return f"{stage} / {recipe.name}"


def _result(measured: dict[str, Any], cases: list[tuple[str, Recipe]]) -> dict[str, Any]:
    found = [measured.get(_named(*case)) for case in cases]
    pairs = zip(found[::2], found[1::2], strict=True)
    return {
        "complete": None not in found,
        "what": "training",
        "machine": describe(),
        "stages": [one for one in found if one is not None],
        "ratios": {
            ours["stage"]: _ratio(ours["clips_per_s"], theirs["clips_per_s"])
            for ours, theirs in pairs
            if ours is not None and theirs is not None
        },
    }


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else round(ours / theirs, 1)


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Lay a result out for people."""
    yield f"{'stage':14} {'recipe':12} {'batch':>5} {'precision':9} {'clips/s':>9} {'data alone':>11} {'waiting':>8}"
    for one in (StageSpeed(**values) for values in result["stages"]):
        alone = "" if one.data_clips_per_s is None else f"{one.data_clips_per_s:.1f}"
        waiting = "" if one.waiting is None else f"{one.waiting:.1%}"
        speed = f"{'' if one.clips_per_s is None else format(one.clips_per_s, '.2f'):>9} {alone:>11} {waiting:>8}"
        yield f"{one.stage:14} {one.recipe:12} {one.batch:5} {one.precision:9} {speed}  {one.note or ''}".rstrip()
    for name, value in result["ratios"].items():
        yield f"{name:14} {'unavailable' if value is None else f'{value:.1f} times as many clips per second'}"


def _batches(name: str, recipe: Recipe, data: ClipSet, batch: int) -> Iterator[Batch]:
    with_tracks = name in ("autoencoder", "latent_flow") and recipe.clip_encoder.sees_tracks
    return training_batches(
        TrainingClips(data, recipe.pokes, recipe.augment, seed=0, with_tracks=with_tracks),
        batch=batch,
        start=0,
        workers=loader_threads(),
    )


def _lean(name: str, recipe: Recipe, data: ClipSet, run: Run, seconds: float, device: torch.device) -> StageSpeed:
    torch.manual_seed(0)
    stage = make_stage(name, PokeModel(recipe), None, device)
    batch = stage.settings.batch
    timed = timed_steps(bare_loop(stage, run), _batches(name, recipe, data, batch), seconds)
    batches = _batches(name, recipe, data, batch)
    next(batches)
    begun, made = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds / 2:
        next(batches)
        made += batch
    alone = made / (time.perf_counter() - begun)
    speed = (round(timed.clips_per_s, 2), round(alone, 2), round(timed.waited / timed.seconds, 4))
    return StageSpeed(name, recipe.name, batch, stage.settings.precision, *speed, None)


def _reference(name: str, recipe: Recipe, data: ClipSet, run: Run, device: torch.device) -> StageSpeed:
    batch, precision = next(_batches(name, recipe, data, REFERENCE_BATCH)), getattr(recipe.train, name).precision
    seconds: float | None
    if name == "latent_flow":
        seconds, note = _gradient(recipe, batch, device)
    else:
        torch.manual_seed(0)
        loop = bare_loop(make_stage(name, PokeModel(recipe), None, device), run)
        seconds = min(_timed(lambda: loop.step(batch)) for _ in range(REFERENCE_STEPS))
        note = f"batch of {getattr(recipe.train, name).batch} in the paper"
    speed = None if seconds is None else round(REFERENCE_BATCH / seconds, 4)
    return StageSpeed(name, recipe.name, REFERENCE_BATCH, precision, speed, None, None, note)


def _gradient(recipe: Recipe, batch: Batch, device: torch.device) -> tuple[float | None, str]:
    """Time the gradient of the latent flow, where there is memory for it."""
    with torch.device("meta"):
        count = sum(p.numel() for p in PokeModel(recipe).latent_flow.parameters())
    needed, free = GIB_PER_PARAMETER * count, available_gib()
    if free < needed:
        return None, f"{needed:.0f} GiB are needed, {free:.0f} are free"
    stage = make_stage("latent_flow", random_model(recipe), None, device)

    def descend() -> None:
        for loss_step in stage.loss_steps(batch, _context()):
            torch.stack(list(loss_step.terms.values())).sum().backward()

    seconds = min(_timed(descend) for _ in range(REFERENCE_STEPS))
    return seconds, "the gradient alone, without an optimiser's step"


def _context() -> StepContext:
    return StepContext(0, 0.0, torch.Generator().manual_seed(0))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
