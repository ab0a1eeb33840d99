"""A small application behind the server's connections, and raw sockets that speak to it."""

import asyncio
import contextlib
import socket
import threading
import time

import uvicorn

from ipoke.studio.connections import Connections
from ipoke.studio.limits import ConnectionLimits
from ipoke.studio.listening import listen

LIMITS = ConnectionLimits(
    connections=6,
    per_address=4,
    header_seconds=0.6,
    body_grace_seconds=0.4,
    body_seconds=1.5,
    body_rate=1000.0,
    write_seconds=0.5,
    look_seconds=0.05,
)
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: a\r\n"


class Small:
    """Answers at once; `/large` with a hundred parts, `/body` with the length of what came, `/slow` after a while."""

    def __init__(self):
        self.sent = 0

    async def __call__(self, scope, receive, send):
        length = 0
        if scope["path"] == "/body":
            while (message := await receive())["type"] == "http.request":
                length += len(message["body"])
                if not message["more_body"]:
                    break
        if scope["path"] == "/slow":
            await asyncio.sleep(1.0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-length", str(length).encode())]})
        for _ in range(100 if scope["path"] == "/large" else 0):
            await send({"type": "http.response.body", "body": b"x" * 300_000, "more_body": True})
            self.sent += 1
        await send({"type": "http.response.body", "body": b"done"})


@contextlib.contextmanager
def serving(app, limits=LIMITS, make=Connections, lifespan="off"):
    """Serve an application at a free port; gives the address."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, loop="asyncio", http=make(limits).protocol(), ws="none", lifespan=lifespan, log_config=None, backlog=16
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


def connected(address, source="127.0.0.1"):
    """Open a connection from an address of this machine."""
    return socket.create_connection(address, timeout=10, source_address=(source, 0))


def all_from(connection):
    """Read until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def answer_from(connection):
    """Read one answer in parts."""
    answer = b""
    while not answer.endswith(b"0\r\n\r\n") and (part := connection.recv(4096)):
        answer += part
    return answer


def is_open(connection, seconds=0.0):
    """Tell whether the other side has neither closed nor said something, after a while."""
    time.sleep(seconds)
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) is None
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.settimeout(10)
