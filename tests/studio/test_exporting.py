"""Files frame by frame: what they hold, and that no more than a few frames are in memory at a time."""

import io
import json
import weakref
import zipfile
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

import ipoke
from ipoke.core.reading.payload import extract_payload
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.render import film_strip, grid
from ipoke.sampling.sampler import finite
from ipoke.studio import encoding, exporting
from ipoke.studio.answers import Answers
from ipoke.studio.jobs import Background, Batched
from ipoke.studio.limits import LIMITS
from ipoke.studio.pictures import Picture
from ipoke.studio.problem import Problem
from ipoke.studio.questions import ExportQuestion, parsed

DRAG = {"x": 38, "y": 137, "dx": 0, "dy": 34}


@pytest.fixture(scope="module")
def model():
    return ipoke.load("scenes-64")


@pytest.fixture(scope="module")
def picture():
    return Picture("still", "still", ipoke.bundled_still()[:201, :183].copy())


def asked(samples, frames=4):
    residuals = [[[7, i, 1]] for i in range(samples)]
    fields = {"picture": "still", "pokes": [DRAG], "residuals": residuals, "frames": frames}
    return parsed(ExportQuestion, json.dumps(fields).encode())


def taken(model, steps, most=10**9):
    """Take steps as turns do; give the parts of the file and the number of steps."""
    parts, answer, count = [], None, 0
    while count < most:
        try:
            result = steps.send(answer)
        except StopIteration:
            break
        count, answer = count + 1, None
        if isinstance(result, Batched):
            answer = finite(Answers(model).draw_batch([result.work])[0])
        elif isinstance(result, Background):
            answer = result.work()
        elif result is not None:
            parts.append(result)
    return parts, count


def frames_in(kind, file):
    if kind in ("gif", "webp"):
        with Image.open(io.BytesIO(file)) as played:
            frames = []
            for one in ImageSequence.Iterator(played):
                shown = np.asarray(one.convert("RGB"))
                frames += [shown] * (one.info["duration"] // 100)  # those that are equal are one, shown longer
            return frames
    container: Any = av.open(io.BytesIO(file))
    with container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("kind", ["gif", "webp", "mp4", "webm"])
@pytest.mark.parametrize("samples", [1, 3])
def test_what_plays_is_what_all_frames_at_once_would_be(model, picture, kind, samples):
    parts, _ = taken(model, Answers(model).export(picture, asked(samples), None, kind))
    clips = model.poke(picture.image, [ipoke.Poke(**DRAG)], samples=samples, seed=7, frames=4)
    wanted = clips[0] if samples == 1 else grid(clips, [ipoke.Poke(**DRAG)])
    shown = frames_in(kind, b"".join(parts))
    assert len(shown) == len(wanted)
    height, width = wanted.shape[1:3]
    for frame, like in zip(shown, wanted, strict=True):
        assert np.abs(frame[:height, :width].astype(int) - like).mean() < (8 if kind == "gif" else 4)
    assert extract_payload(b"".join(parts), 10**7) is not None


def test_a_film_strip_comes_row_by_row_and_is_the_same(model, picture):
    parts, _ = taken(model, Answers(model).export(picture, asked(3), None, "png"))
    assert len(parts) > 6
    clips = model.poke(picture.image, [ipoke.Poke(**DRAG)], samples=3, seed=7, frames=4)
    shown = np.asarray(Image.open(io.BytesIO(b"".join(parts))))
    wanted = film_strip(clips, [ipoke.Poke(**DRAG)])
    assert shown.shape == wanted.shape
    assert np.abs(shown.astype(int) - wanted).mean() < 1


def test_a_zip_comes_frame_by_frame_and_says_sizes_before_contents(model, picture):
    parts, _ = taken(model, Answers(model).export(picture, asked(2), None, "frames"))
    assert len(parts) == 1 + 2 * 5 + 1
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as archive:
        assert archive.testzip() is None
        assert [entry.flag_bits & 8 for entry in archive.infolist()] == [0] * 11
        frame = np.asarray(Image.open(io.BytesIO(archive.read("sample-2/frame-000.png"))))
    assert (frame == picture.image).all()


def most_alive(model, picture, kind, monkeypatch):
    """Count the frames that are in memory at one time while a file is made."""
    shown, most = [], 0
    show = OpenPicture.show

    def watched(self, *arguments):
        nonlocal most
        frames = show(self, *arguments)
        shown.append(weakref.ref(frames))
        most = max(most, sum(one() is not None for one in shown))
        return frames

    monkeypatch.setattr(OpenPicture, "show", watched)
    _, count = taken(model, Answers(model).export(picture, asked(6, frames=8), None, kind))
    assert count > 6 * 8
    return most


@pytest.mark.parametrize(("kind", "most"), [("gif", 8), ("webp", 8), ("frames", 2)])
def test_no_more_than_a_frame_of_each_sample_is_in_memory(model, picture, monkeypatch, kind, most):
    assert most_alive(model, picture, kind, monkeypatch) <= most


def test_an_encoder_that_keeps_frames_would_be_seen(model, picture, monkeypatch):
    kept, side_by_side = [], exporting.side_by_side

    def hoarding(panels, columns):
        kept.append(panels)
        return side_by_side(panels, columns)

    monkeypatch.setattr(exporting, "side_by_side", hoarding)
    monkeypatch.setattr(exporting, "enlarged", lambda frames, factor: frames)
    assert most_alive(model, picture, "webp", monkeypatch) > 40


def test_samples_side_by_side_are_scaled_down_to_what_players_take(model, picture):
    limits = LIMITS._replace(frame_pixels=60_000)
    parts, _ = taken(model, Answers(model, limits).export(picture, asked(3), None, "webp"))
    with Image.open(io.BytesIO(b"".join(parts))) as played:
        assert 30_000 < played.width * played.height < 75_000


@pytest.mark.parametrize("kind", ["mp4", "webp", "webm"])
def test_a_file_that_grows_too_large_is_given_up(model, picture, kind):
    limits = LIMITS._replace(file_bytes=100)
    with pytest.raises(Problem, match="save fewer"):
        taken(model, Answers(model, limits).export(picture, asked(1, frames=40), None, kind))


@pytest.mark.parametrize(
    ("kind", "encoder"), [("mp4", encoding.Mp4), ("webp", encoding.Animation), ("webm", encoding.Animation)]
)
@pytest.mark.parametrize("ends", ["whole", "left", "too large"])
def test_an_encoder_is_closed_however_its_file_ends(model, picture, monkeypatch, kind, encoder, ends):
    dropped, drop = [], encoder.drop
    monkeypatch.setattr(encoder, "drop", lambda self: dropped.append(self) or drop(self))
    steps = Answers(model, LIMITS._replace(file_bytes=100) if ends == "too large" else LIMITS).export(
        picture, asked(1, frames=12), None, kind
    )
    if ends == "too large":
        with pytest.raises(Problem, match="save fewer"):
            taken(model, steps)
    else:
        taken(model, steps, most=10**9 if ends == "whole" else 12)
    steps.close()
    assert len(dropped) == 1


def test_equal_frames_of_a_gif_stay_as_many():
    frame = np.full((9, 13, 3), 200, np.uint8)
    gif = encoding.Gif(9, 13, encoding.palette_of([frame]))
    file = b"".join([gif.add(frame), gif.add(frame), gif.add(255 - frame), gif.close(b"{}")])
    with Image.open(io.BytesIO(file)) as played:
        assert sum(1 for _ in ImageSequence.Iterator(played)) == 3
        assert played.info["loop"] == 0
