"""Poke a still image and sample many plausible videos."""

import importlib
from typing import TYPE_CHECKING, Any

from ipoke.core.errors import InputError
from ipoke.core.version import __version__
from ipoke.data.poke import Poke

if TYPE_CHECKING:
    from ipoke.sampling.model import PokeModel, bundled_still, load

__all__ = ["InputError", "Poke", "PokeModel", "__version__", "bundled_still", "load"]


def __getattr__(name: str) -> Any:
    """Import the model, and PyTorch with it, once it is asked for: `ipoke --help` answers without them."""
    if name in __all__:
        return getattr(importlib.import_module("ipoke.sampling.model"), name)
    raise AttributeError(f"module 'ipoke' has no attribute {name!r}")
