"""Decode each file in a process of its own, so that a malicious or damaged file can harm nothing else.

The process is given an open handle, never a name. It returns JSON and pixels, which are checked and never executed.
It has no PyTorch, limited memory, no PATH to start programs from, and may write no files. It is killed with its
children when it exceeds its time, when its results are no longer needed, and with the process that started it.
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
from ipoke.core.reading.fork_server import start
from ipoke.core.reading.messages import ProtocolError, read_message

PIPE_BYTES = 2**20
OWN_FILES = Bounds()
"""Limits for files that are given on the command line or in Python."""
Result = tuple[dict[str, Any], UInt8[np.ndarray, "h w 3"] | None]


class BrokenVideoError(InputError):
    """The beginning of a video could be decoded and its end could not; the frames so far are valid."""


class DecoderProcess:
    """A process that decodes one file; iterate over it for the results.

    Args:
        operation: Name of a function of `ipoke.core.reading.operations`.
        source: The file, open for reading, or its bytes.
        name: Name of the file in errors.
        bounds: Limits of the process.
        arguments: Arguments of the operation.

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

    def __enter__(self) -> "DecoderProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._results.close()

    def __iter__(self) -> Iterator[Result]:
        """Wait for results, one by one.

        Raises:
            InputError: The file cannot be decoded.
            BrokenVideoError: The rest of the file cannot be decoded, after valid frames.
        """
        frames = 0
        while True:
            try:
                message = read_message(self._results)
            except ProtocolError as error:
                self.end()
                raise InputError(f"{self.name}: decoder sent an invalid message ({error}); do not trust it") from error
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
        """Kill the process and its children; give 0, an exit code, or minus a signal."""
        with self._ending:
            if self._status is None:
                self._status = self._process.end()
            return self._status

    def _death(self, status: int, frames: int) -> InputError:
        if status == -getattr(signal, "SIGALRM", signal.SIGTERM):
            words = f"takes more than {self.bounds.frame_timeout_s} s to decode"
        else:
            words = "cannot be decoded; it may be damaged, or too large"
        if frames:
            return BrokenVideoError(f"{self.name}: ends after {frames} frames (the rest {words})")
        return InputError(f"{self.name}: {words}")


@contextlib.contextmanager
def _as_file(source: BinaryIO | bytes) -> Generator[BinaryIO]:
    """Give a seekable file without a name, which ends with its last handle."""
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
    """Enlarge the buffer of a pipe to whole frames, where the system can."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
