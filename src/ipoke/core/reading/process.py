"""Files opened in a process of their own: what is wrong with one ends there.

A file is given as an open handle, never by name. What comes back is facts and pixels, which are checked, and never run.
The process has no PyTorch, a bounded memory, no programs that it could start and no files that it could write; it ends
with whatever it started when it is late, when nobody wants its results any more, and with the process that asked.
"""

import contextlib
import io
import os
import signal
import tempfile
import threading
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.core.json_text import json_text
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.messages import GarbledError, read_message
from ipoke.core.reading.nursery import start

PIPE_BYTES = 2**20
OWN_FILES = Bounds()
"""For what a person gives on the command line or in Python."""
Result = tuple[dict[str, Any], UInt8[np.ndarray, "h w 3"] | None]


class BrokenVideoError(InputError):
    """A video whose beginning could be read and whose end could not; the frames so far are good."""


class Opening:
    """A file that is being opened; gives results until it ends.

    Args:
        operation: Of `ipoke.core.reading.operations`.
        source: The file, open for reading, or its bytes.
        name: What errors call it.
        bounds: Of the process.
        arguments: Of the operation.

    Raises:
        InputError: The process cannot be started.
    """

    def __init__(
        self, operation: str, source: BinaryIO | bytes, name: str, bounds: Bounds = OWN_FILES, **arguments: Any
    ) -> None:
        self.name, self.bounds = name, bounds
        request = {"operation": operation, "bounds": bounds, "arguments": arguments}
        reading, writing = os.pipe()
        self._results = io.BufferedReader(io.FileIO(reading, "rb"), 2**16)
        self._ending = threading.Lock()
        self._status: int | None = None
        try:
            _enlarge(reading)
            with _as_file(source) as file:
                self._process = start(json_text(request).encode(), file.fileno(), writing)
        except BaseException:
            self._results.close()
            raise
        finally:
            os.close(writing)

    def __enter__(self) -> "Opening":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._results.close()

    def __iter__(self) -> Iterator[Result]:
        """Wait for results, one by one.

        Raises:
            InputError: What is wrong with the file.
            BrokenVideoError: What is wrong with the rest of it, after good frames.
        """
        frames = 0
        while True:
            try:
                message = read_message(self._results)
            except GarbledError as error:
                self.end()
                raise InputError(f"{self.name}: took its decoder over ({error}); do not trust this file") from error
            if message is None:
                raise self._death(self.end(), frames)
            facts, pixels = message
            match facts.get("kind"):
                case "end":
                    return
                case "result":
                    frames += pixels is not None
                    yield facts, pixels
                case "broken":
                    raise BrokenVideoError(f"{self.name}: {str(facts.get('words'))[:300]}")
                case _:
                    raise InputError(f"{self.name}: {str(facts.get('words'))[:300]}")

    def end(self) -> int:
        """End the process and all that it started, and tell how it ended: 0, an exit code, or minus a signal."""
        with self._ending:
            if self._status is None:
                self._status = self._process.end()
            return self._status

    def _death(self, status: int, frames: int) -> InputError:
        if status == -getattr(signal, "SIGALRM", signal.SIGTERM):
            words = f"takes more than {self.bounds.silence_s} s to decode"
        else:
            words = "cannot be decoded; it may be damaged, or far too large"
        if frames:
            return BrokenVideoError(f"{self.name}: breaks off after {frames} frames (the rest {words})")
        return InputError(f"{self.name}: {words}")


@contextlib.contextmanager
def _as_file(source: BinaryIO | bytes) -> Generator[BinaryIO]:
    """Give a file that has no name and that a process can seek in; it is gone when the last handle is closed."""
    if not isinstance(source, bytes):
        yield source
        return
    try:
        file: BinaryIO = os.fdopen(os.memfd_create("given"), "w+b")
    except (AttributeError, OSError):  # not on Linux, or not allowed in a container
        file = tempfile.TemporaryFile()  # noqa: SIM115
    with file:
        file.write(source)
        file.flush()
        file.seek(0)
        yield file


def _enlarge(pipe: int) -> None:
    """Let whole frames wait in a pipe, where the system can."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
