"""Writing files so that a reader never meets half of one."""

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from ipoke.errors import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a temporary path beside ``path``, and rename it to ``path`` when the block ends well.

    The temporary name keeps the file's ending, for writers that choose their format by it. When the block fails, the
    temporary file is removed and an existing ``path`` stays as it was. Missing folders are made.

    Raises:
        InputError: The folder is not writable, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read; whatever else may lie at the path (a folder, a pipe, a device) is not waited for.

    Raises:
        InputError: No such file, not a regular one, or it may not be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be opened ({reason(error)}); check the path and its permissions") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise InputError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}, expected a file")
    return os.fdopen(handle, "rb")


def unwritable(path: Path, error: OSError) -> InputError:
    """Say that a file cannot be written, and why."""
    return InputError(f"{path}: cannot be written ({reason(error)}); check the folder and the free space")


def reason(error: BaseException) -> str:
    """Say in a few words, on one line, why the operating system or a decoder refused."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
