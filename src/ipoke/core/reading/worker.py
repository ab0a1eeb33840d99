"""The code of the decoder processes, and of the fork server that starts them.

The fork server has imported the decoders, without PyTorch, and decodes nothing itself. It ends, with all its children,
when the other end of its socket is closed.
"""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2

from ipoke.core.errors import InputError
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.memory import limit_memory
from ipoke.core.reading.messages import ANSWER, COMMAND, START, write_message
from ipoke.core.reading.operations import OPERATIONS
from ipoke.core.reading.streams import BrokenError


def serve(control: socket.socket) -> None:
    """Start and end processes on command, until the other end of the socket is closed."""
    children: set[int] = set()
    try:
        while True:
            head, handles, _, _ = socket.recv_fds(control, COMMAND.size, 2)
            if len(head) < COMMAND.size:
                return
            command, number = COMMAND.unpack(head)
            if command == START:
                request = _receive(control, number)
                child = _forked()
                if child == 0:
                    control.close()
                    _run_forked(request, *handles)
                if child > 0:
                    children.add(child)
                for handle in handles:
                    os.close(handle)
                control.sendall(ANSWER.pack(child))
            elif number in children:
                children.discard(number)
                control.sendall(ANSWER.pack(_end(number)))
    except OSError:
        return  # the main process has ended
    finally:
        for child in children:
            _end(child)


def _forked() -> int:
    """Fork; give -1 where the system cannot start more processes."""
    try:
        return os.fork()
    except OSError:
        return -1


def run(request: dict[str, Any], source: BinaryIO, results: BinaryIO) -> None:
    """Run an operation on one file, and write its results; an error is the last of them."""
    bounds = Bounds(*request["bounds"])
    step = OPERATIONS[request["operation"]](source, bounds, **request["arguments"])
    try:
        for facts, pixels in _in_time(step, bounds.frame_timeout_s):
            write_message(results, {"kind": "result"} | facts, pixels)
    except InputError as error:
        write_message(results, {"kind": "broken" if isinstance(error, BrokenError) else "error", "words": str(error)})
    except MemoryError:
        write_message(results, {"kind": "error", "words": "needs too much memory to decode; make it smaller"})
    except Exception as error:  # whatever a decoder raises, the file is the cause
        words = f"cannot be read ({type(error).__name__}); it may be truncated or damaged"
        write_message(results, {"kind": "error", "words": words})
    else:
        write_message(results, {"kind": "end"})


def _in_time(results: Iterator[Any], seconds: int) -> Iterator[Any]:
    """Let the system kill this process where decoding a result takes longer; the time of writing does not count."""
    can_alarm = hasattr(signal, "alarm")
    while True:
        if can_alarm:
            signal.alarm(seconds)
        result = next(results, None)
        if can_alarm:
            signal.alarm(0)
        if result is None:
            return
        yield result


def run_spawned(asked: str) -> None:
    """Run a decoder process without a fork server: the file is standard input, and results go to standard output."""
    results = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    request = json.loads(asked)
    _restrict(Bounds(*request["bounds"]))
    with open(0, "rb", closefd=False) as source, open(results, "wb") as file:
        run(request, source, file)


def _run_forked(request: bytes, source: int, results: int) -> None:
    """Run a forked decoder process; never returns."""
    try:
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silence, standard)
        asked = json.loads(request)
        _restrict(Bounds(*asked["bounds"]))
        with open(source, "rb") as file, open(results, "wb") as sink:
            run(asked, file, sink)
        os._exit(0)
    finally:
        os._exit(1)


def _restrict(bounds: Bounds) -> None:
    """Restrict this process to what decoding a file needs."""
    cv2.setNumThreads(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if the machine runs out of memory, this process is killed first
    limit_memory(bounds.memory_bytes)
    if bounds.is_low_priority and hasattr(os, "nice"):
        os.nice(10)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(what, (0, 0))


def _end(child: int) -> int:
    """Kill a process with its group; give its exit code, or minus a signal."""
    for end in (os.killpg, os.kill):  # the group exists once the process has called setsid
        with contextlib.suppress(OSError):
            end(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _receive(control: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            raise OSError("the main process has ended")
        data += part
    return bytes(data)


def run_fork_server(handle: str) -> None:
    """Run the fork server: report to the socket of that handle, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(handle)) as control:
        control.sendall(ANSWER.pack(os.getpid()))
        serve(control)
