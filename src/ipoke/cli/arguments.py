"""Parse and check arguments of commands."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ipoke.core.errors import InputError, shown

if TYPE_CHECKING:
    import torch

    from ipoke.data.clips import ClipSet


def device_of(asked: str | None) -> "torch.device":
    """Give the requested device, or by default a GPU where available."""
    import torch

    if asked is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = asked.partition(":")
    if kind == "cuda" and number in ("", *map(str, range(torch.cuda.device_count()))) and torch.cuda.is_available():
        return torch.device(asked)
    if asked != "cpu":
        known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(f"--device: got {shown(asked)}, expected {' or '.join(known)} on this machine")
    return torch.device("cpu")


def spare(given: Path, out_file: Path) -> None:
    """Refuse to overwrite an input file."""
    if out_file.exists() and given.exists() and out_file.samefile(given):
        raise InputError(f"--out: {out_file} is an input file; choose another name")


def numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    """Parse ``count`` comma-separated numbers."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        shape, such = ("x,y,dx,dy", "40,22,9,-4") if count == 4 else ("x,y", "40,22")
        raise InputError(f"{option}: got {shown(text)}, expected finite numbers {shape} in px, such as {such}")
    return values


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def splits(clips: Path) -> "tuple[ClipSet, ClipSet | None]":
    """Open the test split, and the training split if there is one."""
    from ipoke.data.clips import ClipSet

    test = ClipSet(clips, split="test")
    has_training_clips = any(row.split == "train" and row.segments for row in ClipSet(clips).sources)
    return test, ClipSet(clips, split="train") if has_training_clips else None


def labelled(models: list[str]) -> Iterator[tuple[str, str]]:
    """Split LABEL=NAME; the default label is the name of the file or folder."""
    seen: set[str] = set()
    for given in models:
        label, equals, name = given.partition("=")
        if not equals:
            label, name = Path(given).stem, given
        if not re.fullmatch(r"\w[\w .()+-]{0,79}", label) or label in seen:
            raise InputError(
                f"--model: got {shown(given)}, expected LABEL=NAME with a unique label of letters, digits and "
                ".()+-_, without slashes"
            )
        seen.add(label)
        yield label, name
