"""What runs in the processes that open files, and in the nursery that forks them.

The nursery has imported the decoders, without PyTorch, and opens nothing itself. It ends, and all its children with it,
when nobody holds the other end of its socket any more.
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
    """Start and end processes as the other side commands, until it is gone."""
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
                    _live(request, *handles)
                if child > 0:
                    children.add(child)
                for handle in handles:
                    os.close(handle)
                control.sendall(ANSWER.pack(child))
            elif number in children:
                children.discard(number)
                control.sendall(ANSWER.pack(_end(number)))
    except OSError:
        return  # the other side is gone
    finally:
        for child in children:
            _end(child)


def _forked() -> int:
    """Fork; give -1 where the system lets no more processes start."""
    try:
        return os.fork()
    except OSError:
        return -1


def run(request: dict[str, Any], source: BinaryIO, results: BinaryIO) -> None:
    """Do what is asked of one file, and write the results; what is wrong with the file is the last of them."""
    bounds = Bounds(*request["bounds"])
    step = OPERATIONS[request["operation"]](source, bounds, **request["arguments"])
    try:
        for facts, pixels in _in_time(step, bounds.silence_s):
            write_message(results, {"kind": "result"} | facts, pixels)
    except InputError as error:
        write_message(results, {"kind": "broken" if isinstance(error, BrokenError) else "error", "words": str(error)})
    except MemoryError:
        write_message(results, {"kind": "error", "words": "takes too much memory to open; make it smaller"})
    except Exception as error:  # whatever a decoder raises, the file made it do so
        words = f"cannot be read ({type(error).__name__}); it may be cut off or damaged"
        write_message(results, {"kind": "error", "words": words})
    else:
        write_message(results, {"kind": "end"})


def _in_time(results: Iterator[Any], seconds: int) -> Iterator[Any]:
    """Let the system end this process where the next result takes longer, whatever it does; writing may take long."""
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


def live_alone(asked: str) -> None:
    """Be a process for one file, started without a nursery: it is the input, and results go to the output."""
    results = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    request = json.loads(asked)
    _bind(Bounds(*request["bounds"]))
    with open(0, "rb", closefd=False) as source, open(results, "wb") as file:
        run(request, source, file)


def _live(request: bytes, source: int, results: int) -> None:
    """Be the process for one file; never returns."""
    try:
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silence, standard)
        asked = json.loads(request)
        _bind(Bounds(*asked["bounds"]))
        with open(source, "rb") as file, open(results, "wb") as sink:
            run(asked, file, sink)
        os._exit(0)
    finally:
        os._exit(1)


def _bind(bounds: Bounds) -> None:
    """Take from this process what opening a file does not need."""
    cv2.setNumThreads(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if the machine runs out of memory, this process goes first
    limit_memory(bounds.memory_bytes)
    if bounds.is_patient and hasattr(os, "nice"):
        os.nice(10)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(what, (0, 0))


def _end(child: int) -> int:
    """End a process with its whole group, and tell how it ended."""
    for end in (os.killpg, os.kill):  # the group is there once the process has begun to live
        with contextlib.suppress(OSError):
            end(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _receive(control: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            raise OSError("the other side is gone")
        data += part
    return bytes(data)


def begin(handle: str) -> None:
    """Be a nursery: say so through the socket of that handle, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(handle)) as control:
        control.sendall(ANSWER.pack(os.getpid()))
        serve(control)
