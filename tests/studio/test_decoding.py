"""Visitors' files: small ones are opened at once, whatever others send."""

import asyncio
import io
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image

import small_files
from ipoke.core.reading.process import DecoderProcess
from ipoke.studio import decoding
from ipoke.studio.decoding import Decoder
from ipoke.studio.limits import LIMITS
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor
from misbehaving import misbehaving

pytestmark = pytest.mark.skipif(not decoding.Decoder.is_limited, reason="this system lets no process limit its memory")
SLOW = b"STALL" + small_files.still("PNG")
LIMITS_HERE = LIMITS._replace(quick_seconds=0.5, decode_seconds=4.0)


@pytest.fixture(autouse=True, scope="module")
def _begun():
    """Start the fork server before anything is timed."""
    with misbehaving():
        with DecoderProcess("picture", small_files.still("PNG"), "a") as opening:
            list(opening)
        yield


def picture(width, height):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def test_pictures_frames_clips_and_sessions_are_opened():
    async def go():
        decoder = Decoder()
        video = small_files.VIDEOS["a.mp4"]()
        image = await decoder.picture(picture(1500, 300))
        frame, seconds = await decoder.frame(video, 0.1)
        clip = await decoder.clip(video, 16, 5)
        saved = await decoder.saved(b'{"session": {"a": 1}}')
        decoder.close()
        return image.shape, frame.shape, round(seconds, 2), clip.shape, saved

    assert asyncio.run(go()) == ((205, 1024, 3), (32, 32, 3), 0.24, (5, 16, 16, 3), ({"a": 1}, {}))


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "video"), (b"hello", "expected"), (small_files.EPS, "not an image"), (picture(7, 9), "at least 8 x 8")],
)
def test_what_is_no_picture_is_said(data, words):
    with pytest.raises(Problem, match=words if data else "not an image") as error:
        asyncio.run(Decoder().picture(data))
    assert error.value.status == 415


def test_too_large_a_picture_is_refused_before_it_is_decoded_and_the_next_is_read():
    async def go():
        decoder = Decoder(LIMITS._replace(pixels=1_000_000))
        with pytest.raises(Problem, match="at most 1 megapixels"):
            await decoder.picture(picture(1100, 1000))
        return (await decoder.picture(picture(1000, 900))).shape

    assert asyncio.run(go()) == (900, 1000, 3)


def test_a_large_picture_has_more_memory_than_a_small_one():
    async def go(limits):
        return (await Decoder(limits).picture(picture(4100, 4000))).shape

    assert asyncio.run(go(LIMITS)) == (999, 1024, 3)
    with pytest.raises(Problem, match=r"memory|damaged"):
        asyncio.run(go(LIMITS._replace(quick_pixels=LIMITS.pixels, quick_bytes=30_000_000)))


def test_small_pictures_pass_those_that_stall():

    async def go():
        decoder = Decoder(LIMITS_HERE)
        slow = [asyncio.create_task(decoder.picture(SLOW, Visitor("", visitor))) for visitor in ("x", "y", "z")]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await decoder.picture(picture(9, 9), Visitor("", "honest"))
        waited = time.monotonic() - began
        shapes = [image.shape for image in await asyncio.gather(*slow)]
        return waited, shapes

    waited, shapes = asyncio.run(go())
    assert waited < 1.9  # those before it take 2 s each, more than the half second that they may be quick for
    assert shapes == [(24, 32, 3)] * 3


def test_one_that_takes_too_long_is_refused():
    decoder = partial(Decoder, LIMITS_HERE._replace(decode_seconds=1.0))

    async def go():
        await decoder().picture(SLOW)

    with pytest.raises(Problem, match="more than 1 s to decode"):
        asyncio.run(go())


def test_a_visitor_has_few_files_and_all_together_not_many():
    async def go(limits, visitors):
        decoder = Decoder(limits)
        tasks = [
            asyncio.create_task(decoder.picture(picture(9, 9), Visitor(visitor[0], visitor[1:])))
            for visitor in visitors
        ]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert decoder._waiting == []
        return [getattr(answer, "status", 200) for answer in answers]

    assert asyncio.run(go(LIMITS._replace(files_per_visitor=2), ["xa", "xa", "xa", "xb"])) == [200, 200, 429, 200]
    assert asyncio.run(go(LIMITS._replace(files=3), ["xa", "xb", "xc", "xd"])) == [200, 200, 200, 429]
    near = LIMITS._replace(files_per_address=2)
    assert asyncio.run(go(near, ["xa", "xb", "xc", "ya"])) == [200, 200, 429, 200]


def test_a_file_that_nobody_waits_for_is_ended(monkeypatch):
    ended = []

    class Watched(DecoderProcess):
        def end(self):
            ended.append(self)
            return super().end()

    monkeypatch.setattr(decoding, "DecoderProcess", Watched)

    async def go():
        decoder = Decoder()
        task = asyncio.create_task(decoder.picture(SLOW))
        while not decoder._waiting:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return decoder._waiting

    assert asyncio.run(go()) == []
