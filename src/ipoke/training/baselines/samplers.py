"""Everything that can be evaluated, by name or file: the model, trained baselines, trivial answers."""

from pathlib import Path

from ipoke.core.errors import InputError
from ipoke.core.model_files import facts_from_metadata, fitted_weights, outlined, read_tensors, recipe_from_metadata
from ipoke.data.clip_rows import read_settings
from ipoke.data.clips import ClipSet
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.model import find_model, load
from ipoke.training.baselines.baseline import Baseline
from ipoke.training.baselines.copy_source import CopySource
from ipoke.training.baselines.methods import make_baseline
from ipoke.training.baselines.nearest_clip import NearestClip

TRIVIAL = (CopySource.name, NearestClip.name)
"""Names of the answers that need no training."""


def load_sampler(model: str | Path, clips: Path | None, *, device: str = "cpu") -> ClipSampler:
    """Load what answers stills and pokes with clips.

    Args:
        model: ``copy-x0`` or ``nearest-clip``, or a model or baseline: bundled name, run directory, safetensors file.
        clips: A prepared set: ``copy-x0`` takes its size and length, ``nearest-clip`` retrieves its training clips.
        device: Where to load weights to.

    Raises:
        InputError: No such model, not one of ours, or no set, or no training clips, for one that needs them.
    """
    if model in TRIVIAL:
        if clips is None:
            raise InputError(f"{model}: got no prepared set, expected one; give its folder")
        if model == NearestClip.name:
            return NearestClip(ClipSet(clips, split="train"))
        settings = read_settings(clips)
        return CopySource(settings.size, settings.frames)
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
