"""Embed a session in a media file, in a part of the format that players ignore, and extract it again."""

import io
import json
import struct
import zipfile
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from ipoke.core.json_text import json_text
from ipoke.core.reading.formats import PICTURES

MARK = b"ipoke-studio-1\n"
BOX = b"ipoke-studio-v1\n"
"""Extended type of the uuid box in an MP4 file."""
MOST_BOXES = 10_000
"""Boxes of an MP4 file, or chunks of a WebP file, that are searched."""
LARGEST_SESSION = 8_000_000
"""Base64 characters of each picture of a session."""
LARGEST_TRACKS = 64_000_000
PICTURE_FIELDS = ("image_png", "start_png")
VOID = b"\xec"
"""ID of the WebM element whose content every reader skips."""


def embed_payload(kind: str, file: bytes, payload: bytes) -> bytes:
    """Embed a payload in a file of the given kind: mp4, webm, webp, gif or png.

    Raises:
        ValueError: The kind is none of these.
    """
    marked = MARK + payload
    match kind:
        case "mp4":
            return file + struct.pack(">I", 8 + 16 + len(marked)) + b"uuid" + BOX + marked
        case "webm":
            return file + VOID + struct.pack(">Q", (1 << 56) | len(marked)) + marked
        case "webp":
            padded = marked + b" " * (len(marked) % 2)
            chunk = b"IPKE" + struct.pack("<I", len(padded)) + padded
            return file[:4] + struct.pack("<I", len(file) - 8 + len(chunk)) + file[8:] + chunk
        case "gif":
            parts = [marked[start : start + 255] for start in range(0, len(marked), 255)]
            comment = b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\x00"
            return file[:-1] + comment + file[-1:]
        case "png":
            fields, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
            fields.add_itxt("ipoke-studio", payload.decode())
            Image.open(io.BytesIO(file)).save(buffer, format="PNG", pnginfo=fields)
            return buffer.getvalue()
        case _:
            raise ValueError(f"embed_payload: got {kind!r}, expected mp4, webm, webp, gif or png")


def extract_payload(file: bytes, largest: int) -> bytes | None:
    """Extract the payload of a file; None where there is none, or more than ``largest`` bytes."""
    try:
        if file[4:8] == b"ftyp":
            found = _in_boxes(file)
        elif file[:4] == b"\x1a\x45\xdf\xa3":
            found = _after(file, MARK)
        elif file[:4] == b"RIFF" and file[8:12] == b"WEBP":
            found = _in_chunks(file)
        elif file[:4] == b"GIF8":
            found = _in_comment(file)
        elif file[:4] == b"\x89PNG":
            found = _in_text(file)
        elif file[:4] == b"PK\x03\x04":
            found = _in_zip(file, largest)
        else:
            found = _in_tracks(file)
    except (ValueError, KeyError, TypeError, IndexError, OSError, RecursionError, struct.error, zipfile.BadZipFile):
        return None
    return found if found is not None and len(found) <= largest else None


def _in_boxes(file: bytes) -> bytes | None:
    at = 0
    for _ in range(MOST_BOXES):
        size, kind = struct.unpack_from(">I4s", file, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", file, at + 8)
        if size < 8:
            return None
        if kind == b"uuid" and file[at + 8 : at + 24] == BOX:
            return _after(file[at + 24 : at + size], MARK)
        at += size
    return None


def _in_chunks(file: bytes) -> bytes | None:
    at = 12
    for _ in range(MOST_BOXES):
        kind, size = struct.unpack_from("<4sI", file, at)
        if kind == b"IPKE":
            return _after(file[at + 8 : at + 8 + size], MARK)
        at += 8 + size + size % 2
    return None


def _in_text(file: bytes) -> bytes | None:
    text = Image.open(io.BytesIO(file), formats=PICTURES).info.get("ipoke-studio")
    return text.encode() if isinstance(text, str) else None


def _in_tracks(file: bytes) -> bytes | None:
    if len(file) > LARGEST_TRACKS:
        return None
    return json_text(json.loads(file)["session"]).encode()


def _in_comment(file: bytes) -> bytes | None:
    """Read the last comment of the file, in blocks of 255 bytes, from the marker on."""
    begin = file.rfind(b"\x21\xfe\xff" + MARK)
    if begin < 0:
        begin = file.rfind(MARK) - 3
    return _after(b"".join(_blocks(file, begin + 2)), MARK) if begin >= 0 else None


def _blocks(file: bytes, at: int) -> Iterator[bytes]:
    while file[at]:
        yield file[at + 1 : at + 1 + file[at]]
        at += 1 + file[at]


def _in_zip(file: bytes, largest: int) -> bytes | None:
    """Read the session of an archive, whatever size its directory claims."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive, archive.open("session.json") as session:
        text = session.read(largest + 1)
    return text if len(text) <= largest else None


def _after(data: bytes, mark: bytes) -> bytes | None:
    _, found, rest = data.partition(mark)
    return rest if found else None
