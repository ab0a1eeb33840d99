import contextlib
import io
import itertools
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from ipoke.core import files
from ipoke.core.errors import InputError
from ipoke.data.codec import decode_mp4, encode_mp4
from ipoke.data.video import BrokenVideoError, probe, read_frames, write_video


def scene(count=20, height=64, width=64, seed=0):
    """A camera that glides over a smooth, colourful texture: every frame differs from every other."""
    noise = np.random.default_rng(seed).integers(0, 255, (height + count, width + count, 3), dtype=np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), np.empty_like(noise), 20, 235, cv2.NORM_MINMAX)
    return np.stack([texture[i : i + height, i // 2 : i // 2 + width] for i in range(count)])


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second.astype(float)) ** 2))


def assert_in_order(result, expected, least_psnr):
    """Each decoded frame is nearest to the frame that it should be."""
    assert result.shape == expected.shape
    for index, frame in enumerate(result):
        assert np.argmax([psnr(frame, other) for other in expected]) == index
        assert psnr(frame, expected[index]) > least_psnr


def mux(path, frames, codec, pixel_format, fps=25, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.bit_rate = 4_000_000
        stream.options = options
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("fps", ["24", "25", "30000/1001", "60"])
def test_mp4_round_trip_keeps_count_order_rate_and_colours(fps):
    frames = scene()
    data = encode_mp4(frames, float(Fraction(fps)))
    result = decode_mp4(data)
    assert_in_order(result, frames, least_psnr=38)
    np.testing.assert_allclose(result.mean((0, 1, 2)), frames.mean((0, 1, 2)), atol=0.3)
    with av.open(io.BytesIO(data), "r") as container:
        assert container.streams.video[0].average_rate == Fraction(fps)


def test_same_frames_same_bytes_without_names_of_the_encoder():
    frames = scene()
    for yuv444 in (True, False):
        data = encode_mp4(frames, 25, yuv444=yuv444)
        assert data == encode_mp4(frames, 25, yuv444=yuv444)
        assert b"x264" not in data
        assert b"Lav" not in data


def test_a_single_frame_and_odd_sides_are_fine():
    frames = scene(1, 63, 61)
    assert psnr(decode_mp4(encode_mp4(frames, 25)), frames) > 36


def test_mp4_in_yuv420_has_the_right_colours():
    for colour in ((200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (200, 20, 120)):
        frames = np.full((3, 64, 64, 3), colour, np.uint8)
        result = decode_mp4(encode_mp4(frames, 25, yuv444=False))
        assert np.abs(result.astype(int) - frames).max() <= 4


def test_no_frames_and_mixed_sizes_are_refused():
    with pytest.raises(ValueError, match="no frames"):
        encode_mp4([], 25)
    with pytest.raises(ValueError, match="frame 1"):
        encode_mp4([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], 25)
    with pytest.raises(InputError, match="cannot be decoded"):
        decode_mp4(b"nothing")


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", {"crf": "8"}),
        ("a.mov", "libx264", "yuv420p", {"crf": "8"}),
        ("a.mkv", "libx264", "yuv444p", {"crf": "8"}),
        ("a.avi", "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "2"}),
        ("a.avi", "mpeg4", "yuv420p", {"qmin": "1", "qmax": "2"}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"crf": "10", "cpu-used": "8"}),
    ],
)
def test_every_container_is_read_in_order(tmp_path, name, codec, pixel_format, options):
    frames = scene(12)
    mux(tmp_path / name, frames, codec, pixel_format, fps=30, **options)
    assert_in_order(np.stack(list(read_frames(tmp_path / name))), frames, least_psnr=28)
    info = probe(tmp_path / name)
    assert (info.fps, info.width, info.height) == (30, 64, 64)


def test_frames_are_decoded_one_at_a_time(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encode_mp4(itertools.islice(itertools.cycle(scene(2)), 200), 25))
    with contextlib.closing(read_frames(tmp_path / "a.mp4")) as frames:
        assert next(frames).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("matrix", "turn"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((1, 0, 0, 1), 0)]
)
def test_display_rotation_is_applied(tmp_path, matrix, turn):
    frames = scene(4, 32, 48)
    data = bytearray(encode_mp4(frames, 25))
    at = data.find(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(data)
    expected = np.rot90(frames, turn, axes=(1, 2))
    assert psnr(np.stack(list(read_frames(tmp_path / "a.mp4"))), expected) > 36
    assert (probe(tmp_path / "a.mp4").height, probe(tmp_path / "a.mp4").width) == expected.shape[1:3]


def test_a_folder_of_frames_is_read_in_natural_order(tmp_path):
    frames = scene(12)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{index}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    np.testing.assert_array_equal(np.stack(list(read_frames(tmp_path))), frames)


def test_frames_of_another_size_are_resized_to_the_first(tmp_path):
    for index, side in enumerate((32, 48)):
        Image.new("RGB", (side, side), "red").save(tmp_path / f"{index}.png")
    assert [frame.shape for frame in read_frames(tmp_path)] == [(32, 32, 3), (32, 32, 3)]


@pytest.mark.parametrize(("ending", "least_psnr"), [(".mp4", 24), (".webp", 27), (".gif", 22)])
def test_written_videos_are_read_back(tmp_path, ending, least_psnr):
    frames = scene(10)
    path = tmp_path / f"a{ending}"
    write_video(path, frames, fps=20)
    assert_in_order(np.stack(list(read_frames(path))), frames, least_psnr)
    assert probe(path).fps == pytest.approx(20)
    first = path.read_bytes()
    write_video(path, frames, fps=20)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_written_animations_loop_and_mp4_is_for_players(tmp_path):
    for ending in (".webp", ".gif"):
        write_video(tmp_path / f"a{ending}", scene(3), fps=10)
        with Image.open(tmp_path / f"a{ending}") as image:
            assert image.info["loop"] == 0
    write_video(tmp_path / "a.mp4", scene(3, 33, 47), fps=10)
    with av.open(str(tmp_path / "a.mp4"), "r") as container:
        stream = container.streams.video[0]
        assert (stream.pix_fmt, stream.width, stream.height) == ("yuv420p", 48, 34)


def test_equal_frames_that_writers_merge_are_shown_as_often(tmp_path):
    frames = scene(3)[[0, 1, 1, 1, 2]]
    for ending in (".webp", ".gif"):
        write_video(tmp_path / f"a{ending}", frames, fps=10)
        assert probe(tmp_path / f"a{ending}").fps == pytest.approx(10)
        result = list(read_frames(tmp_path / f"a{ending}"))
        assert len(result) == 5
        np.testing.assert_array_equal(result[1], result[3])


def test_a_broken_end_is_told_after_the_good_frames(tmp_path):
    frames = scene(60)
    mux(tmp_path / "a.mkv", frames, "libx264", "yuv420p", g="8")
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2])
    good = []
    with pytest.raises(BrokenVideoError, match="ends after") as error:
        good.extend(read_frames(tmp_path / "a.mkv"))
    assert f"after {len(good)} " in str(error.value)
    assert 5 < len(good) < 60


def test_every_unreadable_video_is_one_line(tmp_path):
    whole = encode_mp4(scene(), 25)
    for name, data in {"empty.mp4": b"", "text.mp4": b"hello", "cut.mp4": whole[:200], "a.gif": b"GIF89a"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name) as error:
            list(read_frames(tmp_path / name))
        assert "\n" not in str(error.value)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing.mp4", tmp_path / "folder"):
        with pytest.raises(InputError, match=path.name):
            list(read_frames(path))
        with pytest.raises(InputError, match=path.name):
            probe(path)


def test_a_file_without_video_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no video stream"):
        list(read_frames(tmp_path / "a.mkv"))


def test_writing_fails_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"expected \.mp4"):
        write_video(tmp_path / "a.xyz", scene(2), 10)
    (tmp_path / "a.webp").write_bytes(b"old")
    with pytest.raises(InputError, match="cannot be written"):
        write_video(tmp_path / "a.webp" / "a.mp4", scene(2), 10)

    def disk_full(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", disk_full)
    with pytest.raises(InputError, match="No space left") as error:
        write_video(tmp_path / "a.webp", scene(2), 10)
    assert "\n" not in str(error.value)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]
