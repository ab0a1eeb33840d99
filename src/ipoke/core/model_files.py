"""Model files: weights as safetensors, with the recipe and facts inside; nothing is unpickled."""

import hashlib
import itertools
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ipoke.core.errors import LONGEST_WORD, InputError, cut
from ipoke.core.files import reason, replacing
from ipoke.core.json_text import json_text
from ipoke.core.old_settings import upgraded
from ipoke.core.reading.regular import json_of, regular_file
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
ORDER = ".order"
"""What the names of permutations end on."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that weights are stored in."""
MOST_NUMBERS = 2**31
"""Weights of a model; the largest of the paper's has just over 2**30."""
MOST_HEADER_BYTES, MOST_FACTS, LONGEST_FACT = 2**22, 256, 2**15
"""Of a safetensors file; the header of a checkpoint of the paper's size has half a megabyte."""
Built = TypeVar("Built", bound=nn.Module)


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
