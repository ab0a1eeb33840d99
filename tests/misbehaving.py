"""Nurseries whose processes know bad operations too."""

import contextlib
from pathlib import Path

from ipoke.core.reading import nursery

HERE = str(Path(__file__).parent / "core" / "reading")


@contextlib.contextmanager
def misbehaving(*first):
    """Use such a nursery in the block, which does something else first."""
    begin = nursery.BEGIN
    nursery._close()
    bad = "; ".join((f"sys.path.append({HERE!r})", "import bad_operations", *first))
    nursery.BEGIN = begin.replace("from ipoke", f"{bad}; from ipoke", 1)
    try:
        yield
    finally:
        nursery.BEGIN = begin
        nursery._close()
