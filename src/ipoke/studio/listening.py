"""The socket that the studio listens at."""

import socket

from ipoke.core.errors import InputError

BUFFER = 256_000
"""Bytes that the system keeps of what a client does not read, or the server has not read yet."""


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 takes one that is free.

    Raises:
        InputError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small parts at once only where it can see that a socket is of TCP; else each may wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # which every connection inherits
        listener.setsockopt(socket.SOL_SOCKET, buffer, BUFFER)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"--port: cannot listen at {host} port {port} ({error.strerror or error}); take another one, or 0 for any"
        ) from error
    listener.listen(64)
    return listener
