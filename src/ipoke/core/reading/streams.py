"""Decode videos to RGB frames, by FFmpeg; runs in a decoder process."""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO, NamedTuple, NoReturn

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.core.files import reason
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.formats import CODECS, CONTAINER_WORDS, CONTAINERS
from ipoke.core.reading.stills import check_size

DEFAULT_FPS = 25.0
"""Frame rate of folders of frames, and of files that give none."""
MOST_STREAMS = 64


class BrokenError(InputError):
    """The beginning of a file could be decoded and its end could not; the results so far are valid."""


class Timing(NamedTuple):
    """Frame rate, and duration in s; 0 where the header gives none."""

    fps: float
    seconds: float


@contextlib.contextmanager
def opened_video(file: BinaryIO, bounds: Bounds) -> Generator[tuple[InputContainer, VideoStream]]:
    """Open a video of an allowed container and codec; FFmpeg is given no file name and may open no other file.

    Raises:
        InputError: The file is no such video, or its frames are too large.
    """
    file.seek(0)
    listed = {
        "format_whitelist": ",".join(CONTAINERS),
        "codec_whitelist": ",".join(CODECS),
        "protocol_whitelist": "",
        "max_streams": str(MOST_STREAMS),
    }
    try:
        container = av.open(file, "r", container_options=listed, metadata_errors="replace", io_open=refuse_other)
    except Exception as error:  # FFmpeg's errors, and those of metadata
        raise InputError(f"cannot be decoded ({reason(error)[:120]}), expected a video: {CONTAINER_WORDS}") from error
    with container:
        if not container.streams.video:
            raise InputError("has no video stream; give a video")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None or context.name not in CODECS:
            name = "an unknown codec" if context is None else context.name
            raise InputError(f"is encoded with {name}, which is not supported; convert it to H.264 or VP9")
        check_size(context.width or 0, context.height or 0, bounds)
        context.thread_count = 1
        yield container, stream


def timing_of(container: InputContainer, stream: VideoStream) -> Timing:
    """Read frame rate and duration from the header."""
    rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
    seconds = container.duration / av.time_base if container.duration else 0.0
    return Timing(rate if 0 < rate < 1e6 else DEFAULT_FPS, max(0.0, seconds))


def decoded_frames(
    container: InputContainer, stream: VideoStream, bounds: Bounds
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Decode frame by frame, upright and in RGB.

    Raises:
        InputError: No frame can be decoded, or one is too large.
        BrokenError: The rest of the video cannot be decoded; raised after the last valid frame.
    """
    reformatter, count = VideoReformatter(), 0
    promised = _promised_frames(container, stream)
    try:
        for frame in container.decode(stream):
            check_size(frame.width, frame.height, bounds)
            yield _upright(rgb_pixels(frame, reformatter), frame.rotation)
            count += 1
    except InputError:
        raise
    except Exception as error:  # FFmpeg's errors, and those of unexpected frames
        if count:
            raise BrokenError(f"ends after {count} frames ({reason(error)[:120]})") from error
        raise InputError(f"cannot be decoded ({reason(error)[:120]}); give a video") from error
    if not count:
        raise InputError("has no frames that can be decoded; give a video")
    if count < 0.9 * promised:
        raise BrokenError(f"ends after {count} of {promised} frames")


def refuse_other(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    """Refuse to open another file that a video refers to."""
    raise PermissionError("the file refers to another file")


def rgb_pixels(frame: av.VideoFrame, reformatter: VideoReformatter) -> UInt8[np.ndarray, "h w 3"]:
    """Convert a decoded frame to RGB by the colour matrix and range of the file; the reformatter is reused."""
    return reformatter.reformat(frame, format="rgb24").to_ndarray()


def _promised_frames(container: InputContainer, stream: VideoStream) -> int:
    """Give the number of frames according to the header, by count or duration; 0 where it gives neither."""
    if stream.frames:
        return stream.frames
    if container.duration and stream.average_rate:
        return int(container.duration / av.time_base * stream.average_rate)
    return 0


def _upright(pixels: UInt8[np.ndarray, "h w 3"], rotation: int) -> UInt8[np.ndarray, "h w 3"]:
    """Rotate a frame by the display rotation (degrees, anticlockwise), rounded to quarter turns."""
    quarters = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
