"""Limits of the process that decodes a file."""

from typing import NamedTuple

from ipoke.core.reading.formats import PICTURES


class Bounds(NamedTuple):
    """Limits for one file."""

    memory_bytes: int = 4_000_000_000
    """Memory beyond what the process has mapped when it starts."""
    frame_timeout_s: int = 60
    """Longest time from one frame to the next."""
    pixels: int = 64_000_000
    """Largest picture or frame."""
    side_px: int = 32_000
    """Longest side of a picture or a frame."""
    pictures: tuple[str, ...] = PICTURES
    """Picture formats that are decoded, by Pillow's names."""
    is_low_priority: bool = False
    """Whether the process runs at the lowest priority."""
