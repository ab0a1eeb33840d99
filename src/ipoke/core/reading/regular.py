"""Reading files of people: regular files alone, of a bounded size, JSON of a bounded depth."""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from ipoke.core.errors import InputError
from ipoke.core.files import reason


def regular_file(path: Path, what: str = "file") -> Path:
    """Check that a path leads to a regular file: reading a pipe may wait for ever, and a device has no end.

    Args:
        path: Of the file; symbolic links are followed.
        what: What it is expected to be, for the error.

    Raises:
        InputError: Nothing is there, or something else than a file.
    """
    open_regular(path, what).close()
    return path


def open_regular(path: Path, what: str = "file") -> BinaryIO:
    """Open a file to be read; whatever else may lie at the path (a folder, a pipe, a device) is not waited for.

    Raises:
        InputError: As `regular_file`, or it may not be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot read this {what} (no such file); check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read this {what} ({reason(error)}); check its permissions") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "is a folder" if stat.S_ISDIR(mode) else "is a pipe, a device or a socket"
        raise InputError(f"{path}: cannot read this {what} ({kind}); give a file")
    return os.fdopen(handle, "rb")


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
    with open_regular(path, what) as file:
        try:
            content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
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
