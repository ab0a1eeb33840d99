"""Pictures and animations to RGB, by Pillow; runs in the process that opens files."""

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
"""The EXIF tag that says how a camera was held."""
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
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
"""Converted at a time, so that a large picture is not held three times."""
MOST_IMAGES = 100_000
"""Of an animation."""


class Shown(NamedTuple):
    """An image of an animation, and for how many frames it is shown."""

    pixels: UInt8[np.ndarray, "h w 3"]
    frames: int


def read_still(file: BinaryIO, bounds: Bounds) -> UInt8[np.ndarray, "h w 3"]:
    """Read a picture: upright, transparent parts on white, the first frame of an animation.

    Raises:
        InputError: Not a picture of `PICTURES`, cut off or damaged, or larger than the bounds.
    """
    with opened(file, bounds) as image:
        pixels, orientation = rgb_on_white(image), _orientation(image)
        return np.ascontiguousarray(TURNS[orientation](pixels)) if orientation in TURNS else pixels


def size_of(file: BinaryIO, bounds: Bounds) -> dict[str, int]:
    """Read width and height, px, without decoding anything.

    Raises:
        InputError: As `read_still`.
    """
    file.seek(0)
    size = webp_size(file.read(WEBP_HEAD_BYTES))  # Pillow makes the whole canvas to open one
    if size is None:
        with opened(file, bounds) as image:
            size = image.size
    check_size(*size, bounds)
    return {"width": size[0], "height": size[1]}


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Read width and height, px, from the first bytes of a WebP file; None of anything else.

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
    """Say how long each image of an animation is shown, ms, up to the first one that is broken.

    Raises:
        InputError: The first one is broken, or as `read_still`.
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


def read_animation(file: BinaryIO, step_ms: float, bounds: Bounds) -> Iterator[Shown]:
    """Read each image, to be shown for as many frames as its duration asks for: writers merge images that are equal.

    Raises:
        InputError: As `read_still`, perhaps after the last good image.
    """
    with opened(file, bounds) as image:
        for still in _images(image):
            yield Shown(rgb_on_white(still), repeats(_duration(still), step_ms))


def repeats(duration_ms: float, step_ms: float) -> int:
    """Count the frames that an image is shown for; a pause of a minute in an animation is a title, not 6000 frames."""
    return min(max(1, round(duration_ms / step_ms)), 100) if step_ms else 1


@contextlib.contextmanager
def opened(file: BinaryIO, bounds: Bounds) -> Generator[Image.Image]:
    """Open a picture of a bounded size; whatever goes wrong with the file inside the block becomes one line.

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
        raise InputError(f"is far larger than {bounds.pixels // 10**6} megapixels; make it smaller") from error
    except InputError:
        raise
    except Exception as error:  # decoders raise what they meet: struct.error, KeyError, SyntaxError, ...
        raise InputError(f"cannot be read ({reason(error)[:120]}); the image may be cut off or damaged") from error


def check_size(width: int, height: int, bounds: Bounds) -> None:
    """Refuse what is too large, before it is decoded.

    Raises:
        InputError: Too many pixels, or too long a side.
    """
    if width * height > bounds.pixels:
        most = f"{bounds.pixels // 10**6} megapixels"
        raise InputError(f"has {width} x {height} pixels, expected at most {most}; make it smaller")
    if max(width, height) > bounds.side_px:
        raise InputError(f"has {width} x {height} pixels, expected sides of at most {bounds.side_px}; cut it")


def rgb_on_white(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Give the pixels of an image as RGB, with transparent parts on white and 16-bit grey brought to 8 bits."""
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
    """Scale a picture down to at most ``side`` px.

    Raises:
        InputError: It is smaller than 8 px on a side.
    """
    height, width = image.shape[:2]
    if min(height, width) < 8:
        raise InputError(f"has {width} x {height} px, expected at least 8 x 8")
    longest = max(height, width)
    if longest <= side:
        return image
    size = max(8, round(width * side / longest)), max(8, round(height * side / longest))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _images(image: Image.Image) -> Iterator[Image.Image]:
    for count, still in enumerate(ImageSequence.Iterator(image), start=1):
        if count > MOST_IMAGES:
            raise InputError(f"has more than {MOST_IMAGES} images; cut it")
        yield still


def _duration(image: Image.Image) -> float:
    duration = image.info.get("duration", 0)
    return float(duration) if isinstance(duration, int | float) and 0 <= duration < 1e9 else 0.0


def _orientation(image: Image.Image) -> int:
    """Look up how a picture is to be turned; EXIF blocks that are damaged say nothing."""
    with contextlib.suppress(Exception):
        value = image.getexif().get(ORIENTATION, 1)
        return value if isinstance(value, int) else 1
    return 1
