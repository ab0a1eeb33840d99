"""The command ``ipoke serve``."""

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
    """Serve the studio: a web page to poke pictures, and its JSON API.

    Args:
        model: Bundled name, run directory or .safetensors file.
        host: Address to listen at; an address that other machines reach needs --open-to-others.
        port: Port to listen at; 0 picks a free one.
        open_to_others: Accept other machines. They need the token, which is part of the printed address.
        token: The token, 16 to 200 printable ASCII characters; by default a new random one.
    """
    is_local = host in LOCAL
    if not is_local and not open_to_others:
        raise InputError(f"--host: got {host}, which other machines reach; add --open-to-others to allow that")
    if token is not None and not re.fullmatch(r"[!-~]{16,200}", token):
        raise InputError(
            f"--token: got {len(token)} characters, expected 16 to 200 letters, digits or signs of ASCII; "
            "leave it out for a new token"
        )
    try:
        import uvicorn

        from ipoke.studio.connections import BACKLOG, Connections, limits_of_this_process
        from ipoke.studio.log import limit_log_rate
        from ipoke.studio.server import Studio, make_app
    except ImportError as error:
        raise InputError(f"serve: {error.name} is not installed; pip install 'ipoke[ui]'") from error

    import torch

    from ipoke.core.reading.memory import can_limit_memory
    from ipoke.sampling.model import load
    from ipoke.studio.listening import listen

    connections = Connections(limits_of_this_process())
    limit_log_rate(sys.stderr)
    token = token or (None if is_local else secrets.token_urlsafe(24))
    listener = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/"
    torch.set_num_threads(1)  # one drag is too little work for two threads, and the server needs the other core
    studio = Studio(load(model), model)
    # The address of a visitor is that of the connection; forwarding headers are not trusted.
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
        err.print("this system cannot limit the memory of a process: a file of a visitor may use all of it")
    err.print("press Ctrl-C to stop it")
    # uvicorn stops on a signal and then raises it again, which would end the process before the last line.
    with contextlib.suppress(KeyboardInterrupt), ignoring_repeated(signal.SIGTERM):
        uvicorn.Server(config).run(sockets=[listener])
    out.print("the studio has stopped; nothing that visitors sent was kept")


@contextlib.contextmanager
def ignoring_repeated(which: signal.Signals) -> Generator[None]:
    """Ignore a signal that uvicorn raises again after it has stopped."""
    before = signal.signal(which, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(which, before)
