"""Start decoder processes: forked by a small server that has imported the decoders, or spawned one by one."""

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
"""The folder that contains this package."""
BEGIN: str = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from ipoke.core.reading.worker import {0}; {0}(sys.argv[1])"
)
CAN_FORK = hasattr(os, "fork") and hasattr(socket, "send_fds") and sys.platform != "darwin"
"""Whether this system has a fork server; libraries of macOS cannot be forked safely."""
START_SECONDS = 60.0
"""Time within which the fork server must be ready."""


class Process(Protocol):
    """A decoder process."""

    def end(self) -> int:
        """Kill it and its children; give 0, an exit code, or minus a signal."""
        ...


def start(request: bytes, source: int, results: int) -> Process:
    """Start a process that reads one open file, and writes its results to another.

    Raises:
        InputError: The system cannot start a process.
    """
    if not CAN_FORK:
        return SpawnedProcess(request, source, results)
    return _server().start(request, source, results)


def start_fork_server() -> None:
    """Start the fork server, where this system has one, before the first file is decoded.

    Raises:
        InputError: The system cannot start a process.
    """
    if CAN_FORK:
        _server()


class SpawnedProcess:
    """A process that runs a new interpreter, which takes about a second."""

    def __init__(self, request: bytes, source: int, results: int) -> None:
        self._process = subprocess.Popen(
            [*_python("run_spawned"), request.decode()],
            stdin=source,
            stdout=results,
            stderr=subprocess.DEVNULL,
            env=_environment(os.environ),
        )

    def end(self) -> int:
        """Kill it; give its exit code, or minus a signal."""
        self._process.kill()
        return self._process.wait()


class ForkedProcess:
    """A process that the fork server forked."""

    def __init__(self, server: "ForkServer", number: int) -> None:
        self._server, self.number = server, number

    def end(self) -> int:
        """Kill it and its children; give 0, an exit code, or minus a signal."""
        return self._server.end(self.number)


class ForkServer:
    """A small process that forks decoder processes within milliseconds; it ends with the process that started it.

    Raises:
        InputError: The fork server does not become ready.
    """

    def __init__(self) -> None:
        self._control, other = socket.socketpair()
        self._turn = threading.Lock()
        with other:
            self._process = subprocess.Popen(
                [*_python("run_fork_server"), str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(os.environ),
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C must reach the main process alone
            )
        self._control.settimeout(START_SECONDS)
        try:
            self._answer()
        except OSError as error:
            self.close()
            raise InputError(
                "the process that decodes files cannot start; allow this program more memory and processes"
            ) from error

    def start(self, request: bytes, source: int, results: int) -> ForkedProcess:
        """Fork a process.

        Raises:
            InputError: The system cannot start a process, or has ended the fork server.
        """
        with self._turn:
            try:
                socket.send_fds(self._control, [COMMAND.pack(START, len(request))], [source, results])
                self._control.sendall(request)
                number = self._answer()
            except OSError:
                number = -1
        if number < 0:
            raise InputError(
                "no process can be started to decode the file; try again, or allow this program more processes"
            )
        return ForkedProcess(self, number)

    def end(self, number: int) -> int:
        """Kill a process with its group; 0 where the fork server has ended, and its processes with it."""
        with self._turn, contextlib.suppress(OSError):
            self._control.sendall(COMMAND.pack(END, number))
            return self._answer()
        return 0

    def close(self) -> None:
        """Kill the server and all processes that it forked."""
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
                raise ConnectionError("the fork server has ended")
            data += part
        return ANSWER.unpack(data)[0]


_CURRENT: list[ForkServer] = []
_MAKING = threading.Lock()


def _server() -> ForkServer:
    """Give the fork server of this process; start one where there is none or it has ended."""
    with _MAKING:
        if _CURRENT and _CURRENT[0]._process.poll() is not None:
            _CURRENT.pop().close()
        if not _CURRENT:
            _CURRENT.append(ForkServer())
        return _CURRENT[0]


@atexit.register
def _close() -> None:
    while _CURRENT:
        _CURRENT.pop().close()


def _forget_server() -> None:
    """In a forked process: drop the fork server, which is the parent's."""
    global _MAKING
    _MAKING = threading.Lock()
    for server in _CURRENT:
        server._control.close()
    _CURRENT.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_server)


def _python(function: str) -> list[str]:
    """Give the command that runs a function of `worker`; the current folder is not searched for modules."""
    return [sys.executable, "-P", "-c", BEGIN.format(function), str(PACKAGES)]


def _environment(mine: Mapping[str, str]) -> dict[str, str]:
    """Give the environment: one thread, and no PATH, so that no program can be found and started."""
    small = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return {**mine, **small, **({"PATH": ""} if os.name == "posix" else {})}
