"""The server's connections: how many there are, how long each may take, and refusals before anything is asked.

uvicorn waits for headers and for readers without end, and accepts connections until no descriptor is left.
"""

import asyncio
import logging
import os
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from ipoke.core.errors import InputError
from ipoke.studio.guard import HEADERS, HELD_BACK
from ipoke.studio.limits import CONNECTION_LIMITS, ConnectionLimits
from ipoke.studio.visitors import address_of
from ipoke.studio.writing import written

LEFT_FREE = 48
"""Descriptors for everything that is no connection: decoding, the event loop, files."""
LEAST = 8
BACKLOG = 64
"""Connections that may wait to be accepted; so many are accepted before the first is looked at."""
LINGER_S = 2.0
"""For which a connection that was refused may take to read why."""
_log = logging.getLogger("ipoke.studio")


class Connections:
    """All connections that are open."""

    def __init__(
        self, limits: ConnectionLimits = CONNECTION_LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits, self.clock = limits, clock
        self._open: set[Connection] = set()
        self._looking: asyncio.TimerHandle | None = None

    def protocol(self) -> "type[Connection]":
        """Give the class that uvicorn makes of each connection."""
        return type("Admitted", (Connection,), {"door": self})

    def admit(self, new: "Connection") -> bool:
        """Let a connection in. Where there are too many, one that only waits gives way, of whoever has most."""
        counts = Counter(one.address for one in self._open)
        crowded = [one for one in self._open if one.address == new.address]
        if len(crowded) < self.limits.per_address:
            crowded = []
            if len(self._open) >= self.limits.connections:
                most = max(counts.values())
                crowded = [one for one in self._open if counts[one.address] == most]
        idle = [one for one in crowded if not one.is_answered]
        if crowded and not idle:
            return False
        if idle:
            gone = min(idle, key=lambda one: (one.is_receiving, one.since))
            self.leave(gone)  # now, so that the next to come in the same moment makes another one give way
            gone.cut()
        self._open.add(new)
        if self._looking is None:
            self._look()
        return True

    def leave(self, one: "Connection") -> None:
        """Forget a connection."""
        self._open.discard(one)

    def _look(self) -> None:
        for one in list(self._open):
            one.check()
        self._looking = (
            asyncio.get_running_loop().call_later(self.limits.look_seconds, self._look) if self._open else None
        )


class Connection(H11Protocol):
    """One connection, with a limit on the time that headers, bodies and readers take."""

    door: Connections
    """That it came through."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address = ""
        self.since = self.door.clock()
        """When the connection began to wait for what it waits for: a header, or a body."""
        self._received = 0
        self._unread_since: float | None = None
        self._refused_since: float | None = None

    @property
    def is_receiving(self) -> bool:
        """Whether a header is there and its body is not."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    @property
    def is_answered(self) -> bool:
        """Whether a whole request is there, and work on its answer under way."""
        is_under_way = self.cycle is not None and not self.cycle.response_complete and not self.is_receiving
        return is_under_way and HELD_BACK not in self.scope

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, or say why not."""
        super().connection_made(transport)
        self.address = address_of(self.client[0] if self.client else None)
        if not self.door.admit(self):
            self._refuse(503, "too many connections; try again in a moment")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._refused_since is not None:
            return
        self._received += len(data)
        before = self.cycle
        try:
            super().data_received(data)
        except Exception:
            _log.exception("a request could not be read")
            self.cut()
        if self.cycle is not before:
            self.since, self._received = self.door.clock(), len(data)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.since, self._received = self.door.clock(), 0
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as it is answered."""
        self._unread_since = self.door.clock()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it has read."""
        self._unread_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say that a request cannot be read."""
        self._refuse(400, "the request is not HTTP/1.1")

    def check(self) -> None:
        """Close the connection if what it waits for takes too long."""
        now, limits = self.door.clock(), self.door.limits
        waited = now - self.since
        if self._refused_since is not None:
            if now - self._refused_since > LINGER_S:
                self.cut()
        elif self._unread_since is not None:
            if now - self._unread_since > limits.write_seconds:
                self.cut()
        elif self.is_receiving:
            is_slow = waited > limits.body_grace_seconds and self._received < limits.body_rate * waited
            if is_slow or waited > limits.body_seconds:
                self._refuse(408, f"the body came too slowly; send at least {limits.body_rate / 1000:g} kB a second")
        elif (self.cycle is None or self.cycle.response_complete) and waited > limits.header_seconds:
            self._refuse(408, f"no request came within {limits.header_seconds:g} s")

    def cut(self) -> None:
        """Close at once; what was written and not read is thrown away, by the system too."""
        one = self.transport.get_extra_info("socket")
        if one is not None and not self.transport.is_closing():
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _refuse(self, status: int, words: str) -> None:
        """Say why and close, unless an answer is under way, which would be garbled."""
        self._refused_since = self.door.clock()
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.cut()
            return
        self.transport.write(refusal(status, words))
        self.transport.close()


def refusal(status: int, words: str) -> bytes:
    """Write a whole answer that closes the connection."""
    body = written({"error": words})
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close", **HEADERS}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def fitting(limits: ConnectionLimits = CONNECTION_LIMITS) -> ConnectionLimits:
    """Have no more connections than this process may open files.

    Raises:
        InputError: It may open too few for any.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _descriptors_open() + LEFT_FREE + 2 * limits.connections
    if allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    # As many again may be accepted before the first of them is told that there are too many.
    room = (allowed - _descriptors_open() - LEFT_FREE) // 2
    if room < LEAST:
        needed = _descriptors_open() + LEFT_FREE + 2 * LEAST
        raise InputError(f"serve: got {allowed} open files allowed, expected at least {needed}; raise ulimit -n")
    if room >= limits.connections:
        return limits
    return limits._replace(connections=room, per_address=max(LEAST // 2, room // 2))


def _descriptors_open() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    return 64
