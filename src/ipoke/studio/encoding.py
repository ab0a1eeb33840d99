"""Encode clips to files, frame by frame, so that only one frame is in memory at a time."""

import io
import struct
import zipfile
import zlib
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ipoke.core.reading.payload import embed_payload
from ipoke.data.codec import CRF, GOP, Mp4Encoder
from ipoke.sampling.session import FPS
from ipoke.studio.problem import Problem

CODECS = {
    "webm": ("libvpx-vp9", "yuv420p", {"crf": "18", "b:v": "0", "cpu-used": "4", "lag-in-frames": "8"}),
    "webp": ("libwebp_anim", "bgra", {"quality": "90", "compression_level": "4"}),
}
PALETTE_PIXELS = 250_000
"""Pixels of each frame from which the palette of a GIF is computed."""
GIF_HEAD = b"GIF89a"
GIF_LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
Frame = UInt8[np.ndarray, "h w 3"]


class Encoder(Protocol):
    """Encodes frames to a file."""

    def add(self, frame: Frame) -> bytes:
        """Encode a frame; give the bytes of the file that are final."""
        ...

    def close(self, payload: bytes) -> bytes:
        """Give the rest of the file, with a payload embedded."""
        ...

    def drop(self) -> None:
        """Release the encoder, at any point."""
        ...


class Mp4:
    """Encodes an MP4 (H.264) video."""

    def __init__(self, height: int, width: int, largest: int) -> None:
        height, width = height + height % 2, width + width % 2
        self._encoder, self._largest = Mp4Encoder(height, width, FPS, crf=CRF, yuv444=False, gop=GOP), largest

    def add(self, frame: Frame) -> bytes:
        """Take a frame."""
        self._encoder.add(_padded(frame, *self._encoder.shape[:2]))
        _check_size(self._encoder.buffer, self._largest)
        return b""

    def close(self, payload: bytes) -> bytes:
        """Give the file."""
        return embed_payload("mp4", self._encoder.close(), payload)

    def drop(self) -> None:
        """Close the file."""
        self._encoder.drop()


class Animation:
    """Encodes a WebM video or an animated WebP."""

    def __init__(self, kind: str, height: int, width: int, largest: int) -> None:
        codec, pixels, options = CODECS[kind]
        self._kind, self._buffer, self._largest = kind, io.BytesIO(), largest
        self._container = av.open(self._buffer, "w", format=kind, options={"loop": "0"} if kind == "webp" else {})
        self._stream: Any = self._container.add_stream(codec, rate=Fraction(FPS).limit_denominator())
        self._stream.width, self._stream.height, self._stream.pix_fmt = width + width % 2, height + height % 2, pixels
        self._stream.options, self._stream.codec_context.thread_count = options, 1

    def add(self, frame: Frame) -> bytes:
        """Take a frame."""
        even = _padded(frame, self._stream.height, self._stream.width)
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        _check_size(self._buffer, self._largest)
        return b""

    def close(self, payload: bytes) -> bytes:
        """Give the file."""
        self._container.mux(self._stream.encode())
        self._container.close()
        _check_size(self._buffer, self._largest)
        return embed_payload(self._kind, self._buffer.getvalue(), payload)

    def drop(self) -> None:
        """Close the container: PyAV 17 may free memory that an open one still needs."""
        self._container.close()


class Gif:
    """Encodes a GIF of 256 colours; each frame holds only the rectangle that changed."""

    def __init__(self, height: int, width: int, palette: Image.Image) -> None:
        self._palette = palette
        colours = bytes(palette.getpalette() or ()).ljust(768, b"\0")[:768]
        self._start = GIF_HEAD + struct.pack("<HH3B", width, height, 0xF7, 0, 0) + colours + GIF_LOOP
        self._last: np.ndarray | None = None

    def add(self, frame: Frame) -> bytes:
        """Take a frame."""
        image = Image.fromarray(frame).quantize(palette=self._palette, dither=Image.Dither.NONE)
        levels = np.asarray(image)
        top, bottom, left, right = _changed(levels, self._last)
        part = image.crop((left, top, right, bottom))
        start, self._start, self._last = self._start, b"", levels
        control = b"\x21\xf9\x04\x04" + struct.pack("<HBB", round(100 / FPS), 0, 0)
        place = b"\x2c" + struct.pack("<4HB", left, top, right - left, bottom - top, 0)
        return start + control + place + _gif_data(part)

    def close(self, payload: bytes) -> bytes:
        """End the file."""
        return embed_payload("gif", b";", payload)

    def drop(self) -> None:
        """Do nothing: there is nothing to release."""


class Rows:
    """Encodes a PNG, row by row."""

    def __init__(self, height: int, width: int, payload: bytes) -> None:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        text = b"ipoke-studio\0\0\0\0\0" + payload
        self._start = PNG_HEAD + _chunk(b"IHDR", header) + _chunk(b"iTXt", text)
        self._deflate = zlib.compressobj(6)
        self._above = np.zeros(3 * width, np.uint8)

    def add(self, frame: Frame) -> bytes:
        """Encode the next rows, with the PNG filter Up."""
        rows = frame.reshape(len(frame), -1)
        changes = rows - np.concatenate([self._above[None], rows[:-1]])
        self._above = rows[-1]
        data = self._deflate.compress(np.pad(changes, ((0, 0), (1, 0)), constant_values=2).tobytes())
        start, self._start = self._start, b""
        return start + (_chunk(b"IDAT", data) if data else b"")

    def close(self) -> bytes:
        """End the file."""
        return _chunk(b"IDAT", self._deflate.flush()) + _chunk(b"IEND", b"")


class Zip:
    """Writes a ZIP archive, entry by entry."""

    def __init__(self) -> None:
        self._out = _Tail()
        self._archive = zipfile.ZipFile(self._out, "w", zipfile.ZIP_STORED)

    def add(self, name: str, content: bytes) -> bytes:
        """Add an entry; give the bytes of the file that are final."""
        self._archive.writestr(name, content)
        return self._out.take()

    def close(self) -> bytes:
        """Give the rest of the file."""
        self._archive.close()
        return self._out.take()


class _Tail(io.RawIOBase):
    """A file of which only what was written since it was last taken is there."""

    def __init__(self) -> None:
        self._taken, self._rest = 0, io.BytesIO()

    def take(self) -> bytes:
        rest, self._rest = self._rest.getvalue(), io.BytesIO()
        self._taken += len(rest)
        return rest

    def write(self, data: Any) -> int:
        return self._rest.write(data)

    def tell(self) -> int:
        return self._taken + self._rest.tell()

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        return self._taken + self._rest.seek(position - self._taken, whence)

    def seekable(self) -> bool:
        return True


def palette_of(frames: list[Frame]) -> Image.Image:
    """Compute a palette of 256 colours from some frames."""
    thinned = []
    for frame in frames:
        step = max(1, round((frame.shape[0] * frame.shape[1] / PALETTE_PIXELS) ** 0.5))
        thinned.append(frame[::step, ::step])
    return Image.fromarray(np.concatenate(thinned)).quantize(256, method=Image.Quantize.MEDIANCUT)


def png(image: Frame) -> bytes:
    """Encode a picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _padded(frame: Frame, height: int, width: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    return np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), mode="edge")


def _check_size(buffer: io.BytesIO, largest: int) -> None:
    if buffer.tell() > largest:
        raise Problem(413, f"the file exceeds {largest / 1e6:g} MB; save fewer samples or frames, or a GIF")


def _changed(now: np.ndarray, before: np.ndarray | None) -> tuple[int, int, int, int]:
    """Give top, bottom, left and right of the pixels that differ; where none does, of one pixel."""
    if before is None:
        return 0, now.shape[0], 0, now.shape[1]
    differs = now != before
    rows, columns = differs.any(1).nonzero()[0], differs.any(0).nonzero()[0]
    if not len(rows):
        return 0, 1, 0, 1
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _gif_data(image: Image.Image) -> bytes:
    """Give the compressed pixels of a picture, cut out of a GIF file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format="GIF", optimize=False, interlace=0)
    file = buffer.getvalue()
    at = 13 + (3 << (1 + (file[10] & 7)) if file[10] & 0x80 else 0)
    while file[at] == 0x21:
        at += 2
        while file[at]:
            at += 1 + file[at]
        at += 1
    own = 3 << (1 + (file[at + 9] & 7)) if file[at + 9] & 0x80 else 0
    return file[at + 10 + own : -1]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
