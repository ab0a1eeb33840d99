"""Limits on connections: their number, and the time that headers, bodies and slow readers may take.

By itself, uvicorn waits for headers and readers without limit, and accepts connections until no descriptor is left.
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
from ipoke.studio.guard import HEADERS, REFUSAL_IS_DELAYED
from ipoke.studio.limits import CONNECTION_LIMITS, ConnectionLimits
from ipoke.studio.visitors import address_of
from ipoke.studio.writing import written

LEFT_FREE = 48
"""File descriptors that are kept for decoding, the event loop and files."""
LEAST = 8
"""Fewest connections with which the server starts."""
BACKLOG = 64
"""Connections that the system queues; the event loop accepts as many before it serves the first."""
LINGER_S = 2.0
"""Time that a refused client has to read the error."""
_log = logging.getLogger("ipoke.studio")


class Connections:
    """The open connections."""

    def __init__(
        self, limits: ConnectionLimits = CONNECTION_LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits, self.clock = limits, clock
        self._open: set[Connection] = set()
        self._looking: asyncio.TimerHandle | None = None

    def protocol(self) -> "type[Connection]":
        """Give the protocol class that uvicorn instantiates for each connection."""
        return type("Admitted", (Connection,), {"open_connections": self})

    def admit(self, new: "Connection") -> bool:
        """Admit a connection. Where there are too many, close an idle one of the address that has most."""
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
            self.leave(gone)  # at once, so that the next admission closes another one
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
    """One connection, with time limits on headers, bodies and slow readers."""

    open_connections: Connections
    """The set that this connection belongs to."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address = ""
        self.since = self.open_connections.clock()
        """When the connection began to wait for the current header or body."""
        self._received = 0
        self._unread_since: float | None = None
        self._refused_since: float | None = None

    @property
    def is_receiving(self) -> bool:
        """Whether a header has arrived and its body has not."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    @property
    def is_answered(self) -> bool:
        """Whether a whole request has arrived and its response is being computed or sent."""
        is_under_way = self.cycle is not None and not self.cycle.response_complete and not self.is_receiving
        return is_under_way and REFUSAL_IS_DELAYED not in self.scope

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, or refuse it with an error."""
        super().connection_made(transport)
        self.address = address_of(self.client[0] if self.client else None)
        if not self.open_connections.admit(self):
            self._refuse(503, "too many connections; try again in a moment")

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self.open_connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass received data on, and note the time of a new request."""
        if self._refused_since is not None:
            return
        self._received += len(data)
        before = self.cycle
        try:
            super().data_received(data)
        except Exception:
            _log.exception("a request could not be parsed")
            self.cut()
        if self.cycle is not before:
            self.since, self._received = self.open_connections.clock(), len(data)

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        self.since, self._received = self.open_connections.clock(), 0
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than the server sends."""
        self._unread_since = self.open_connections.clock()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        self._unread_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that cannot be parsed."""
        self._refuse(400, "the request is not HTTP/1.1")

    def check(self) -> None:
        """Close the connection if it exceeds a time limit."""
        now, limits = self.open_connections.clock(), self.open_connections.limits
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
                self._refuse(
                    408, f"the body arrived too slowly; send at least {limits.body_rate / 1000:g} kB per second"
                )
        elif (self.cycle is None or self.cycle.response_complete) and waited > limits.header_seconds:
            self._refuse(408, f"no request arrived within {limits.header_seconds:g} s")

    def cut(self) -> None:
        """Close at once; the system discards data that the client has not read."""
        one = self.transport.get_extra_info("socket")
        if one is not None and not self.transport.is_closing():
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _refuse(self, status: int, words: str) -> None:
        """Send an error and close; where a response has begun, close without one."""
        self._refused_since = self.open_connections.clock()
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.cut()
            return
        self.transport.write(refusal(status, words))
        self.transport.close()


def refusal(status: int, words: str) -> bytes:
    """Make a whole response that closes the connection."""
    body = written({"error": words})
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close", **HEADERS}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def limits_of_this_process(limits: ConnectionLimits = CONNECTION_LIMITS) -> ConnectionLimits:
    """Reduce the number of connections to what the limit of open files allows, after raising that limit.

    Raises:
        InputError: The limit of open files is too low.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _descriptors_open() + LEFT_FREE + 2 * limits.connections
    if allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    # As many again may be accepted before the first of them is refused.
    room = (allowed - _descriptors_open() - LEFT_FREE) // 2
    if room < LEAST:
        needed = _descriptors_open() + LEFT_FREE + 2 * LEAST
        raise InputError(f"serve: got a limit of {allowed} open files, expected at least {needed}; raise ulimit -n")
    if room >= limits.connections:
        return limits
    return limits._replace(connections=room, per_address=max(LEAST // 2, room // 2))


def _descriptors_open() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    return 64
