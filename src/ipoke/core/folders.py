"""Locks on folders that only one process may write at a time: runs, prepared sets, reports."""

import contextlib
import errno
import os
import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO

from ipoke.core.errors import InputError
from ipoke.core.files import fcntl, made_folder, open_in_place, remove_empty, sweep, unwritable, write_whole

LOCK_FILE = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""Errors of file systems without locks; folders on them are written without a lock."""


@contextlib.contextmanager
def writing_alone(folder: Path, what: str) -> Generator[None]:
    """Create a folder where missing, and lock it against other writing processes while the block runs.

    The kernel holds the lock: it ends with the process, however the process ends. On Windows nothing is locked.
    Temporary files of killed writers in the folder and its subfolders are removed. A new folder that is still empty
    at the end is removed again.

    Args:
        folder: The folder.
        what: What the folder contains, in a word, for errors.

    Raises:
        InputError: Another process writes it, it is a file, or it cannot be written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file, expected the folder of a {what}; choose another --out")
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        with made_folder(folder):
            lock = _locked(folder, what)
            _sweep_all(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / LOCK_FILE).unlink()
        lock.close()
        remove_empty(made)


def lock_file(path: Path, *, wait: bool) -> IO[bytes] | None:
    """Lock a file until the process ends or closes it; None if another process holds the lock and ``wait`` is off."""
    file = open_in_place(path)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return file


def _locked(folder: Path, what: str) -> IO[bytes]:
    """Lock a folder, and note the process and the time in the lock file."""
    path = folder / LOCK_FILE
    while True:
        file = lock_file(path, wait=False)
        if file is None:
            raise InputError(
                f"{folder}: another process{_holder(path)} is writing this {what}; wait for it, stop it, "
                "or choose another --out"
            )
        # The previous holder may have removed the file after it was opened here.
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            file.truncate(0)
            write_whole(file, f"{os.getpid()} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            return file
        file.close()


def _holder(path: Path) -> str:
    """Describe the process that holds a lock and since when, if the lock file says so."""
    with contextlib.suppress(OSError, InputError), open_in_place(path) as file:
        noted = re.fullmatch(rb"(\d{1,10}) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\n", file.read(40))
        if noted:
            return f" ({noted[1].decode()}, since {noted[2].decode()})"
    return ""


def _sweep_all(folder: Path) -> None:
    sweep(folder)
    for inner in folder.iterdir():
        if inner.is_dir() and not inner.is_symlink():
            sweep(inner)
