"""Still images in and out: any file of a person to RGB pixels, and pixels to PNG."""

import contextlib
import io
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from ipoke.errors import InputError
from ipoke.files import reason, replacing

LARGEST_PIXELS = 64_000_000
"""Images with more pixels are refused before they are decoded: they would fill the memory."""


def read_image(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as RGB: upright, transparent parts on white, the first frame of an animation.

    Raises:
        InputError: No such file, not an image, cut off or damaged, or larger than 64 megapixels.
    """
    with opened_image(Path(path)) as image:
        return rgb_on_white(ImageOps.exif_transpose(image))


def image_of(data: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image that is in memory, as `read_image`; errors call it ``name``.

    Raises:
        InputError: As `read_image`.
    """
    with opened_image(Path(name), io.BytesIO(data)) as image:
        return rgb_on_white(ImageOps.exif_transpose(image))


@contextlib.contextmanager
def opened_image(path: Path, file: BinaryIO | None = None) -> Generator[Image.Image]:
    """Open an image of a bounded size; whatever goes wrong with the file inside the block becomes one line.

    Args:
        path: Of the image; what errors call it where ``file`` holds it.
        file: Its bytes, if they are not at the path.

    Raises:
        InputError: As `read_image`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path if file is None else file) as image:
                width, height = image.size
                if width * height > LARGEST_PIXELS:
                    raise InputError(
                        f"{path}: has {width} x {height} pixels, expected at most {LARGEST_PIXELS // 10**6} "
                        "megapixels; make it smaller"
                    )
                yield image
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, expected an image") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: is not an image that can be read; expected PNG, JPEG, WebP, ...") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is far larger than {LARGEST_PIXELS // 10**6} megapixels; make it smaller") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); the image may be cut off or damaged") from error


def rgb_on_white(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Give the pixels of an image as RGB, with transparent parts on white and 16-bit grey brought to 8 bits."""
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.int64) // 257
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return np.array(image.convert("RGB"))


def write_png(path: Path | str, pixels: UInt8[np.ndarray, "h w 3"], text: dict[str, str] | None = None) -> None:
    """Write RGB pixels as PNG, with optional text fields (such as the settings that made the picture).

    Raises:
        InputError: The file cannot be written.
    """
    fields = PngImagePlugin.PngInfo()
    for name, value in (text or {}).items():
        fields.add_itxt(name, value)
    with replacing(Path(path)) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=fields)
