"""Run directories: settings, inputs, metrics and weights on disk, written so that nothing is ever half there."""

import contextlib
import hashlib
import itertools
import json
import re
import struct
import time
import tomllib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ipoke.core.errors import LONGEST_WORD, InputError, cut
from ipoke.core.files import append_lines, is_leftover, reason, refuse_links, refuse_pipes, replacing
from ipoke.core.folders import LOCK_FILE, writing_alone
from ipoke.core.json_text import json_text
from ipoke.core.old_settings import upgraded
from ipoke.core.reading.regular import json_of, read_bounded, regular_file
from ipoke.core.recipe import Recipe
from ipoke.core.settings import stored_recipe

WEIGHTS_NAME = "model.safetensors"
FORMAT = "ipoke-model-1"
DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16),
    *(torch.int32, torch.float32, torch.float64, torch.int64),
]
"""Types of tensors, in the order in which safetensors lays them out backwards."""
DTYPE_NAMES = ["BOOL", "U8", "I8", "I16", "F16", "BF16", "I32", "F32", "F64", "I64"]


PICTURE = re.compile(r"[a-z_]+-\d{8}\.png")
"""How pictures in samples/ are named: stage and clips seen."""
ORDER = ".order"
"""What the names of permutations end on."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that weights are stored in."""
MOST_NUMBERS = 2**31
"""Weights of a model; the largest of the paper's has just over 2**30."""
MOST_HEADER_BYTES, MOST_FACTS, LONGEST_FACT = 2**22, 256, 2**15
"""Of a safetensors file; the header of a checkpoint of the paper's size has half a megabyte."""
MOST_NAMED = 3
"""Settings that an error names."""
MOST_INPUT_BYTES = 2**20
"""Of what a run was started with."""
Built = TypeVar("Built", bound=nn.Module)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, atomically, one after the other: the same bytes as safetensors writes.

    The library itself maps the file into memory, where a full disk ends the process, and lets only its owner read it.

    Raises:
        InputError: The disk is full or the folder cannot be written.
    """
    order = sorted(tensors, key=lambda name: (-DTYPES.index(tensors[name].dtype), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        kind = DTYPE_NAMES[DTYPES.index(tensors[name].dtype)]
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json_text(header, ascii_only=False, is_compact=True).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as partial, partial.open("wb", buffering=1 << 20) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata; nothing is unpickled.

    Raises:
        InputError: The file is missing, truncated, another kind of file, or says of itself what cannot be.
    """
    regular_file(path, "checkpoint")
    try:
        metadata = _read_metadata(path)
        return load_file(path), metadata
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path}: cannot read this checkpoint ({reason(error)}); give a safetensors file made by ipoke"
        ) from error


def _read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file.

    Raises:
        ValueError: The header is none, or holds more than any model needs.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ValueError(f"its header has {length:,} bytes, expected at most {MOST_HEADER_BYTES:,}")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_without_repetition)
        except RecursionError as error:
            raise ValueError("its header is nested too deeply") from error
    metadata = (header.get("__metadata__") or {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not a table of texts")
    if len(metadata) > MOST_FACTS or max(map(len, itertools.chain(*metadata.items())), default=0) > LONGEST_FACT:
        raise ValueError(f"it has more than {MOST_FACTS} facts, or one of over {LONGEST_FACT:,} characters")
    return metadata


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("its header has a duplicate key")
    return table


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


def outlined(build: Callable[[], Built], where: str) -> Built:
    """Build a model without memory for its weights, to learn which tensors it has.

    Args:
        build: Makes the model that a recipe describes.
        where: Whom an error speaks of.

    Raises:
        InputError: The sizes of the recipe do not make up a model, or one that no training would fit into memory.
    """
    try:
        with torch.device("meta"):
            model = build()
    except (ValueError, RuntimeError, IndexError, ArithmeticError) as error:
        raise InputError(
            f"{where}: its settings do not give a valid model ({reason(error)}); change the recipe"
        ) from error
    numbers = sum(parameter.numel() for parameter in model.parameters())
    if numbers > MOST_NUMBERS:
        raise InputError(f"{where}: asks for {numbers:,} weights, expected at most {MOST_NUMBERS:,}; make it narrower")
    return model


def fitted_weights(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Check that tensors are those that a model asks for, and give them as it holds them.

    Args:
        tensors: Of a file.
        wanted: Of the model, whose shapes and types count.
        where: Whom an error speaks of.

    Raises:
        InputError: One is missing, foreign, of another shape or kind, or not finite as the model would hold it; or an
            order of channels has repetitions.
    """
    missing, foreign = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    common = sorted(wanted.keys() & tensors.keys())
    misshaped = [name for name in common if wanted[name].shape != tensors[name].shape]
    unkind = [name for name in common if not _is_of_kind(tensors[name].dtype, wanted[name].dtype)]
    for what, names in (
        ("lacks", missing),
        ("has the unknown", foreign),
        ("has another shape of", misshaped),
        ("has another type of number in", unkind),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{where}: {what} {names[0]}{more}; give the model file of one training run")
    fitted = {name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()}
    for name, tensor in fitted.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{where}: holds values in {name} that are not finite; train again or restore the file")
        if name.endswith(ORDER) and not torch.equal(tensor.sort().values, torch.arange(len(tensor))):
            raise InputError(f"{where}: {name} is not a permutation of {len(tensor)} channels; restore the file")
    return fitted


def _is_of_kind(got: torch.dtype, wanted: torch.dtype) -> bool:
    """Tell whether numbers can be taken for those of another type."""
    return got in FLOATS if wanted in FLOATS else got == wanted


def settings_toml(recipe: Recipe) -> str:
    """Write the keys of a recipe that have an effect as TOML, which `load_recipe` reads back to the same recipe."""
    lines: list[str] = []

    def emit(table: dict[str, Any], prefix: str) -> None:
        scalars = {key: value for key, value in table.items() if value is not None and not isinstance(value, dict)}
        if prefix and scalars:
            lines.append(f"\n[{prefix}]")
        lines.extend(f"{key} = {json_text(value, ascii_only=False)}" for key, value in scalars.items())
        for key, value in table.items():
            if isinstance(value, dict):
                emit(value, f"{prefix}.{key}" if prefix else key)

    emit(recipe.table(), "")
    return "\n".join(lines) + "\n"


def model_metadata(recipe: Recipe, facts: dict[str, str]) -> dict[str, str]:
    """Describe a model file: its format, its recipe, and facts about how it came to be."""
    return {"format": FORMAT, "recipe": json_text(recipe.table(), ascii_only=False, is_compact=True), **facts}


def recipe_from_metadata(metadata: dict[str, str], path: Path) -> Recipe:
    """Read the recipe that a model file carries.

    Raises:
        InputError: The file was not written by ipoke, or by a version that this one does not know.
    """
    if metadata.get("format") != FORMAT:
        got = cut(metadata.get("format", "no format"), LONGEST_WORD)
        raise InputError(f"{path}: not an ipoke model (got {got}, expected {FORMAT}); give a model made by ipoke train")
    try:
        table = json_of(metadata["recipe"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: its recipe is missing or corrupt ({error}); restore the file") from error
    if isinstance(table, dict):
        table = upgraded(table, str(path))
    return stored_recipe(table, str(path))


def facts_from_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Read the facts that a model file tells besides its format and recipe."""
    return {key: value for key, value in metadata.items() if key not in ("format", "recipe")}


class Run:
    """A folder in which a model comes to be: settings.toml, inputs.json, metrics.jsonl, checkpoints/, samples/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / WEIGHTS_NAME
        self.metrics = folder / "metrics.jsonl"
        self.settings = folder / "settings.toml"
        self.inputs = folder / "inputs.json"

    @classmethod
    @contextlib.contextmanager
    def writing(cls, folder: Path, recipe: Recipe, inputs: dict[str, Any]) -> Generator["Run"]:
        """Open a run as the only process that writes it; a mistake before its first step leaves nothing behind.

        Raises:
            InputError: As `open`, or another process writes the run.
        """
        with writing_alone(folder, "run"):
            run = cls.open(folder, recipe, inputs)
            try:
                yield run
            except Exception:
                if not run.metrics.exists() and run.has_learned_nothing():
                    run.forget()
                raise

    @classmethod
    def open(cls, folder: Path, recipe: Recipe, inputs: dict[str, Any]) -> "Run":
        """Start a run, or go on with one that has the same settings and inputs.

        One that has no checkpoint yet is started anew where settings or inputs differ: nothing is lost.

        Raises:
            InputError: The folder holds a run with other settings, or something else.
        """
        run = cls(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file, expected the folder of a run; give another --out")
        refuse_links(folder / "checkpoints", folder / "samples", run.metrics)
        refuse_pipes(run.settings, run.inputs, run.metrics, folder / "plan.json")
        begun = run.has_learned_nothing()
        if not begun and not run.settings.exists():
            raise InputError(f"{folder}: not empty and not a run; give an empty or new folder as --out")
        try:
            run.refuse_difference(recipe, inputs)
        except InputError:
            if not begun:
                raise
            run.forget()
            write_text(run.inputs, json_text(inputs, indent=2) + "\n")
            write_text(run.settings, settings_toml(recipe))
        return run

    def checkpoint(self, stage: str) -> Path:
        """Name the file that holds everything needed to go on with a stage."""
        return self.folder / "checkpoints" / f"{stage}.safetensors"

    def has_learned_nothing(self) -> bool:
        """Tell whether all that is here, if anything, is a run without a checkpoint, or less of one."""
        if not self.folder.exists():
            return True
        names = _names(self.folder)
        if self.settings.name not in names:
            return not names or (names == {self.inputs.name} and "ipoke" in _read_inputs(self.inputs))
        return (
            names <= {self.settings.name, self.inputs.name, self.metrics.name, "plan.json", "samples", "checkpoints"}
            and not _names(self.folder / "checkpoints")
            and all(map(PICTURE.fullmatch, _names(self.folder / "samples")))
            and _is_recipe(self.settings)
        )

    def forget(self) -> None:
        """Remove what a run without a checkpoint consists of."""
        for name in _names(self.folder / "samples"):
            (self.folder / "samples" / name).unlink()
        for folder in ("samples", "checkpoints"):
            with contextlib.suppress(OSError):
                (self.folder / folder).rmdir()
        for file in (self.metrics, self.folder / "plan.json", self.settings, self.inputs):
            file.unlink(missing_ok=True)

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to metrics.jsonl.

        Raises:
            InputError: The disk is full or the folder cannot be written.
        """
        append_lines(self.metrics, json_text({"time": round(time.time(), 3), **row}) + "\n")

    def drop_log_after(self, stage: str, clips: int) -> None:
        """Remove the rows of a stage that a resumed run is about to write again, and what is no row."""
        if not self.metrics.exists():
            return
        text = self.metrics.read_bytes()
        kept = [line for line in text.splitlines(keepends=True) if _stays(line, stage, clips)]
        if b"".join(kept) != text:
            write_text(self.metrics, b"".join(kept).decode())

    def refuse_difference(self, recipe: Recipe, inputs: dict[str, Any]) -> None:
        """Refuse to go on with other settings or inputs than the run was started with; a run that is not there differs.

        Raises:
            InputError: They differ.
        """
        before = _completed(self.settings) if self.settings.exists() else ""
        _refuse_difference(f"{self.folder}: run", before, settings_toml(recipe))
        known = _read_inputs(self.inputs)
        for key in ("clips_sha256", "perceptual_sha256", "start_sha256"):
            if known.get(key) != inputs.get(key):
                raise InputError(
                    f"{self.folder}: run was started with {key} {known.get(key)}, got {inputs.get(key)}; "
                    "give the same data or another --out"
                )


def _names(folder: Path) -> set[str]:
    """Name what is in a folder, but for locks and what killed writers left."""
    entries = folder.iterdir() if folder.exists() else ()
    return {entry.name for entry in entries if entry.name != LOCK_FILE and not is_leftover(entry.name)}


def _is_recipe(path: Path) -> bool:
    try:
        _stored_recipe(path)
    except (InputError, OSError, ValueError):
        return False
    return True


def _stays(line: bytes, stage: str, clips: int) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and (row.get("stage") != stage or row.get("clips", 0) <= clips)


def _read_inputs(path: Path) -> dict[str, Any]:
    try:
        known = json_of(read_bounded(path, MOST_INPUT_BYTES)) if path.exists() else {}
        if not isinstance(known, dict):
            raise ValueError("not a table")
    except ValueError as error:
        raise InputError(f"{path}: cannot read what the run was started with ({error}); restore the file") from error
    return known


def _completed(path: Path) -> str:
    """Read resolved settings of any version as this version writes them."""
    try:
        return settings_toml(_stored_recipe(path))
    except (InputError, ValueError):
        return path.read_text(encoding="utf-8", errors="replace")


def _stored_recipe(path: Path) -> Recipe:
    """Read the settings of a run, of any version."""
    return stored_recipe(upgraded(tomllib.loads(path.read_text(encoding="utf-8")), str(path)), str(path))


def _refuse_difference(what: str, before: str, now: str) -> None:
    """Compare two resolved settings and name the keys that differ, first those that both have."""
    if before == now:
        return
    old, new = _flat(before), _flat(now)
    differing = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    differing.sort(key=lambda key: (key not in old or key not in new, key))
    changes = [f"{key} was {old.get(key, 'unset')}, got {new.get(key, 'unset')}" for key in differing[:MOST_NAMED]]
    if len(differing) > MOST_NAMED:
        changes.append(f"and {len(differing) - MOST_NAMED} more")
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
