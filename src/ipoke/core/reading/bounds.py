"""What the process that opens a file may use."""

from typing import NamedTuple

from ipoke.core.reading.formats import PICTURES


class Bounds(NamedTuple):
    """Largest numbers for one file."""

    memory_bytes: int = 4_000_000_000
    """Beyond what the process has mapped when it begins."""
    silence_s: int = 60
    """From one frame to the next."""
    pixels: int = 64_000_000
    """Of a picture or a frame: more would fill the memory."""
    side_px: int = 32_000
    """Of a picture or a frame."""
    pictures: tuple[str, ...] = PICTURES
    """Formats of pictures that are opened, by Pillow's names."""
    is_patient: bool = False
    """Whether it lets everything else on the machine go first."""
