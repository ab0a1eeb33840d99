"""The command line application, and the types of its options."""

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
"""The application. Commands import PyTorch inside, so that help and errors appear at once."""
USE = Group.create_ordered("Use a model")
MAKE = Group.create_ordered("Make a model")
MEASURE = Group.create_ordered("Measure models")
app["--help"].group = app["--version"].group = Group.create_ordered("This program")
LONGEST_NAME = 200
"""Longest name of a file or folder that is written, bytes: the limit of file systems, less what temporary names add."""


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """Parse an integer; the default parser rounds 1.5."""
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError as error:
        raise ValueError(f"got {shown(token.value)}, expected a whole number") from error


def _file_to_write(_: type, path: Path | None) -> None:
    if path is not None:
        check_file_to_write(path)


def check_file_to_write(path: Path) -> None:
    """Refuse a path that cannot be written as a file, before anything is computed.

    Raises:
        InputError: The path is not a file, or its name is too long.
    """
    _check_name(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise InputError(f"{path}: is {kind}, expected a file; choose another name")


def _folder_to_write(_: type, path: Path) -> None:
    """Refuse a path that is not a folder and cannot become one."""
    _check_name(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, expected a folder; choose another name")


def _check_name(path: Path) -> None:
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise InputError(f"{path}: cannot be written (a name of more than {LONGEST_NAME} bytes); choose a shorter name")


Whole = Parameter(converter=_whole)
Count = Annotated[int, Whole, Parameter(validator=Number(gte=1, lte=10**9))]
Pair = Annotated[int, Whole, Parameter(validator=Number(gte=2, lte=256))]
"""Number of samples, at least two."""
Few = Annotated[int, Whole, Parameter(validator=Number(gte=1, lte=1024))]
"""Number of threads or processes, or size of a batch."""
Samples = Annotated[int, Whole, Parameter(validator=Number(gte=1, lte=256))]
Seed = Annotated[int, Whole, Parameter(validator=Number(gte=0, lt=2**63))]
OutFile = Annotated[Path, Parameter(name="--out", validator=_file_to_write)]
OutDir = Annotated[Path, Parameter(name="--out", validator=_folder_to_write)]
Unguided = Annotated[
    bool,
    Parameter(
        help="Turn guidance off. With guidance, sampling adjusts each residual until the poked points reach their "
        "targets."
    ),
]
JsonFile = Annotated[Path, Parameter(name="--json", validator=_file_to_write)]
Places = Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)]
