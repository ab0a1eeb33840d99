"""Writing files so that a reader never meets half of one, and nothing is written through a link."""

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
except ImportError:  # Windows has no such locks; there, nothing is locked or swept, and the renames keep files whole.
    fcntl = None

LEFTOVER = re.compile(r"\.ipoke-[0-9a-f]{8}-")
"""How the names of temporary files begin."""
LONGEST_STEM, LONGEST_ENDING = 16, 20
"""Characters of a file's own name that its temporary name keeps, so that it is never too long for a file system."""
BLOCK = 1 << 16


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a temporary path beside ``path``, and rename it to ``path`` when the block ends well.

    The temporary name keeps the file's ending, for writers that choose their format by it. When the block fails, the
    temporary file is removed and an existing ``path`` stays as it was. Missing folders are made, and removed again when
    the block fails. A link at ``path`` is replaced, not followed. What a killed writer of it left goes.
    When the block ends, the file is on the disk under its name.

    Raises:
        InputError: The folder is not writable, the disk is full, or a folder, pipe or device has the name.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is {kind_of(path)}, expected the name of a file; choose another name")
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
    """Append whole lines to a file, all of them or none; a last line that a kill has torn is cut off first.

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
    """Open a file to change it where it is, made if it is missing; not buffered, at its beginning.

    Raises:
        InputError: It is a link, pipe, device or folder.
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
    """Write all of something at the end of a file that is not buffered."""
    file.seek(0, os.SEEK_END)
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def refuse_links(*folders: Path) -> None:
    """Refuse to write into folders that are links to elsewhere.

    Raises:
        InputError: One is.
    """
    for folder in folders:
        if folder.is_symlink():
            raise _out_of_place(folder)


def refuse_pipes(*files: Path) -> None:
    """Refuse what is there and no file, such as a pipe, which would be waited for; links to files may be read.

    Raises:
        InputError: One is.
    """
    for file in files:
        if file.exists() and not file.is_file():
            raise _out_of_place(file)


@contextlib.contextmanager
def made_folder(folder: Path) -> Generator[None]:
    """Make a folder and those above it where they are missing; when the block fails, empty ones that were made go."""
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
    """Remove folders, the inner ones first, as far as nothing is in them."""
    for each in folders:
        with contextlib.suppress(OSError):
            each.rmdir()


def sync_folder(folder: Path) -> None:
    """Bring names that were made, changed or removed in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # One may write into a folder that one may not read.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def is_leftover(name: str) -> bool:
    """Tell whether a file of this name is a temporary one, whose writer is at work or was killed."""
    return LEFTOVER.match(name) is not None


def sweep(folder: Path, tail: str = "") -> None:
    """Remove temporary files of writers that are no more; with ``tail``, only those whose names end so.

    A writer holds a lock on its temporary file for as long as it lives.
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
    """Say that a file cannot be written, and why."""
    return InputError(f"{path}: cannot be written ({reason(error)}); check the folder and the free space")


def reason(error: BaseException) -> str:
    """Say in a few words, on one line, why the operating system or a decoder refused."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def kind_of(path: Path) -> str:
    """Name what is at a path."""
    mode = path.lstat().st_mode
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a file" if stat.S_ISREG(mode) else "a device")


def _out_of_place(path: Path) -> InputError:
    return InputError(
        f"{path}: is {kind_of(path)}, expected a file or folder of its own, for nothing is written through links; "
        "remove it or choose another --out"
    )


@contextlib.contextmanager
def _temporary(path: Path) -> Generator[Path]:
    """Make an empty file beside ``path`` that is locked, and gone when the block ends."""
    temporary = path.with_name(f".ipoke-{secrets.token_hex(4)}{_tail(path)}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if fcntl is None:
            os.close(descriptor)
        else:
            with contextlib.suppress(OSError):  # A file system without locks: nothing is swept on it either.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(descriptor)


def _tail(path: Path) -> str:
    """Give what the temporary names of a file have in common at their end."""
    ending = path.suffix if len(path.suffix) <= LONGEST_ENDING else ""
    return f"-{path.stem[:LONGEST_STEM]}{ending}"


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _end_of_last_line(file: IO[bytes]) -> int:
    """Give how many bytes of a file are whole lines."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
