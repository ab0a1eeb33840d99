"""Everything that can be evaluated, by name or file: the model, trained baselines, trivial answers."""

from pathlib import Path

from ipoke.core.errors import InputError
from ipoke.core.runs import facts_from_metadata, fitted_weights, outlined, read_tensors, recipe_from_metadata
from ipoke.data.clips import ClipSet
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.model import find_model, load
from ipoke.training.baselines.baseline import Baseline
from ipoke.training.baselines.copy_source import CopySource
from ipoke.training.baselines.methods import make_baseline
from ipoke.training.baselines.nearest_clip import NearestClip

TRIVIAL = (CopySource.name, NearestClip.name)
"""Names of the answers that need no training."""


def load_sampler(model: str | Path, train_clips: ClipSet | None, *, device: str = "cpu") -> ClipSampler:
    """Load what answers stills and pokes with clips.

    Args:
        model: ``copy-x0`` or ``nearest-clip``, or a model or baseline: bundled name, run directory, safetensors file.
        train_clips: Training clips, for the two that need no training: one takes its sizes from them, one its answers.
        device: Where to load weights to.

    Raises:
        InputError: No such model, not one of ours, or no clips for one that needs them.
    """
    if model in TRIVIAL:
        if train_clips is None:
            raise InputError(f"{model}: got no training clips, expected those of a prepared set; give its folder")
        is_copy = model == CopySource.name
        return CopySource(train_clips.size, train_clips.frames) if is_copy else NearestClip(train_clips)
    path = find_model(model)
    _, metadata = read_tensors(path)
    is_ours = recipe_from_metadata(metadata, path).method == "ipoke"
    return load(path, device=device) if is_ours else load_baseline(path, device=device)


def load_baseline(model: str | Path, *, device: str = "cpu") -> Baseline:
    """Load a trained baseline by run directory or safetensors file.

    Raises:
        InputError: No such file, or not one of a baseline.
    """
    path = find_model(model)
    tensors, metadata = read_tensors(path)
    recipe = recipe_from_metadata(metadata, path)
    if recipe.method == "ipoke":
        raise InputError(f"{path}: got a model of method ipoke, expected a baseline; give it as a model")
    loaded = outlined(lambda: make_baseline(recipe), str(path))
    loaded.load_state_dict(fitted_weights(tensors, loaded.state_dict(), str(path)), assign=True)
    loaded.facts = facts_from_metadata(metadata)
    return loaded.eval().requires_grad_(False).to(device)
