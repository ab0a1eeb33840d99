"""Checkpoint files of the released implementation, read without running anything that is in them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ipoke.core.errors import InputError, shown
from ipoke.core.model_files import read_tensors
from ipoke.core.reading.regular import regular_file
from ipoke.exchange.official.archive import read_archive
from ipoke.exchange.official.names import PARTS

MOST_TENSORS, LONGEST_NAME, MOST_SHARING = 20_000, 256, 4
"""Tensors of a checkpoint, characters of a name, and how often all that is stored may be shared between tensors."""
HUGE_NUMBER = re.compile(r"\d{4}")


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
    if regular_file(path, "checkpoint").suffix == ".safetensors":
        state: Any = read_tensors(path)[0]
    else:
        content = read_archive(path)
        state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{path}: holds no state_dict of tensors; expected a checkpoint of the released implementation"
        )
    _check(path, state)
    return state


def _check(path: Path, state: dict[Any, Tensor]) -> None:
    """Refuse names and tensors that no released checkpoint has, before anything is done with them.

    Raises:
        InputError: The first of them.
    """
    if len(state) > MOST_TENSORS:
        raise InputError(f"{path}: has {len(state):,} tensors, expected at most {MOST_TENSORS:,}")
    size, total = path.stat().st_size, 0
    for name, tensor in state.items():
        if not isinstance(name, str) or len(name) > LONGEST_NAME or HUGE_NUMBER.search(name):
            raise InputError(f"{path}: has a tensor of the name {shown(name)}, which no released checkpoint has")
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise InputError(f"{path}: {name} is not a plain tensor; expected arrays of numbers only")
        total += tensor.nbytes
        if tensor.nbytes > tensor.untyped_storage().nbytes() or total > MOST_SHARING * size:
            raise InputError(f"{path}: {name} is larger than its stored data; download it again")


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
