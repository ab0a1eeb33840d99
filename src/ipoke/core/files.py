"""Atomic writes: a reader never sees half a file, and nothing is written through a link."""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Generator
from pathlib import Path
from typing import IO

from ipoke.core.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked or swept; the renames alone keep files whole.
    fcntl = None

LEFTOVER = re.compile(r"\.ipoke-[0-9a-f]{8}-")
"""Prefix of the names of temporary files."""
LONGEST_STEM, LONGEST_ENDING = 16, 20
"""Characters of a file's name that its temporary name keeps, so that file systems accept it."""
BLOCK = 1 << 16


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a temporary path beside ``path``; when the block succeeds, sync the file and rename it to ``path``.

    The temporary name keeps the file's suffix, for writers that choose their format by it. When the block fails, the
    temporary file is removed and an existing ``path`` stays unchanged. Missing folders are created, and removed again
    when the block fails. A link at ``path`` is replaced, not followed. Temporary files of killed writers of ``path``
    are removed.

    Raises:
        InputError: The folder is not writable, the disk is full, or a folder, pipe or device has the name.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is {kind_of(path)}, expected a file; choose another name")
        with made_folder(path.parent):
            sweep(path.parent, _tail(path))
            with _temporary(path) as temporary:
                yield temporary
                _sync(temporary)
                os.replace(temporary, path)
            sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def append_lines(path: Path, lines: str) -> None:
    """Append whole lines to a file, all of them or none; an incomplete last line, left by a kill, is removed first.

    Raises:
        InputError: The folder is not writable, the disk is full, or the file is a link, pipe or device.
    """
    try:
        is_new = not path.exists()
        with open_in_place(path) as file:
            whole = _end_of_last_line(file)
            file.truncate(whole)
            try:
                write_whole(file, lines.encode())
                os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)
                raise
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def open_in_place(path: Path) -> IO[bytes]:
    """Open a file, unbuffered, to change it in place; create it if it is missing.

    Raises:
        InputError: The path is a link, pipe, device or folder.
        OSError: The operating system refuses.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if path.is_symlink() or error.errno in (errno.EISDIR, errno.ENXIO):
            raise _out_of_place(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or path.is_symlink():
        os.close(descriptor)
        raise _out_of_place(path)
    return os.fdopen(descriptor, "r+b", buffering=0)


def write_whole(file: IO[bytes], content: bytes | memoryview) -> None:
    """Append all of ``content`` to an unbuffered file."""
    file.seek(0, os.SEEK_END)
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def refuse_links(*folders: Path) -> None:
    """Refuse to write into folders that are links.

    Raises:
        InputError: One of them is a link.
    """
    for folder in folders:
        if folder.is_symlink():
            raise _out_of_place(folder)


def refuse_pipes(*files: Path) -> None:
    """Refuse paths that exist and are not files, such as pipes, which block a reader; links to files are allowed.

    Raises:
        InputError: One of them is not a file.
    """
    for file in files:
        if file.exists() and not file.is_file():
            raise _out_of_place(file)


@contextlib.contextmanager
def made_folder(folder: Path) -> Generator[None]:
    """Create a folder and its parents where missing; when the block fails, remove those that are still empty."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for each in made:
            sync_folder(each.parent)
        yield
    except BaseException:
        remove_empty(made)
        raise


def remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders that are empty, in the given order."""
    for each in folders:
        with contextlib.suppress(OSError):
            each.rmdir()


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # A folder can be writable and not readable.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def is_leftover(name: str) -> bool:
    """Tell whether this is the name of a temporary file, whose writer is running or was killed."""
    return LEFTOVER.match(name) is not None


def sweep(folder: Path, tail: str = "") -> None:
    """Remove temporary files of killed writers; with ``tail``, only those whose names end with it.

    A running writer holds a lock on its temporary file.
    """
    if fcntl is None:
        return
    names: list[str] = []
    with contextlib.suppress(PermissionError):
        names = os.listdir(folder)
    for name in names:
        if is_leftover(name) and name.endswith(tail):
            with contextlib.suppress(OSError, InputError), open_in_place(folder / name) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / name).unlink()


def unwritable(path: Path, error: OSError) -> InputError:
    """Make the error for a file that cannot be written."""
    return InputError(f"{path}: cannot be written ({reason(error)}); check the folder and the free space")


def reason(error: BaseException) -> str:
    """Give the reason of an exception in a few words, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def kind_of(path: Path) -> str:
    """Name the kind of file at a path, with its article."""
    mode = path.lstat().st_mode
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a file" if stat.S_ISREG(mode) else "a device")


def _out_of_place(path: Path) -> InputError:
    return InputError(
        f"{path}: is {kind_of(path)}, expected a regular file or folder, because links are not followed when writing; "
        "remove it or choose another --out"
    )


@contextlib.contextmanager
def _temporary(path: Path) -> Generator[Path]:
    """Create an empty, locked file beside ``path``; remove it when the block ends."""
    temporary = path.with_name(f".ipoke-{secrets.token_hex(4)}{_tail(path)}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if fcntl is None:
            os.close(descriptor)
        else:
            with contextlib.suppress(OSError):  # On a file system without locks, nothing is swept either.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(descriptor)


def _tail(path: Path) -> str:
    """Give the suffix that all temporary names of a file share."""
    ending = path.suffix if len(path.suffix) <= LONGEST_ENDING else ""
    return f"-{path.stem[:LONGEST_STEM]}{ending}"


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _end_of_last_line(file: IO[bytes]) -> int:
    """Count the bytes up to the end of the last whole line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
