"""From a checkpoint of the released implementation to a run that all commands use."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.model_files import WEIGHTS_NAME, file_sha256, fitted_weights, outlined
from ipoke.core.recipe import Recipe
from ipoke.core.runs import Run
from ipoke.core.version import __version__
from ipoke.exchange.official.checkpoint import read_parts
from ipoke.exchange.official.names import renamed
from ipoke.exchange.official.sizes import inferred_recipe
from ipoke.sampling.model import PokeModel

MOST_NAMED = 5
"""Tensors named in an error."""


class Imported(NamedTuple):
    """The run that a released checkpoint became."""

    weights: Path
    recipe: Recipe
    parameters: dict[str, int]
    """Learned numbers per part."""


def import_official(
    whole: Path | None, parts: Mapping[str, Path], out: Path, *, ignored: Iterable[str] = ()
) -> Imported:
    """Read a released second-stage checkpoint, or its parts from files of their own, and write a run in full precision.

    Args:
        whole: A ``.ckpt`` of the second stage, or a safetensors file with the same names; None if all parts are given.
        parts: Files for some of `ipoke.exchange.official.names.PARTS`, instead of what ``whole`` holds of them.
        out: Folder of the run that is written.
        ignored: Modules of the checkpoint that are not part of the model, such as those that served its evaluation.

    Raises:
        InputError: A file cannot be read without running what is in it; a tensor is unknown, missing or misshaped; the
            folder is taken. Nothing is written then.
    """
    if (out / WEIGHTS_NAME).exists():
        raise InputError(f"{out}: already holds a model; give another --out")
    states = read_parts(whole, parts, ignored)
    files = ({"checkpoint": whole} if whole else {}) | dict(parts)
    where = ", ".join(str(path) for path in files.values())
    names = renamed(states)
    tensors = {ours: _as_here(ours, states[part][name]) for ours, (part, name) in names.items()}
    recipe = inferred_recipe(tensors, states, where)
    model = outlined(lambda: PokeModel(recipe), where)
    wanted = model.state_dict()
    _refuse_difference(wanted, tensors, {ours: ".".join(theirs) for ours, theirs in names.items()}, where)
    model.load_state_dict(fitted_weights(tensors, wanted, where), assign=True)
    hashes = {f"{name}_sha256": file_sha256(path) for name, path in files.items()}
    inputs = {**{name: str(path) for name, path in files.items()}, **hashes, "ipoke": __version__}
    with Run.writing(out, recipe, inputs) as run:
        model.save(run.weights, {"trained_on": "imported", "ipoke": __version__, **hashes}, precision=torch.float32)
    modules = (
        ("autoencoder", model.autoencoder),
        ("condition encoders", model.conditions),
        ("latent flow", model.latent_flow),
    )
    return Imported(run.weights, recipe, {name: sum(p.numel() for p in part.parameters()) for name, part in modules})


def _as_here(name: str, tensor: Tensor) -> Tensor:
    """Give a tensor the type it has here: weights float32, flags bool."""
    if name.endswith(".initialised"):
        return tensor.bool()
    return tensor.float() if tensor.is_floating_point() else tensor


def _refuse_difference(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], original: Mapping[str, str], where: str
) -> None:
    """Name what is unknown, missing or misshaped, and what is not finite."""
    unknown = [original[name] for name in tensors.keys() - wanted.keys()]
    missing = [f"{name} (its name here)" for name in wanted.keys() - tensors.keys()]
    misshaped = [
        f"{original[name]} ({_shape(tensors[name])}, expected {_shape(wanted[name])})"
        for name in wanted.keys() & tensors.keys()
        if wanted[name].shape != tensors[name].shape
    ]
    infinite = [original[name] for name, tensor in tensors.items() if not tensor.isfinite().all()]
    for what, found in (
        ("unknown tensors", unknown),
        ("missing tensors", missing),
        ("misshaped tensors", misshaped),
        ("not finite", infinite),
    ):
        if found:
            more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            named = ", ".join(sorted(found)[:MOST_NAMED])
            raise InputError(f"{where}: {what}: {named}{more}; nothing was written, give a whole, unchanged checkpoint")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
