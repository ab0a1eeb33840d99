"""What is read, what is refused before a decoder sees it, and that no file reaches another."""

import io
import struct
import zlib

import av
import numpy as np
import pytest
from PIL import Image

import small_files
from ipoke.core.errors import InputError
from ipoke.core.reading import stills, streams
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.formats import CODECS, CONTAINERS, PICTURES
from ipoke.data.images import image_of, read_image
from ipoke.data.video import read_frames


def written(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@pytest.mark.parametrize("name", small_files.STILLS)
def test_every_listed_picture_is_read_whatever_its_name(tmp_path, name):
    other = "b.jpg" if name != "a.jpg" else "b.png"
    pixels = read_image(written(tmp_path, other, small_files.STILLS[name]()))
    assert np.abs(pixels.astype(int) - small_files.picture()).mean() < (4 if name in ("a.jpg", "a.gif") else 0.01)


@pytest.mark.parametrize("name", small_files.VIDEOS)
def test_every_listed_video_is_read_whatever_its_name(tmp_path, name):
    other = "b.gif" if name != "anim.gif" else "b.mp4"
    frames = list(read_frames(written(tmp_path, other, small_files.VIDEOS[name]())))
    assert len(frames) == (4 if name.startswith("anim") else 6)


@pytest.mark.parametrize("name", small_files.NAMING_OTHERS)
def test_nothing_is_read_that_names_another_file_or_runs_a_program(tmp_path, name, monkeypatch):
    written(tmp_path, "private.mp4", small_files.VIDEOS["a.mp4"]())
    written(tmp_path, "private.png", small_files.STILLS["a.png"]())
    written(tmp_path, "private001.png", small_files.STILLS["a.png"]())
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, name, small_files.NAMING_OTHERS[name])
    for read in (read_image, lambda path: list(read_frames(path))):
        with pytest.raises(InputError, match=name) as error:
            read(path)
        assert "\n" not in str(error.value)
        assert "private" not in str(error.value)


def try_concat(tmp_path):
    """Read, in this process, a file of two lines that names another."""
    private = tmp_path / "private.mp4"
    text = f"ffconcat version 1.0\nfile '{private.as_posix()}'\n".encode()
    with streams.opened_video(io.BytesIO(text), Bounds()) as (container, stream):
        return len(list(streams.decoded_frames(container, stream, Bounds())))


def test_each_of_two_gates_keeps_a_list_of_files_out(tmp_path, monkeypatch):
    written(tmp_path, "private.mp4", small_files.VIDEOS["a.mp4"]())
    with pytest.raises(InputError):
        try_concat(tmp_path)
    monkeypatch.setattr(streams, "CONTAINERS", (*CONTAINERS, "concat"))
    with pytest.raises(InputError):
        try_concat(tmp_path)
    # Without both gates FFmpeg does read the other file: the test above would see it.
    real = av.open

    def careless(file, mode, container_options, metadata_errors, io_open):
        return real(file, mode, container_options={"safe": "0"})

    monkeypatch.setattr(streams.av, "open", careless)
    assert try_concat(tmp_path) == 6


def test_pillow_is_told_the_formats():
    with pytest.raises(InputError, match="not an image"):
        stills.read_still(io.BytesIO(small_files.EPS), Bounds())
    ico = io.BytesIO()
    Image.fromarray(small_files.picture(32, 32)).save(ico, "ICO")
    with pytest.raises(InputError, match="PNG, JPEG, WEBP, GIF, BMP, TIFF or PPM"):
        image_of(ico.getvalue(), "a.ico")
    assert stills.read_still(ico, Bounds(pictures=(*PICTURES, "ICO"))).shape == (32, 32, 3)


def test_a_codec_that_is_not_listed_is_named(tmp_path):
    path = written(tmp_path, "a.avi", small_files.video("avi", "zmbv", "bgr0"))
    with pytest.raises(InputError, match="zmbv, which is not supported") as error:
        list(read_frames(path))
    assert "\n" not in str(error.value)
    assert "zmbv" not in CODECS


def test_sizes_are_checked_before_anything_is_decoded(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def png(width, height):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")

    with pytest.raises(InputError, match="40000 x 10 pixels, expected sides of at most 32000"):
        image_of(png(40_000, 10), "a.png")
    for data in (png(9000, 9000), webp(9000, 9000)):
        with pytest.raises(InputError, match="megapixels"):
            image_of(data, "a")


def webp(width, height):
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"exif": Image.Exif()}])
@pytest.mark.parametrize(("height", "width"), [(24, 32), (1, 300), (257, 3)])
def test_the_size_of_a_webp_file_is_read_from_its_head(options, height, width):
    buffer = io.BytesIO()
    Image.fromarray(small_files.picture(height, width)).save(buffer, "WEBP", **options)
    assert stills.webp_size(buffer.getvalue()[: stills.WEBP_HEAD_BYTES]) == (width, height)
    assert stills.size_of(buffer, Bounds()) == {"width": width, "height": height}
    assert stills.webp_size(webp(9001, 9002)) == (9001, 9002)


def test_a_video_that_grows_on_the_way_is_refused():
    """A raw MPEG-4 stream may announce another size at any key frame."""
    small, large = (small_files.video("m4v", "mpeg4", count=2, side=side) for side in (32, 320))
    with (
        streams.opened_video(io.BytesIO(small_files.video("mpegts", "mpeg2video")), Bounds(pixels=32 * 32)) as opened,
        pytest.raises(InputError, match="pixels"),
    ):
        list(streams.decoded_frames(*opened, Bounds(pixels=31 * 32)))
    with pytest.raises(InputError):
        list(read_all(small + large, Bounds(pixels=32 * 32)))


def read_all(data, bounds):
    with streams.opened_video(io.BytesIO(data), bounds) as (container, stream):
        yield from streams.decoded_frames(container, stream, bounds)


def test_names_and_titles_in_files_need_not_be_utf8(tmp_path):
    data = bytearray(small_files.video("matroska", "ffv1"))
    at = data.find(b"Lavf")
    assert at > 0
    data[at : at + 4] = b"\xe9\xff\xfe\xe9"
    assert len(list(read_frames(written(tmp_path, "a.mkv", bytes(data))))) == 6
