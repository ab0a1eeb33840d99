"""Poke a still image and sample many plausible videos."""

from ipoke.data.poke import Poke
from ipoke.errors import InputError
from ipoke.model import PokeModel, load
from ipoke.version import __version__

__all__ = ["InputError", "Poke", "PokeModel", "__version__", "load"]
