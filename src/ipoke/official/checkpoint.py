"""Checkpoint files of the released implementation, read without running anything that is in them."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ipoke.errors import InputError
from ipoke.official.names import PARTS
from ipoke.runs import read_tensors


def read_parts(whole: Path | None, parts: Mapping[str, Path], ignored: Iterable[str]) -> dict[str, dict[str, Tensor]]:
    """Read the state of each of `PARTS`, by the original names without the part's own.

    Raises:
        InputError: A file cannot be read, a part is missing, or there are modules that nobody asked to leave aside.
    """
    states = _sorted_by_module(whole, {*PARTS, *ignored}) if whole else {}
    states |= {part: _own(part, read_state(path)) for part, path in parts.items()}
    lacking = [part for part in PARTS if not states.get(part)]
    if lacking:
        where = whole or next(iter(parts.values()), "checkpoint: got none")
        raise InputError(
            f"{where}: lacks {', '.join(lacking)}; give a second-stage checkpoint, or the parts in their own files"
        )
    return {part: states[part] for part in PARTS}


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by name; of a Lightning checkpoint its ``state_dict``.

    Raises:
        InputError: Missing, truncated, another kind of file, or one that asks for more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .ckpt or .safetensors checkpoint")
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: asks for more than tensors ({_first_line(error)}), which could run anything and is refused; on a "
            "machine without anything to lose, save its state_dict with safetensors, and import that file"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot read this checkpoint ({_first_line(error)}); download it again") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{path}: holds no state_dict of tensors; expected a checkpoint of the released implementation"
        )
    return state


def _sorted_by_module(path: Path, expected: set[str]) -> dict[str, dict[str, Tensor]]:
    """Sort a checkpoint's tensors by module."""
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_state(path).items():
        module, _, rest = name.partition(".")
        states.setdefault(module, {})[rest] = tensor
    unknown = {module: len(state) for module, state in sorted(states.items()) if module not in expected}
    if unknown:
        listed = ", ".join(f"{module} ({count} tensors)" for module, count in unknown.items())
        options = " ".join(f"--ignore {module}" for module in unknown)
        raise InputError(f"{path}: unknown modules {listed}; if they only served training or evaluation, add {options}")
    return states


def _own(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take what belongs to a part from a file that may hold it alone or among others."""
    prefix = f"{part}."
    named = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return named or dict(state)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
