"""Poke a still image and sample many plausible videos."""

import importlib
from typing import TYPE_CHECKING, Any

from ipoke.data.poke import Poke
from ipoke.errors import InputError
from ipoke.version import __version__

if TYPE_CHECKING:
    from ipoke.model import PokeModel, bundled_still, load

__all__ = ["InputError", "Poke", "PokeModel", "__version__", "bundled_still", "load"]


def __getattr__(name: str) -> Any:
    """Import the model, and PyTorch with it, once it is asked for: `ipoke --help` answers without them."""
    if name in __all__:
        return getattr(importlib.import_module("ipoke.model"), name)
    raise AttributeError(f"module 'ipoke' has no attribute {name!r}")
