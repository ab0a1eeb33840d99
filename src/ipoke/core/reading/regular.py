"""Read a user's files: regular files only, of limited size; JSON of limited depth."""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from ipoke.core.errors import InputError
from ipoke.core.files import reason


def regular_file(path: Path, what: str = "file") -> Path:
    """Check that a path is a regular file: reading a pipe may block for ever, and a device has no end.

    Args:
        path: The path; symbolic links are followed.
        what: What the file is expected to be, for the error.

    Raises:
        InputError: The path does not exist or is not a regular file.
    """
    open_regular(path, what).close()
    return path


def open_regular(path: Path, what: str = "file") -> BinaryIO:
    """Open a regular file for reading; a folder, a pipe or a device at the path is refused without blocking.

    Raises:
        InputError: As `regular_file`, or the file is not readable.
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
    """Tell whether a path exists; False where the name is invalid or too long."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; False where the name is invalid or too long."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_bounded(path: Path, most: int, what: str = "file") -> bytes:
    """Read a file of at most ``most`` bytes; errors call it ``what``.

    Raises:
        InputError: The file is missing, not regular, not readable, or larger.
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
    """Parse JSON.

    Raises:
        ValueError: The text is not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
