"""Starting processes that open files: forked by a small one that has the decoders ready, or one by one from nothing."""

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ipoke.core.errors import InputError
from ipoke.core.reading.messages import ANSWER, COMMAND, END, START

PACKAGES = Path(__file__).parents[3]
"""The folder that this package lies in."""
BEGIN: str = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from ipoke.core.reading.worker import {0}; {0}(sys.argv[1])"
)
CAN_FORK = hasattr(os, "fork") and hasattr(socket, "send_fds") and sys.platform != "darwin"
"""Whether there are nurseries here; libraries of macOS do not bear to be forked."""
START_SECONDS = 60.0
"""Within which a nursery must be ready."""


class Process(Protocol):
    """A process that opens a file."""

    def end(self) -> int:
        """End it and all that it started, and tell how it ended: 0, an exit code, or minus a signal."""
        ...


def start(request: bytes, source: int, results: int) -> Process:
    """Start a process that reads one open file, and writes to another.

    Raises:
        InputError: The system lets no process start.
    """
    if not CAN_FORK:
        return Alone(request, source, results)
    return _nursery().start(request, source, results)


def get_ready() -> None:
    """Have a nursery, where this system has them, before the first file comes.

    Raises:
        InputError: The system lets no process start.
    """
    if CAN_FORK:
        _nursery()


class Alone:
    """A process that was started from nothing, which takes a moment."""

    def __init__(self, request: bytes, source: int, results: int) -> None:
        self._process = subprocess.Popen(
            [*_python("live_alone"), request.decode()],
            stdin=source,
            stdout=results,
            stderr=subprocess.DEVNULL,
            env=_environment(os.environ),
        )

    def end(self) -> int:
        """End it, and tell how it ended."""
        self._process.kill()
        return self._process.wait()


class Child:
    """A process that a nursery forked."""

    def __init__(self, nursery: "Nursery", number: int) -> None:
        self._nursery, self.number = nursery, number

    def end(self) -> int:
        """End it and all that it started, and tell how it ended."""
        return self._nursery.end(self.number)


class Nursery:
    """A small process that forks others, which are ready within milliseconds; ends with the process that made it.

    Raises:
        InputError: It does not become ready.
    """

    def __init__(self) -> None:
        self._control, other = socket.socketpair()
        self._turn = threading.Lock()
        with other:
            self._process = subprocess.Popen(
                [*_python("begin"), str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(os.environ),
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C in a terminal is for the process that asks, not for those that open
            )
        self._control.settimeout(START_SECONDS)
        try:
            self._answer()
        except OSError as error:
            self.close()
            raise InputError(
                "the process that opens files cannot start; let this program have more memory and processes"
            ) from error

    def start(self, request: bytes, source: int, results: int) -> Child:
        """Fork a process.

        Raises:
            InputError: The system lets none start, or has ended the nursery.
        """
        with self._turn:
            try:
                socket.send_fds(self._control, [COMMAND.pack(START, len(request))], [source, results])
                self._control.sendall(request)
                number = self._answer()
            except OSError:
                number = -1
        if number < 0:
            raise InputError("no process to open the file can be started; try again, or let this program have more")
        return Child(self, number)

    def end(self, number: int) -> int:
        """End a process with its group; 0 where the nursery is gone, and its processes with it."""
        with self._turn, contextlib.suppress(OSError):
            self._control.sendall(COMMAND.pack(END, number))
            return self._answer()
        return 0

    def close(self) -> None:
        """End it, and all that it forked."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
            return
        self._process.kill()
        self._process.wait()

    def _answer(self) -> int:
        data = b""
        while len(data) < ANSWER.size:
            part = self._control.recv(ANSWER.size - len(data))
            if not part:
                raise ConnectionError("the nursery is gone")
            data += part
        return ANSWER.unpack(data)[0]


_CURRENT: list[Nursery] = []
_MAKING = threading.Lock()


def _nursery() -> Nursery:
    """Give the nursery of this process, made anew where it has gone."""
    with _MAKING:
        if _CURRENT and _CURRENT[0]._process.poll() is not None:
            _CURRENT.pop().close()
        if not _CURRENT:
            _CURRENT.append(Nursery())
        return _CURRENT[0]


@atexit.register
def _close() -> None:
    while _CURRENT:
        _CURRENT.pop().close()


def _forget() -> None:
    """In a process that was forked: the nursery is its parent's."""
    global _MAKING
    _MAKING = threading.Lock()
    for nursery in _CURRENT:
        nursery._control.close()
    _CURRENT.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _python(function: str) -> list[str]:
    """Write the command that runs a function of `worker`; the folder that it is called from is not searched."""
    return [sys.executable, "-P", "-c", BEGIN.format(function), str(PACKAGES)]


def _environment(mine: Mapping[str, str]) -> dict[str, str]:
    """Give one thread, and no programs that could be found and started."""
    small = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return {**mine, **small, **({"PATH": ""} if os.name == "posix" else {})}
