"""What visitors may ask for, so that a server answers all of them and never runs out of memory."""

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
    values: int = 200_000
    """In one question and its history."""
    answer_pixels: int = 400_000_000
    """Of all frames of all samples of an answer."""
    visitor_pixels: int = 600_000_000
    """Of the answers that one visitor waits for."""
    frame_pixels: int = 2_100_000
    """Of a frame in which samples play side by side; they are scaled down to it."""
    file_bytes: int = 64_000_000
    """Of a file that is there only once it is whole."""
    jobs_per_visitor: int = 4
    jobs_per_address: int = 12
    jobs: int = 32
    """Waiting and running, of all visitors."""
    exports: int = 2
    """Files that are written at a time; more wait."""
    rows_together: int = 8
    """Clips computed in one batch."""
    results: int = 3
    """Of a job, computed and not yet taken; then it takes no more steps."""
    unread_seconds: float = 30.0
    """After which a job is given up whose results nobody takes."""
    bodies_bytes: int = 200_000_000
    """Of what is being received or decoded."""
    bodies_bytes_per_address: int = 150_000_000
    bodies_bytes_per_visitor: int = 120_000_000
    free_bytes: int = 100_000
    """Of one body, which these do not count."""
    pictures_per_visitor: int = 12
    pictures_per_address: int = 24
    pictures: int = 64
    """Kept in memory beside the bundled ones."""
    opened: int = 8
    """Pictures of which is kept what the networks made of them, beside the bundled ones."""
    correlations: int = 32
    """Maps of motion correlation kept of a picture."""
    picture_seconds: float = 3600.0
    """After which a picture that nobody asked for is forgotten."""
    decode_seconds: float = 20.0
    """After which a file that does not finish decoding is refused."""
    decode_bytes: int = 1_050_000_000
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
    files_per_address: int = 8
    files_per_visitor: int = 3


LIMITS = Limits()


class ConnectionLimits(NamedTuple):
    """How many connections there may be, and how patient the server is with each."""

    connections: int = 256
    per_address: int = 64
    header_seconds: float = 10.0
    """From the connection, or from the answer before, to a whole header."""
    body_seconds: float = 600.0
    body_grace_seconds: float = 10.0
    """After which a body has to have come at the least rate."""
    body_rate: float = 16_000.0
    """Bytes a second, on average."""
    write_seconds: float = 30.0
    """Within which a client has to take what was sent, a quarter of a megabyte or a frame."""
    look_seconds: float = 0.5
    """From one look at all connections to the next."""


CONNECTION_LIMITS = ConnectionLimits()
