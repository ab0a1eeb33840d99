"""The listening socket of the studio."""

import socket

from ipoke.core.errors import InputError

BUFFER = 256_000
"""Size of the send and receive buffers of a connection, bytes."""


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 picks a free one.

    Raises:
        InputError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is given; without it, small parts may wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # every connection inherits these
        listener.setsockopt(socket.SOL_SOCKET, buffer, BUFFER)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"--port: cannot listen at {host} port {port} ({error.strerror or error}); choose another port, or 0"
        ) from error
    listener.listen(64)
    return listener
