"""Run directories: settings, inputs, metrics and weights on disk, written so that nothing is ever half there."""

import hashlib
import json
import os
import struct
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ipoke.errors import InputError
from ipoke.files import replacing, unwritable
from ipoke.json_text import json_text
from ipoke.settings import Recipe, parse_recipe

WEIGHTS_NAME = "model.safetensors"
FORMAT = "ipoke-model-1"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors as safetensors, atomically.

    Raises:
        InputError: The disk is full or the folder cannot be written.
    """
    with replacing(path) as partial:
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        with partial.open("rb") as file:
            os.fsync(file.fileno())


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata; nothing is unpickled.

    Raises:
        InputError: The file is missing, truncated, or another kind of file.
    """
    try:
        tensors = load_file(path)
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (OSError, SafetensorError, ValueError, struct.error) as error:
        raise InputError(
            f"{path}: cannot read this checkpoint ({error}); give a safetensors file made by ipoke"
        ) from error
    return tensors, header.get("__metadata__", {})


def file_sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(module: nn.Module) -> str:
    """Hash all weights and buffers of a model, independent of the file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_model(path: Path, module: nn.Module, recipe: Recipe, facts: dict[str, str], precision: torch.dtype) -> None:
    """Write a model, its float32 weights in another precision, with its recipe and facts about it, as safetensors."""
    tensors = {
        name: tensor.to(precision) if tensor.dtype == torch.float32 else tensor
        for name, tensor in module.state_dict().items()
    }
    write_tensors(path, tensors, model_metadata(recipe, facts))


def check_weights(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Compare the tensors of a model file with those that its recipe asks for.

    Raises:
        InputError: One is missing, foreign, of another shape, or not finite.
    """
    missing, foreign = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    misshaped = [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
    for what, names in (("lacks", missing), ("has the unknown", foreign), ("has another shape of", sorted(misshaped))):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{path}: {what} {names[0]}{more}; give the model file of one training run")
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point()):
        raise InputError(f"{path}: holds values that are not finite; train again or restore the file")


def settings_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML that `load_recipe` reads back to the same recipe."""
    lines: list[str] = []

    def emit(table: dict[str, Any], prefix: str) -> None:
        scalars = {key: value for key, value in table.items() if value is not None and not isinstance(value, dict)}
        if prefix and scalars:
            lines.append(f"\n[{prefix}]")
        lines.extend(f"{key} = {json_text(value, ascii_only=False)}" for key, value in scalars.items())
        for key, value in table.items():
            if isinstance(value, dict):
                emit(value, f"{prefix}.{key}" if prefix else key)

    emit(recipe.model_dump(mode="json"), "")
    return "\n".join(lines) + "\n"


def model_metadata(recipe: Recipe, facts: dict[str, str]) -> dict[str, str]:
    """Describe a model file: its format, its recipe, and facts about how it came to be."""
    return {"format": FORMAT, "recipe": recipe.model_dump_json(), **facts}


def recipe_from_metadata(metadata: dict[str, str], path: Path) -> Recipe:
    """Read the recipe that a model file carries.

    Raises:
        InputError: The file was not written by ipoke, or by a version that this one does not know.
    """
    if metadata.get("format") != FORMAT:
        got = metadata.get("format", "no format")
        raise InputError(f"{path}: not an ipoke model (got {got}, expected {FORMAT}); give a model made by ipoke train")
    try:
        table = json.loads(metadata["recipe"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: its recipe is missing or corrupt ({error}); restore the file") from error
    return parse_recipe(table, str(path))


def facts_from_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Read the facts that a model file tells besides its format and recipe."""
    return {key: value for key, value in metadata.items() if key not in ("format", "recipe")}


class Run:
    """A folder in which a model comes to be: settings.toml, inputs.json, metrics.jsonl, checkpoints/, samples/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / WEIGHTS_NAME

    @classmethod
    def open(cls, folder: Path, recipe: Recipe, inputs: dict[str, Any]) -> "Run":
        """Start a run, or go on with one that has the same settings and inputs.

        Raises:
            InputError: The folder holds a run with other settings, or something else.
        """
        run = cls(folder)
        settings, inputs_file = folder / "settings.toml", folder / "inputs.json"
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file, expected the folder of a run; give another --out")
        if settings.exists():
            _refuse_difference(f"{folder}: run", _completed(settings), settings_toml(recipe))
            known = _read_inputs(inputs_file)
            for key in ("clips_sha256", "perceptual_sha256", "start_sha256"):
                if known.get(key) != inputs.get(key):
                    raise InputError(
                        f"{folder}: run was started with {key} {known.get(key)}, got {inputs.get(key)}; "
                        "give the same data or another --out"
                    )
            return run
        # A start that was killed leaves the first of the two files below, and perhaps part of the second.
        if folder.exists() and any(e != inputs_file and ".partial" not in e.name for e in folder.iterdir()):
            raise InputError(f"{folder}: not empty and not a run; give an empty or new folder as --out")
        write_text(inputs_file, json_text(inputs, indent=2) + "\n")
        write_text(settings, settings_toml(recipe))
        return run

    def checkpoint(self, stage: str) -> Path:
        """Name the file that holds everything needed to go on with a stage."""
        return self.folder / "checkpoints" / f"{stage}.safetensors"

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to metrics.jsonl.

        Raises:
            InputError: The disk is full or the folder cannot be written.
        """
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json_text({"time": round(time.time(), 3), **row}) + "\n")
        except OSError as error:
            raise unwritable(path, error) from error

    def drop_log_after(self, stage: str, clips: int) -> None:
        """Remove the rows of a stage that a resumed run is about to write again, and a torn last line."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row.get("stage") != stage or row.get("clips", 0) <= clips:
                kept.append(line + "\n")
        write_text(path, "".join(kept))


def _read_inputs(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read what the run was started with ({error}); restore the file") from error


def _completed(path: Path) -> str:
    """Read resolved settings, with the defaults of keys that came after the version that wrote them."""
    text = path.read_text(encoding="utf-8")
    try:
        return settings_toml(parse_recipe(tomllib.loads(text), str(path)))
    except (InputError, tomllib.TOMLDecodeError):
        return text


def _refuse_difference(what: str, before: str, now: str) -> None:
    """Compare two resolved settings and name every key that differs."""
    if before == now:
        return
    old, new = _flat(before), _flat(now)
    changes = [
        f"{key} was {old.get(key, 'unset')}, got {new.get(key, 'unset')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    raise InputError(f"{what} was started with other settings: {'; '.join(changes)}; use them again or another --out")


def _flat(text: str) -> dict[str, str]:
    """Read ``section.key`` to written value from resolved settings."""
    section, pairs = "", {}
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif " = " in line:
            key, value = line.split(" = ", 1)
            pairs[section + key] = value
    return pairs
