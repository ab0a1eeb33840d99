"""Decode pictures and animations to RGB, by Pillow; runs in a decoder process."""

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageSequence, UnidentifiedImageError

from ipoke.core.errors import InputError
from ipoke.core.files import reason
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.formats import listed

ImageFile.LOAD_TRUNCATED_IMAGES = False
ORIENTATION = 0x0112
"""The EXIF tag of the orientation of a picture."""
ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, 1),
}
WEBP_HEAD_BYTES = 30
ROWS = 256
"""Rows that are converted at a time, so that a large picture is not in memory three times."""
MOST_IMAGES = 100_000
"""Most images of an animation."""


class TimedImage(NamedTuple):
    """An image of an animation, and the number of frames that show it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    frames: int


def read_still(file: BinaryIO, bounds: Bounds) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a picture: upright, transparent parts on white; of an animation, the first frame.

    Raises:
        InputError: The file is not a picture of an allowed format, truncated or damaged, or larger than the bounds.
    """
    with opened(file, bounds) as image:
        pixels, orientation = rgb_on_white(image), _orientation(image)
        return np.ascontiguousarray(ORIENTATIONS[orientation](pixels)) if orientation in ORIENTATIONS else pixels


def size_of(file: BinaryIO, bounds: Bounds) -> dict[str, int]:
    """Read width and height, px, without decoding.

    Raises:
        InputError: As `read_still`.
    """
    file.seek(0)
    size = webp_size(file.read(WEBP_HEAD_BYTES))  # Pillow allocates the whole canvas of a WebP file when it opens one
    if size is None:
        with opened(file, bounds) as image:
            size = image.size
    check_size(*size, bounds)
    return {"width": size[0], "height": size[1]}


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Read width and height, px, from the first bytes of a WebP file; None for other files.

    Source: RFC 9649, sections 2.5 to 2.7.
    """
    if len(head) < WEBP_HEAD_BYTES or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def is_animated(file: BinaryIO, bounds: Bounds) -> bool:
    """Tell whether a file is an animation of more than one image.

    Raises:
        InputError: As `read_still`.
    """
    with opened(file, bounds) as image:
        return bool(getattr(image, "is_animated", False))


def read_durations(file: BinaryIO, bounds: Bounds) -> Iterator[float]:
    """Read the duration of each image of an animation, ms, up to the first damaged one.

    Raises:
        InputError: The first image is damaged, or as `read_still`.
    """
    count = 0
    try:
        with opened(file, bounds) as image:
            for still in _images(image):
                still.load()
                yield _duration(still)
                count += 1
    except InputError:
        if not count:
            raise


def read_animation(file: BinaryIO, step_ms: float, bounds: Bounds) -> Iterator[TimedImage]:
    """Decode each image, with the number of frames of its duration: writers merge equal images into a longer one.

    Raises:
        InputError: As `read_still`, perhaps after the last valid image.
    """
    with opened(file, bounds) as image:
        for still in _images(image):
            yield TimedImage(rgb_on_white(still), repeats(_duration(still), step_ms))


def repeats(duration_ms: float, step_ms: float) -> int:
    """Count the frames that show an image, at most 100: a pause of a minute is not 6000 frames."""
    return min(max(1, round(duration_ms / step_ms)), 100) if step_ms else 1


@contextlib.contextmanager
def opened(file: BinaryIO, bounds: Bounds) -> Generator[Image.Image]:
    """Open a picture of limited size; any exception inside the block becomes an InputError.

    Raises:
        InputError: As `read_still`.
    """
    try:
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=bounds.pictures) as image:
                check_size(*image.size, bounds)
                yield image
    except UnidentifiedImageError as error:
        raise InputError(f"is not an image that can be read; expected {listed(bounds.pictures)}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"is larger than {bounds.pixels // 10**6} megapixels; make it smaller") from error
    except InputError:
        raise
    except Exception as error:  # decoders raise anything: struct.error, KeyError, SyntaxError, ...
        raise InputError(f"cannot be read ({reason(error)[:120]}); the image may be truncated or damaged") from error


def check_size(width: int, height: int, bounds: Bounds) -> None:
    """Refuse a picture that is too large, before it is decoded.

    Raises:
        InputError: It has too many pixels, or too long a side.
    """
    if width * height > bounds.pixels:
        most = f"{bounds.pixels // 10**6} megapixels"
        raise InputError(f"has {width} x {height} pixels, expected at most {most}; make it smaller")
    if max(width, height) > bounds.side_px:
        raise InputError(f"has {width} x {height} pixels, expected sides of at most {bounds.side_px}; make it smaller")


def rgb_on_white(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Convert an image to RGB, transparent parts on white; 16-bit grey to 8 bits."""
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.int64) // 257
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    is_clear = image.has_transparency_data
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, ROWS):
        part = image.crop((0, top, width, min(top + ROWS, height)))
        if is_clear:
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part.convert("RGBA"))
        pixels[top : top + ROWS] = np.asarray(part.convert("RGB"))
    return pixels


def fitted(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Scale a picture down to at most ``side`` px a side.

    Raises:
        InputError: A side is shorter than 8 px.
    """
    height, width = image.shape[:2]
    if min(height, width) < 8:
        raise InputError(f"has {width} x {height} px, expected at least 8 x 8 px; use a larger picture")
    longest = max(height, width)
    if longest <= side:
        return image
    size = max(8, round(width * side / longest)), max(8, round(height * side / longest))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _images(image: Image.Image) -> Iterator[Image.Image]:
    for count, still in enumerate(ImageSequence.Iterator(image), start=1):
        if count > MOST_IMAGES:
            raise InputError(f"has more than {MOST_IMAGES} images; use a shorter animation")
        yield still


def _duration(image: Image.Image) -> float:
    duration = image.info.get("duration", 0)
    return float(duration) if isinstance(duration, int | float) and 0 <= duration < 1e9 else 0.0


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation of a picture; 1, upright, where the EXIF data are damaged."""
    with contextlib.suppress(Exception):
        value = image.getexif().get(ORIENTATION, 1)
        return value if isinstance(value, int) else 1
    return 1
