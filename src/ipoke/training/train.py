"""All stages in turn: from a prepared set and a recipe to a model."""

from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ipoke.core.errors import InputError
from ipoke.core.model_files import outlined
from ipoke.core.recipe import Recipe, settings_key, stage_stream, stages_of
from ipoke.core.runs import Run
from ipoke.core.unused import has_adversary, has_image_adversary
from ipoke.core.version import __version__
from ipoke.data.balance import Objects
from ipoke.data.batches import Batch, TrainingClips, training_batches
from ipoke.data.clips import ClipSet
from ipoke.networks.autoencoder.discriminators import StaticDiscriminator, TemporalDiscriminator
from ipoke.networks.autoencoder.lpips import Lpips
from ipoke.networks.autoencoder.perceptual import (
    Vgg19Distance,
    find_perceptual_weights,
    load_perceptual,
    weights_sha256,
)
from ipoke.sampling.model import PokeModel
from ipoke.training.autoencoder_stage import AutoencoderStage
from ipoke.training.baseline_stage import BaselineStage
from ipoke.training.baselines.baseline import Baseline
from ipoke.training.baselines.methods import make_baseline
from ipoke.training.budget import Plan, make_plan, read_plan, write_plan
from ipoke.training.condition_stages import ImageEncoderStage, PokeEncoderStage
from ipoke.training.latent_flow_stage import LatentFlowStage
from ipoke.training.loop import Loop, Reporter
from ipoke.training.parallel import Workers
from ipoke.training.speed import bare_loop, timed_steps
from ipoke.training.stage import Stage
from ipoke.training.start import fitting_weights, start_sha256, take_over

MEASURED_S, MEASURED_SHARE = 6.0, 1 / 100
"""How long a stage is timed where a budget asks for it, at most, and as a share of the budget."""


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
    check_request(clips, recipe, stage, processes=workers.size)
    check_networks(recipe)
    objects = list(clips.objects().values()) if recipe.train.balance_objects else None
    weights = find_perceptual_weights(recipe.autoencoder_losses.perceptual_weights)
    inputs = inputs_of(clips, recipe, weights) | {"processes": workers.size}
    with Run.writing(out, recipe, inputs) if workers.is_first else nullcontext(Run(out)) as run:
        workers.wait()
        perceptual = load_perceptual(weights).to(device) if weights else None
        if perceptual is None and recipe.autoencoder_losses.perceptual:
            reporter.note(
                "perceptual loss: off, no weights found; set autoencoder_losses.perceptual_weights or IPOKE_WEIGHTS"
            )
        plan = _plan(clips, recipe, run, perceptual, workers, device, reporter) if recipe.budget.hours else None
        recipe = plan.recipe if plan else recipe
        torch.manual_seed(recipe.train.seed)
        model = (PokeModel(recipe) if recipe.method == "ipoke" else make_baseline(recipe)).to(device)
        if recipe.train.start:
            taken = take_over(model, recipe.train.start)
            reporter.note(taken.line())
        stages = stages_of(recipe)
        seconds = 0.0
        for name in stages[: stages.index(stage) + 1] if stage else stages:
            torch.manual_seed(recipe.train.seed + stage_stream(name))
            loop = Loop(
                make_stage(name, model, perceptual, device),
                run,
                seed=recipe.train.seed,
                checkpoint_every_clips=plan.checkpoint_every_clips if plan else recipe.train.checkpoint_every_clips,
                sample_every_clips=2 * plan.checkpoint_every_clips if plan else recipe.train.sample_every_clips,
                workers=workers,
                reporter=reporter,
                should_stop=should_stop,
                limit_s=plan.seconds_for(name) if plan else None,
            )
            loop.train(_batches(loop.stage, clips, objects, recipe, workers))
            seconds += loop.seconds
        if stage and stage != stages[-1]:
            return run.checkpoint(stage)
        if workers.is_first:
            facts = _facts(inputs, recipe) | {
                "trained_s": f"{seconds:.0f}",
                "trained_by": f"{workers.size} x {_name(device)}",
            }
            model.eval().save(run.weights, facts)
        workers.wait()
        return run.weights


def inputs_of(clips: ClipSet, recipe: Recipe, weights: Path | None) -> dict[str, Any]:
    """Give what a run is started with besides its recipe, as it is kept in inputs.json."""
    return {
        "clips": str(clips.folder),
        "clips_sha256": clips.sha256,
        "perceptual_sha256": weights_sha256(weights) if weights else None,
        "start_sha256": start_sha256(recipe.train.start) if recipe.train.start else None,
        "ipoke": __version__,
        "torch": torch.__version__,
    }


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


def _batches(
    stage: Stage, clips: ClipSet, objects: Objects | None, recipe: Recipe, workers: Workers
) -> Callable[[int], Generator[Batch, None, None]]:
    """Make what gives a stage its batches from a number of clips seen onwards."""
    training = TrainingClips(
        clips,
        recipe.pokes,
        recipe.augment,
        seed=recipe.train.seed + stage_stream(stage.name),
        with_tracks=stage.encodes_clips and recipe.clip_encoder.sees_tracks,
        objects=objects,
    )

    def batches_from(start: int) -> Generator[Batch, None, None]:
        return training_batches(
            training,
            batch=stage.settings.batch // workers.size,
            start=start,
            rank=workers.rank,
            world_size=workers.size,
            workers=loader_threads(),
        )

    return batches_from


def _plan(
    clips: ClipSet,
    recipe: Recipe,
    run: Run,
    perceptual: Lpips | Vgg19Distance | None,
    workers: Workers,
    device: torch.device,
    reporter: Reporter,
) -> Plan:
    """Read the plan of a run, or measure this machine and make one; the first of several processes does."""
    if workers.is_first and read_plan(run.folder, recipe) is None:
        reporter.note("budget: measuring how fast this machine learns")
        measured_s = min(MEASURED_S, MEASURED_SHARE * 3600 * (recipe.budget.hours or 0.0))

        def speed(candidate: Recipe, name: str) -> float:
            model = (PokeModel(candidate) if candidate.method == "ipoke" else make_baseline(candidate)).to(device)
            loop = bare_loop(make_stage(name, model, perceptual, device), run)
            batches = _batches(loop.stage, clips, None, candidate, Workers.alone())(0)
            with closing(batches):
                return workers.size * timed_steps(loop, batches, measured_s).clips_per_s

        write_plan(run.folder, make_plan(recipe, on_gpu=device.type == "cuda", processes=workers.size, speed=speed))
    workers.wait()
    plan = read_plan(run.folder, recipe)
    if plan is None:
        raise AssertionError("the first process has written a plan")
    if workers.is_first:
        for line in plan.lines():
            reporter.note(line)
    return plan


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def check_request(clips: ClipSet, recipe: Recipe, stage: str | None, *, processes: int) -> None:
    """Refuse what cannot be trained together, before a run is begun."""
    if (clips.size, clips.frames) != (recipe.clip.size, recipe.clip.frames):
        raise InputError(
            f"{clips.folder}: holds clips of {clips.size} px and {clips.frames} frames, recipe {recipe.name} expects "
            f"{recipe.clip.size} px and {recipe.clip.frames}; prepare again with --size and --frames, or change recipe"
        )
    stages = stages_of(recipe)
    if stage is not None and stage not in stages:
        only = "" if recipe.method == "ipoke" else f", the stage of method {recipe.method}; leave --stage out"
        raise InputError(f"--stage: got {stage!r}, expected {'one of ' if not only else ''}{', '.join(stages)}{only}")
    for name in map(settings_key, stages):
        batch = getattr(recipe.train, name).batch
        if batch % processes:
            raise InputError(f"train.{name}.batch: got {batch}, expected a multiple of the {processes} processes")


def check_networks(recipe: Recipe) -> None:
    """Build the networks without memory, and show discriminators a clip, before a run is begun with them."""
    where = f"recipe {recipe.name}"
    outline = outlined(lambda: PokeModel(recipe) if recipe.method == "ipoke" else make_baseline(recipe), where)
    if has_adversary(recipe):
        outlined(lambda: _discriminators(recipe), where)
    elif has_image_adversary(recipe):
        outlined(lambda: StaticDiscriminator(recipe.discriminators, norm="group"), where)
    if recipe.train.start:
        fitting_weights(outline.state_dict(), recipe.train.start)


def _discriminators(recipe: Recipe) -> nn.Module:
    static, temporal = StaticDiscriminator(recipe.discriminators), TemporalDiscriminator(recipe.discriminators)
    clip = torch.zeros(1, recipe.clip.frames, 3, recipe.clip.size, recipe.clip.size)
    static(clip[:, 0])
    temporal(clip)
    return nn.ModuleList([static, temporal])


def _facts(inputs: dict[str, Any], recipe: Recipe) -> dict[str, str]:
    return {
        "trained_on": Path(inputs["clips"]).name,
        "clips_sha256": inputs["clips_sha256"],
        "perceptual_sha256": inputs["perceptual_sha256"] or "none",
        **({"started_from": inputs["start_sha256"]} if inputs["start_sha256"] else {}),
        "ipoke": inputs["ipoke"],
        "torch": inputs["torch"],
        "seed": str(recipe.train.seed),
    }
