"""What a training would do, told without training: stages, networks, memory, and what is done already."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ipoke.core.model_files import read_tensors
from ipoke.core.recipe import Recipe, settings_key, stages_of
from ipoke.core.runs import Run
from ipoke.data.batches import Batch
from ipoke.data.clips import ClipSet
from ipoke.networks.autoencoder.perceptual import find_perceptual_weights
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.sampling.model import PokeModel
from ipoke.training.baselines.baseline import Baseline
from ipoke.training.baselines.methods import make_baseline
from ipoke.training.stage import Stage, StepContext
from ipoke.training.train import check_networks, check_request, inputs_of, make_stage

FLOAT_BYTES = 4
META = torch.device("meta")


def planned(clips: ClipSet, recipe: Recipe, out: Path, *, stage: str | None = None) -> Iterator[str]:
    """Tell what `ipoke.training.train.train` would do with the same arguments; nothing is written.

    Raises:
        InputError: As `train`, before its first step.
    """
    check_request(clips, recipe, stage, processes=1)
    check_networks(recipe)
    yield (
        f"recipe {recipe.name} on {clips.folder}: {len(clips):,} training clips of {clips.size} px, "
        f"{clips.frames} frames after the first"
    )
    weights = find_perceptual_weights(recipe.autoencoder_losses.perceptual_weights)
    yield f"perceptual loss: {weights}" if weights else "perceptual loss: off, no weights found"
    if recipe.train.start:
        yield f"start: the weights of {recipe.train.start}, where they fit"
    if recipe.budget.hours:
        yield f"budget of {recipe.budget.hours:g} h: widths, batches and clips below will be fitted to this machine"
    run, stages = Run(out), stages_of(recipe)
    if not run.has_learned_nothing():
        run.refuse_difference(recipe, inputs_of(clips, recipe, weights))
    for name in stages[: stages.index(stage) + 1] if stage else stages:
        yield _line(name, recipe, run)
    yield f"{out}: {'complete' if run.weights.exists() else 'to be written'}"


def _line(name: str, recipe: Recipe, run: Run) -> str:
    settings = getattr(recipe.train, settings_key(name))
    stage, model = _outline(name, recipe)
    networks = ", ".join(f"{player} {_parameters(module):,}" for player, module in stage.players.items())
    memory = (_state_bytes(stage, model) + _activation_bytes(stage, recipe)) / 2**30
    return (
        f"{name}: {settings.clips:,} clips, batch {settings.batch}, {-(-settings.clips // settings.batch):,} steps; "
        f"parameters: {networks}; about {memory:.2g} GiB; {_progress(name, run)}"
    )


def _outline(name: str, recipe: Recipe) -> tuple[Stage, PokeModel | Baseline]:
    """Make a stage and its model without memory for their weights."""
    with META:
        model = PokeModel(recipe) if recipe.method == "ipoke" else make_baseline(recipe)
        stage = make_stage(name, model, None, META)
    for module in model.modules():
        if isinstance(module, ActNorm):
            module.initialised = torch.tensor(True)
    return stage, model


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _state_bytes(stage: Stage, model: nn.Module) -> int:
    """Count the bytes of all weights, and of gradients, Adam's moments and averages of those that learn."""
    moments = 3 if stage.settings.amsgrad else 2
    learning = sum(map(_parameters, stage.players.values()))
    kept = _parameters(next(iter(stage.players.values())))
    return FLOAT_BYTES * (_parameters(model) + (1 + moments) * learning + kept)


def _activation_bytes(stage: Stage, recipe: Recipe) -> int:
    """Count what the losses of a step keep for their gradients, in float32, by going through them without values."""
    batch, size, frames = stage.settings.batch, recipe.clip.size, recipe.clip.frames
    seen: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            seen[id(tensor.untyped_storage())] = tensor
        return tensor

    with META:
        data = Batch(
            clip=torch.empty(batch, frames + 1, 3, size, size),
            poke_map=torch.empty(batch, 2, size, size),
            optical_flow=torch.empty(batch, 2, size, size),
            is_zero_poke=torch.empty(batch, dtype=torch.bool),
            tracks=torch.empty(batch, frames if stage.encodes_clips else 0, 2, size, size),
        )
    stage.device = torch.device("cpu")
    stage.settings = stage.settings.model_copy(update={"precision": "float32"})
    last = StepContext(0, 1.0, torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        list(stage.loss_steps(data, last))
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


def _progress(name: str, run: Run) -> str:
    path = run.checkpoint(name)
    if not path.exists():
        return "not begun"
    metadata = read_tensors(path)[1]
    return "done" if metadata.get("finished") == "true" else f"at clip {metadata.get('clips', '0')}"
