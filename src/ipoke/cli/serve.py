"""The command that opens the studio."""

import contextlib
import re
import secrets
import signal
import sys
from collections.abc import Generator
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ipoke.cli.app import USE, app
from ipoke.cli.terminal import err, out
from ipoke.core.errors import InputError

LOCAL = ("127.0.0.1", "localhost", "::1")


@app.command(group=USE, sort_key=8)
def serve(
    *,
    model: str = "scenes-64",
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lt=65536))] = 8000,
    open_to_others: bool = False,
    token: str | None = None,
) -> None:
    """Open the studio: a page on which pictures are poked, and its JSON API.

    Args:
        model: Bundled name, run directory or .safetensors file.
        host: Address to listen at; any other than this machine's own needs --open-to-others.
        port: Port to listen at; 0 takes one that is free.
        open_to_others: Let other machines in. They need the token, which is part of the address that is printed.
        token: The token, at least 16 characters; a new one if unset.
    """
    is_local = host in LOCAL
    if not is_local and not open_to_others:
        raise InputError(f"--host: got {host}, which other machines reach; add --open-to-others if that is meant")
    if token is not None and not re.fullmatch(r"[!-~]{16,200}", token):
        raise InputError(
            f"--token: got {len(token)} characters, expected at least 16 and at most 200, all of them letters, digits "
            "or signs of ASCII; leave it out for a new one"
        )
    try:
        import uvicorn

        from ipoke.studio.connections import BACKLOG, Connections, fitting
        from ipoke.studio.log import log_sparingly
        from ipoke.studio.server import Studio, make_app
    except ImportError as error:
        raise InputError(f"serve: {error.name} is not installed; pip install 'ipoke[ui]'") from error

    import torch

    from ipoke.core.reading.memory import can_limit_memory
    from ipoke.sampling.model import load
    from ipoke.studio.listening import listen

    connections = Connections(fitting())
    log_sparingly(sys.stderr)
    token = token or (None if is_local else secrets.token_urlsafe(24))
    listener = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/"
    torch.set_num_threads(1)  # the networks of one drag are too small to share, and the page needs the other core
    studio = Studio(load(model), model)
    # The address of a visitor is that of the connection: whoever says to be another in a header is not believed.
    config = uvicorn.Config(
        make_app(studio, token),
        loop="asyncio",
        http=connections.protocol(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=min(BACKLOG, connections.limits.connections),
        timeout_graceful_shutdown=3,
    )
    out.print(f"the studio is open at {address}{f'#token={token}' if token else ''}")
    out.file.flush()
    if not can_limit_memory():
        err.print("this system lets no process limit its memory: a file that a visitor sends may take all there is")
    err.print("Ctrl-C closes it")
    # The server ends by itself when it is told to; the signal that told it would end the process once more.
    with contextlib.suppress(KeyboardInterrupt), until_told_again(signal.SIGTERM):
        uvicorn.Server(config).run(sockets=[listener])
    out.print("the studio is closed; nothing that visitors sent was kept")


@contextlib.contextmanager
def until_told_again(which: signal.Signals) -> Generator[None]:
    """Let a signal that uvicorn hands on after it has closed pass by."""
    before = signal.signal(which, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(which, before)
