"""Poke a still image and sample many plausible videos."""

__version__ = "0.1.0"
