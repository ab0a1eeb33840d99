"""The program that the commands belong to, and the types of their options."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter, Token
from cyclopts.validators import Number

from ipoke.core.errors import InputError, shown
from ipoke.core.version import __version__

app = App(
    name="ipoke",
    version=__version__,
    help="Poke a still image and sample many plausible videos.",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
"""The commands; `main` runs one. PyTorch is imported inside them, so that help and mistakes answer at once."""
USE = Group.create_ordered("Use a model")
MAKE = Group.create_ordered("Make a model")
MEASURE = Group.create_ordered("Measure models")
app["--help"].group = app["--version"].group = Group.create_ordered("This program")


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """Read a whole number; by itself the parser would round 1.5."""
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError as error:
        raise ValueError(f"got {shown(token.value)}, expected a whole number") from error


def _file_to_write(_: type, path: Path | None) -> None:
    if path is not None:
        check_file_to_write(path)


def check_file_to_write(path: Path) -> None:
    """Refuse a name under which no file can be written, before anything is computed.

    Raises:
        InputError: Something else than a file lies there, or the name is too long.
    """
    _check_name(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise InputError(f"{path}: is {kind}, cannot be written; give the name of a file")


def _folder_to_write(_: type, path: Path) -> None:
    """Refuse what is no folder and cannot become one."""
    _check_name(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is no folder, cannot be written into; give a folder, or a name that is free")


def _check_name(path: Path) -> None:
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise InputError(f"{path}: cannot be written (a name of more than {LONGEST_NAME} bytes); give a shorter one")


LONGEST_NAME = 200
"""Bytes of the name of a file or folder that is written; what file systems take, less what temporary names add."""
Whole = Parameter(converter=_whole)
Count = Annotated[int, Whole, Parameter(validator=Number(gte=1, lte=10**9))]
Pair = Annotated[int, Whole, Parameter(validator=Number(gte=2, lte=256))]
"""Samples of which there are at least two."""
Few = Annotated[int, Whole, Parameter(validator=Number(gte=1, lte=1024))]
"""Threads, processes, or what is computed in one call."""
Samples = Annotated[int, Whole, Parameter(validator=Number(gte=1, lte=256))]
Seed = Annotated[int, Whole, Parameter(validator=Number(gte=0, lt=2**63))]
OutFile = Annotated[Path, Parameter(name="--out", validator=_file_to_write)]
OutDir = Annotated[Path, Parameter(name="--out", validator=_folder_to_write)]
Unguided = Annotated[
    bool,
    Parameter(help="Sample from the latent flow alone, without guidance to the targets of the pokes."),
]
JsonFile = Annotated[Path, Parameter(name="--json", validator=_file_to_write)]
Places = Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)]
