"""Reading files of people: regular files alone, of a bounded size, JSON of a bounded depth."""

import json
import stat
from pathlib import Path
from typing import Any

from ipoke.errors import InputError
from ipoke.files import reason


def regular_file(path: Path, what: str = "file") -> Path:
    """Check that a path leads to a regular file: reading a pipe may wait for ever, and a device has no end.

    Args:
        path: Of the file; symbolic links are followed.
        what: What it is expected to be, for the error.

    Raises:
        InputError: Nothing is there, or something else than a file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot read this {what} (no such file); check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read this {what} ({reason(error)}); check the path") from error
    if not stat.S_ISREG(mode):
        kind = "is a folder" if stat.S_ISDIR(mode) else "is a pipe, a device or a socket"
        raise InputError(f"{path}: cannot read this {what} ({kind}); give a file")
    return path


def is_there(path: Path) -> bool:
    """Tell whether a path leads to anything; nothing is there where a name is too long or too odd."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Tell whether a path leads to a folder; no name is too long or too odd to say no."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_bounded(path: Path, most: int, what: str = "file") -> bytes:
    """Read a file of at most ``most`` bytes; errors call it ``what``.

    Raises:
        InputError: No such file, not a regular one, not readable, or larger.
    """
    try:
        with regular_file(path, what).open("rb") as file:
            content = file.read(min(most, path.stat().st_size) + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read this {what} ({reason(error)}); check its permissions") from error
    if len(content) > most:
        raise InputError(f"{path}: cannot read this {what} (larger than {most:,} bytes); give another file")
    return content


def json_of(text: str | bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: Not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
