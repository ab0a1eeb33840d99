"""Whatever bytes a file holds, reading it gives frames, or one line."""

import functools
import io
import json

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import small_files
from ipoke.core.reading import operations
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.payload import embed_payload
from small_files import refused_in_one_line

BOUNDS = Bounds(pixels=10_000_000)
GOOD = {**small_files.STILLS, **small_files.VIDEOS}


@functools.cache
def good(name):
    if name == "session.mp4":
        return embed_payload("mp4", small_files.VIDEOS["a.mp4"](), b'{"session": {"a": 1}}')
    return GOOD[name]()


@st.composite
def damaged(draw):
    """Take a good file, and change bytes, cut it, or put part of another into it."""
    data = bytearray(good(draw(st.sampled_from([*GOOD, "session.mp4"]))))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(("byte", "zeros", "ones", "cut", "splice", "repeat"))):
            case "byte":
                data[at] = draw(st.integers(0, 255))
            case "zeros":
                data[at : at + 4] = b"\0\0\0\0"
            case "ones":
                data[at : at + 4] = b"\xff\xff\xff\xff"
            case "cut":
                del data[max(1, at) :]
            case "splice":
                other = good(draw(st.sampled_from(list(GOOD))))
                data[at:at] = other[: draw(st.integers(0, 200))]
            case _:
                data[at:at] = data[at : at + 64]
    return bytes(data)


def law(operation, data, **arguments):
    """Every result is whole and finite, or the file is refused in one line of bounded length."""
    with refused_in_one_line():
        for count, (facts, pixels) in enumerate(operation(io.BytesIO(data), BOUNDS, **arguments)):
            json.dumps(facts, allow_nan=False)
            if pixels is not None:
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3
                assert pixels.shape[2] == 3
                assert pixels.size <= 3 * BOUNDS.pixels
            if count > 200:
                return


quiet = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@quiet
@given(damaged() | st.binary(max_size=300))
@example(b"")
def test_any_bytes_are_a_picture_or_refused(data):
    law(operations.picture, data, side=64)


@quiet
@given(damaged() | st.binary(max_size=300))
@example(b"")
def test_any_bytes_are_a_video_or_refused(data):
    law(operations.video, data)


@quiet
@given(damaged(), st.floats(0, 1e5))
def test_a_frame_of_any_bytes_is_there_or_refused(data, seconds):
    law(operations.frame_at, data, seconds=seconds, side=64)


@quiet
@given(damaged() | st.binary(max_size=300))
def test_any_bytes_carry_a_session_or_are_refused(data):
    law(operations.saved, data, side=64)
