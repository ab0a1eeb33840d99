"""Messages from a decoder process: a JSON object and pixels, so that reading them runs no code."""

import json
import struct
from typing import Any, BinaryIO, Protocol

import numpy as np
from jaxtyping import UInt8

from ipoke.core.json_text import json_text

LENGTHS = struct.Struct("<II")
"""Header: bytes of the JSON object, bytes of the pixels."""
START, END = b"S", b"E"
COMMAND = struct.Struct("<cI")
"""Command to the fork server: start a process (number: bytes of its request), or end one (number: its process ID)."""
ANSWER = struct.Struct("<i")
"""Reply of the fork server: the process ID, or the exit code as of `os.waitstatus_to_exitcode`; first its own ID."""
LARGEST_FACTS = 4_000_000
LARGEST_PIXELS = 3 * 64_000_000


class Readable(Protocol):
    """A buffered file: a short read means the end of the file."""

    def read(self, size: int, /) -> bytes:
        """Read ``size`` bytes."""
        ...

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer; give the number of bytes read."""
        ...


class ProtocolError(Exception):
    """The other process sent an invalid message."""


def write_message(file: BinaryIO, facts: dict[str, Any], pixels: UInt8[np.ndarray, "h w 3"] | None = None) -> None:
    """Write one message."""
    if pixels is not None:
        facts = facts | {"shape": pixels.shape}
    text = json_text(facts).encode()
    file.write(LENGTHS.pack(len(text), 0 if pixels is None else pixels.nbytes) + text)
    if pixels is not None:
        file.write(np.ascontiguousarray(pixels).data)
    file.flush()


def read_message(file: Readable) -> tuple[dict[str, Any], UInt8[np.ndarray, "h w 3"] | None] | None:
    """Read one message; None at the end of the file, even within a message.

    Raises:
        ProtocolError: The message is invalid or too large.
    """
    head = file.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        return None
    text_bytes, pixel_bytes = LENGTHS.unpack(head)
    if text_bytes > LARGEST_FACTS or pixel_bytes > LARGEST_PIXELS:
        raise ProtocolError(f"a message of {text_bytes} and {pixel_bytes} bytes")
    text = file.read(text_bytes)
    if len(text) < text_bytes:
        return None
    facts = _facts(text)
    if not pixel_bytes:
        return facts, None
    pixels = np.empty(_shape(facts, pixel_bytes), np.uint8)
    return (facts, pixels) if file.readinto(pixels.data) == pixel_bytes else None


def _facts(text: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("facts that are not JSON") from error
    if not isinstance(facts, dict):
        raise ProtocolError("facts that are not an object")
    return facts


def _shape(facts: dict[str, Any], pixel_bytes: int) -> tuple[int, int, int]:
    match facts.get("shape"):
        case [int(height), int(width), 3] if min(height, width) > 0 and 3 * height * width == pixel_bytes:
            return height, width, 3
        case other:
            raise ProtocolError(f"{pixel_bytes} bytes of shape {str(other)[:60]}")
