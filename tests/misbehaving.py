"""Nurseries whose processes know bad operations too."""

import contextlib
from pathlib import Path

from ipoke.core.reading import fork_server

HERE = str(Path(__file__).parent / "core" / "reading")


@contextlib.contextmanager
def misbehaving(*first):
    """Use such a fork server in the block, which does something else first."""
    begin = fork_server.BEGIN
    fork_server._close()
    bad = "; ".join((f"sys.path.append({HERE!r})", "import bad_operations", *first))
    fork_server.BEGIN = begin.replace("from ipoke", f"{bad}; from ipoke", 1)
    try:
        yield
    finally:
        fork_server.BEGIN = begin
        fork_server._close()
