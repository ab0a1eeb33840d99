"""Writing files so that a reader never meets half of one."""

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path

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


def unwritable(path: Path, error: OSError) -> InputError:
    """Say that a file cannot be written, and why."""
    return InputError(f"{path}: cannot be written ({reason(error)}); check the folder and the free space")


def reason(error: BaseException) -> str:
    """Say in a few words, on one line, why the operating system or a decoder refused."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
