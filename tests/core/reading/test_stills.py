"""Pictures as every viewer shows them: turned, opaque, and whatever their EXIF block holds."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

import small_files
from ipoke.core.reading import stills
from ipoke.core.reading.bounds import Bounds
from ipoke.data.images import image_of


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_as_pillow_turns_them(orientation):
    exif = Image.Exif()
    exif[stills.ORIENTATION] = orientation
    data = small_files.still("PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(image_of(data, "a.png"), expected)


def exif_block(kind, value):
    """Orientation 6, and one other entry of any kind."""
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHI", 0x829A, kind, 1) + value
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + struct.pack("<I", 0) + b"\0" * 64


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99, 65535])
@pytest.mark.parametrize("value", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x30\0\0\0", b"\0\0\xc0\x7f"])
def test_odd_exif_entries_do_not_matter(kind, value):
    file = io.BytesIO(small_files.still("JPEG", exif=exif_block(kind, value)))
    assert stills.read_still(file, Bounds()).shape == (32, 24, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_pictures_are_made_opaque_in_parts_as_in_one(monkeypatch, mode):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (300, 20, 4), dtype=np.uint8), "RGBA")
    image = image.convert("RGB").quantize(16) if mode == "P" else image.convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    monkeypatch.setattr(stills, "ROWS", 7)
    np.testing.assert_array_equal(stills.rgb_on_white(image), np.asarray(whole))
