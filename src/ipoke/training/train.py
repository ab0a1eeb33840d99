"""All stages in turn: from a prepared set and a recipe to a model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ipoke.autoencoder.lpips import Lpips
from ipoke.autoencoder.perceptual import (
    Vgg19Distance,
    find_perceptual_weights,
    load_perceptual,
    weights_sha256,
)
from ipoke.baselines.baseline import Baseline
from ipoke.baselines.methods import make_baseline
from ipoke.data.balance import Objects
from ipoke.data.batches import Batch, training_batches
from ipoke.data.clips import ClipSet
from ipoke.errors import InputError
from ipoke.model import PokeModel
from ipoke.runs import Run
from ipoke.settings import STAGES, Recipe, stage_stream, stages_of
from ipoke.training.autoencoder_stage import AutoencoderStage
from ipoke.training.baseline_stage import BaselineStage
from ipoke.training.condition_stages import ImageEncoderStage, PokeEncoderStage
from ipoke.training.latent_flow_stage import LatentFlowStage
from ipoke.training.loop import Loop, Reporter
from ipoke.training.parallel import Workers
from ipoke.training.stage import Stage
from ipoke.version import __version__


def train(
    clips: ClipSet,
    recipe: Recipe,
    out: Path,
    *,
    reporter: Reporter,
    stage: str | None = None,
    device: torch.device | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train all stages of the recipe's method, or up to and including one, and write the model.

    Repeating the call with the same arguments goes on where it stopped; finished stages are not repeated.

    Returns:
        The model file, once the last stage is done; else the checkpoint of the stage asked for.

    Raises:
        InputError: Clips of another size, or that name no objects to balance, a run with other settings, or a loss that
            is not finite.
        TrainingStopped: ``should_stop`` said so; a checkpoint was written.
    """
    device = device or torch.device("cpu")
    workers = Workers(device)
    _check(clips, recipe, stage, workers)
    objects = list(clips.objects().values()) if recipe.train.balance_objects else None
    weights = find_perceptual_weights(recipe.autoencoder_losses.perceptual_weights)
    inputs = {
        "clips": str(clips.folder),
        "clips_sha256": clips.sha256,
        "perceptual_sha256": weights_sha256(weights) if weights else None,
        "ipoke": __version__,
        "torch": torch.__version__,
        "processes": workers.size,
    }
    if workers.is_first:
        Run.open(out, recipe, inputs)
    workers.wait()
    run = Run(out)
    perceptual = load_perceptual(weights).to(device) if weights else None
    if perceptual is None and recipe.autoencoder_losses.perceptual:
        reporter.note(
            "perceptual loss: off, no weights found; set autoencoder_losses.perceptual_weights or IPOKE_WEIGHTS"
        )
    torch.manual_seed(recipe.train.seed)
    model = (PokeModel(recipe) if recipe.method == "ipoke" else make_baseline(recipe)).to(device)
    stages = stages_of(recipe)
    for name in stages[: stages.index(stage) + 1] if stage else stages:
        torch.manual_seed(recipe.train.seed + stage_stream(name))
        _train_stage(
            make_stage(name, model, perceptual, device), clips, objects, recipe, run, workers, reporter, should_stop
        )
    if stage and stage != stages[-1]:
        return run.checkpoint(stage)
    if workers.is_first:
        model.eval().save(run.weights, _facts(inputs, recipe))
    workers.wait()
    return run.weights


def make_stage(
    name: str, model: PokeModel | Baseline, perceptual: Lpips | Vgg19Distance | None, device: torch.device
) -> Stage:
    """Make a stage that trains its part of a model, or a whole baseline."""
    if isinstance(model, Baseline):
        return BaselineStage(model, perceptual, device)
    match name:
        case "autoencoder":
            return AutoencoderStage(model.autoencoder, model.recipe, perceptual, device)
        case "image_encoder":
            return ImageEncoderStage(model.conditions, model.recipe, perceptual, device)
        case "poke_encoder":
            return PokeEncoderStage(model.conditions, model.recipe, perceptual, device)
        case _:
            return LatentFlowStage(model, device)


def loader_threads() -> int:
    """Say how many threads make batches ahead; what they make does not depend on it."""
    return torch.get_num_threads()


def _train_stage(
    stage: Stage,
    clips: ClipSet,
    objects: Objects | None,
    recipe: Recipe,
    run: Run,
    workers: Workers,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> None:
    settings = stage.settings

    def batches_from(start: int) -> Iterator[Batch]:
        return training_batches(
            clips,
            recipe.pokes,
            recipe.augment,
            seed=recipe.train.seed + stage_stream(stage.name),
            batch=settings.batch // workers.size,
            start=start,
            rank=workers.rank,
            world_size=workers.size,
            workers=loader_threads(),
            with_tracks=stage.encodes_clips and recipe.clip_encoder.sees_tracks,
            objects=objects,
        )

    Loop(
        stage,
        run,
        seed=recipe.train.seed,
        checkpoint_every_clips=recipe.train.checkpoint_every_clips,
        sample_every_clips=recipe.train.sample_every_clips,
        workers=workers,
        reporter=reporter,
        should_stop=should_stop,
    ).train(batches_from)


def _check(clips: ClipSet, recipe: Recipe, stage: str | None, workers: Workers) -> None:
    if (clips.size, clips.frames) != (recipe.clip.size, recipe.clip.frames):
        raise InputError(
            f"{clips.folder}: holds clips of {clips.size} px and {clips.frames} frames, recipe {recipe.name} expects "
            f"{recipe.clip.size} px and {recipe.clip.frames}; prepare again with --size and --frames, or change recipe"
        )
    stages = stages_of(recipe)
    if stage is not None and stage not in stages:
        only = "" if stages == STAGES else f", the stage of method {recipe.method}; leave --stage out"
        raise InputError(f"--stage: got {stage!r}, expected {'one of ' if not only else ''}{', '.join(stages)}{only}")
    for name in STAGES if recipe.method == "ipoke" else ("autoencoder",):
        batch = getattr(recipe.train, name).batch
        if batch % workers.size:
            raise InputError(f"train.{name}.batch: got {batch}, expected a multiple of the {workers.size} processes")


def _facts(inputs: dict[str, Any], recipe: Recipe) -> dict[str, str]:
    return {
        "trained_on": Path(inputs["clips"]).name,
        "clips_sha256": inputs["clips_sha256"],
        "perceptual_sha256": inputs["perceptual_sha256"] or "none",
        "ipoke": inputs["ipoke"],
        "torch": inputs["torch"],
        "seed": str(recipe.train.seed),
    }
