"""What one visitor may ask for, so that a server answers all of them and never runs out of memory."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Largest numbers; whatever is beyond is answered with a line in words."""

    upload_bytes: int = 20_000_000
    """Of a picture."""
    video_bytes: int = 100_000_000
    pixels: int = 50_000_000
    """Of a picture, before it is scaled down."""
    side: int = 1024
    """Of a picture as it is kept, px."""
    samples: int = 9
    pokes: int = 12
    terms: int = 16
    """Of a residual."""
    given: int = 100_000
    """Characters of a residual that is given as it is."""
    frames: int = 40
    json_bytes: int = 2_000_000
    history_bytes: int = 1_000_000
    jobs_per_visitor: int = 3
    jobs: int = 32
    """Waiting and running, of all visitors."""
    jobs_together: int = 8
    """Computed in one batch."""
    pictures: int = 32
    """Kept in memory beside the bundled ones."""
    picture_seconds: float = 3600.0
    """After which a picture that nobody asked for is forgotten."""
    decode_seconds: float = 20.0
    """After which a file that does not finish decoding is refused."""
    file_bytes: int = 1_400_000_000
    """Memory of a process that opens a file, beyond what it begins with."""
    quick_seconds: float = 1.0
    """After which a file has to wait until it can be opened thoroughly."""
    quick_bytes: int = 300_000_000
    quick_pixels: int = 13_000_000
    """Of a picture or a frame that is opened quickly."""
    quick_files: int = 2
    """Opened at a time."""
    files: int = 16
    """Opened or waiting to be, of all visitors."""
    files_per_visitor: int = 3


LIMITS = Limits()
