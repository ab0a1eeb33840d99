import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ipoke.core.errors import InputError
from ipoke.data.images import read_image, write_png


def one_line(error):
    return "\n" not in str(error.value)


def gradient(height=24, width=32):
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 7, y * 9, x + y), axis=-1).astype(np.uint8)


def png_header(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_png_round_trip_is_exact_and_keeps_its_text(tmp_path):
    pixels = gradient()
    write_png(tmp_path / "a.png", pixels, {"seed": "7", "pokes": "é 1,2"})
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info == {"seed": "7", "pokes": "é 1,2"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path, orientation, turn):
    pixels = gradient()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(pixels, turn))


def test_transparent_parts_are_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    pixels[2, :, 3] = 128
    Image.fromarray(pixels).save(tmp_path / "a.png")
    result = read_image(tmp_path / "a.png")
    assert (result[:2] == 0).all()
    assert (result[3] == 255).all()
    assert abs(int(result[2, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "LA", "1"])
def test_other_modes_become_rgb(tmp_path, mode):
    name = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(gradient()).convert(mode).save(name)
    result = read_image(name)
    assert result.shape == (24, 32, 3)
    assert result.dtype == np.uint8


def test_16_bit_grey_keeps_its_range(tmp_path):
    Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 1].ravel(), np.arange(256))


def test_an_animation_gives_its_first_frame(tmp_path):
    images = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_large_images_are_refused_before_they_are_decoded(tmp_path):
    for side in (9_000, 60_000):
        (tmp_path / "a.png").write_bytes(png_header(side, side))
        with pytest.raises(InputError, match="megapixels") as error:
            read_image(tmp_path / "a.png")
        assert one_line(error)


def test_every_unreadable_file_is_one_line(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    content = buffer.getvalue()
    jpeg = io.BytesIO()
    Image.fromarray(gradient()).save(jpeg, "JPEG")
    files = {
        "empty.png": b"",
        "text.png": b"hello",
        "cut.png": content[: len(content) // 2],
        "header.png": content[:20],
        "damaged.png": content[:60] + b"\0" * 60 + content[120:],
        "cut.jpg": jpeg.getvalue()[:-200],
        "short.png": png_header(16, 16),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name) as error:
            read_image(tmp_path / name)
        assert one_line(error)
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="folder"):
        read_image(tmp_path)


def test_a_png_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written") as error:
        write_png(tmp_path / "file" / "a.png", gradient())
    assert one_line(error)
