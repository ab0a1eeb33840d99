"""Limits per visitor, per address and in total, so that the server answers everybody within its memory."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Largest values; a request beyond one is refused with an error in words."""

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
    """Characters of a residual given by its values."""
    frames: int = 40
    json_bytes: int = 2_000_000
    history_bytes: int = 1_000_000
    values: int = 200_000
    """In one question and its history."""
    answer_pixels: int = 400_000_000
    """Of all frames of all samples of an answer."""
    visitor_pixels: int = 600_000_000
    """Of all answers that one visitor waits for."""
    frame_pixels: int = 2_100_000
    """Of a frame in which samples play side by side; they are scaled down to it."""
    file_bytes: int = 64_000_000
    """Of a file that is kept in memory until it is complete."""
    jobs_per_visitor: int = 4
    jobs_per_address: int = 12
    jobs: int = 32
    """Waiting and running, of all visitors."""
    exports: int = 2
    """Files written at a time; more wait."""
    rows_together: int = 8
    """Clips computed in one batch."""
    results: int = 3
    """Of one job, computed and not yet taken; with so many it takes no steps."""
    unread_seconds: float = 30.0
    """A job whose results are not taken for so long is cancelled."""
    bodies_bytes: int = 200_000_000
    """Of all bodies that are being received or decoded."""
    bodies_bytes_per_address: int = 150_000_000
    bodies_bytes_per_visitor: int = 120_000_000
    free_bytes: int = 100_000
    """A body up to this size is not counted."""
    pictures_per_visitor: int = 12
    pictures_per_address: int = 24
    pictures: int = 64
    """Kept in memory beside the bundled ones."""
    opened: int = 8
    """Pictures whose encodings are kept, beside the bundled ones."""
    correlations: int = 32
    """Maps of motion correlation kept of a picture."""
    picture_seconds: float = 3600.0
    """A picture that is not used for so long is dropped."""
    decode_seconds: float = 20.0
    """A file that takes longer to decode is refused."""
    decode_bytes: int = 1_050_000_000
    """Memory of a decoder process, beyond what it starts with."""
    quick_seconds: float = 1.0
    """A file that takes longer waits for a decoder with the larger limits."""
    quick_bytes: int = 300_000_000
    quick_pixels: int = 13_000_000
    """Of a picture or a frame that is decoded within the smaller limits."""
    quick_files: int = 2
    """Decoded at a time within the smaller limits."""
    files: int = 16
    """Being decoded or waiting, of all visitors."""
    files_per_address: int = 8
    files_per_visitor: int = 3


LIMITS = Limits()


class ConnectionLimits(NamedTuple):
    """Limits of connections, and timeouts of each."""

    connections: int = 256
    per_address: int = 64
    header_seconds: float = 10.0
    """From the connection, or from the answer before, to a complete header."""
    body_seconds: float = 600.0
    body_grace_seconds: float = 10.0
    """A body must have arrived at `body_rate` from then on."""
    body_rate: float = 16_000.0
    """Bytes a second, on average."""
    write_seconds: float = 30.0
    """Within which a client must take what was sent, a quarter of a megabyte or a frame."""
    look_seconds: float = 0.5
    """Interval at which all connections are checked."""


CONNECTION_LIMITS = ConnectionLimits()
