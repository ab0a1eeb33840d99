"""Still images in and out: any file of a person to RGB pixels, and pixels to PNG."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

from ipoke.core.errors import InputError
from ipoke.core.files import replacing
from ipoke.core.reading.process import DecoderProcess
from ipoke.core.reading.regular import open_regular


def read_image(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as RGB: upright, transparent parts on white, the first frame of an animation.

    Raises:
        InputError: No such file, not an image, cut off or damaged, or larger than 64 megapixels.
    """
    with open_regular(Path(path), "image") as file, DecoderProcess("picture", file, str(path)) as opening:
        return _pixels(opening)


def image_of(data: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image that is in memory, as `read_image`; errors call it ``name``.

    Raises:
        InputError: As `read_image`.
    """
    with DecoderProcess("picture", data, name) as opening:
        return _pixels(opening)


def is_animated(path: Path) -> bool:
    """Tell whether a file is an animation of more than one image."""
    try:
        with open_regular(path, "image") as file, DecoderProcess("animated", file, str(path)) as opening:
            return any(facts.get("is_animated") is True for facts, _ in opening)
    except InputError:
        return False


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


def _pixels(opening: DecoderProcess) -> UInt8[np.ndarray, "h w 3"]:
    for _, pixels in opening:
        if pixels is not None:
            return pixels
    raise InputError(f"{opening.name}: cannot be read; the image may be damaged")
