"""Videos to RGB frames, by FFmpeg; runs in the process that opens files."""

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
"""Frame rate of folders of frames, and of files that do not name one."""
MOST_STREAMS = 64


class BrokenError(InputError):
    """The beginning could be read and the end could not; what came so far is good."""


class Timing(NamedTuple):
    """Frame rate, and length in s; a length of 0 where the header says nothing."""

    fps: float
    seconds: float


@contextlib.contextmanager
def opened_video(file: BinaryIO, bounds: Bounds) -> Generator[tuple[InputContainer, VideoStream]]:
    """Open a video of a container and a codec that are read, from bytes: FFmpeg is given no name and opens no other.

    Raises:
        InputError: Not such a video, or too large frames.
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
    except Exception as error:  # FFmpeg's errors, and those of what reads metadata
        raise InputError(f"cannot be decoded ({reason(error)[:120]}), expected a video: {CONTAINER_WORDS}") from error
    with container:
        if not container.streams.video:
            raise InputError("has no video stream, expected a video")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None or context.name not in CODECS:
            name = "an unknown way" if context is None else context.name
            raise InputError(f"has frames coded as {name}, which is not read; convert it to H.264 or VP9")
        check_size(context.width or 0, context.height or 0, bounds)
        context.thread_count = 1
        yield container, stream


def timing_of(container: InputContainer, stream: VideoStream) -> Timing:
    """Look up rate and length in the header."""
    rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
    seconds = container.duration / av.time_base if container.duration else 0.0
    return Timing(rate if 0 < rate < 1e6 else DEFAULT_FPS, max(0.0, seconds))


def decoded_frames(
    container: InputContainer, stream: VideoStream, bounds: Bounds
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Decode frame by frame, upright and in RGB.

    Raises:
        InputError: No frame can be decoded, or one is too large.
        BrokenError: After the last good frame, when the rest cannot be decoded.
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
    except Exception as error:  # FFmpeg's errors, and those of frames that nobody expects
        if count:
            raise BrokenError(f"breaks off after {count} frames ({reason(error)[:120]})") from error
        raise InputError(f"cannot be decoded ({reason(error)[:120]}), expected a video") from error
    if not count:
        raise InputError("has no frames that can be decoded; check that it is a video")
    if count < 0.9 * promised:
        raise BrokenError(f"breaks off after {count} of {promised} frames")


def refuse_other(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    """Open nothing that a file names."""
    raise PermissionError("the file names another one")


def rgb_pixels(frame: av.VideoFrame, reformatter: VideoReformatter) -> UInt8[np.ndarray, "h w 3"]:
    """Convert a decoded frame to RGB by the matrix and the range that the file names; the reformatter is reused."""
    return reformatter.reformat(frame, format="rgb24").to_ndarray()


def _promised_frames(container: InputContainer, stream: VideoStream) -> int:
    """Count the frames that the header speaks of, by their number or by their duration; 0 if it says nothing."""
    if stream.frames:
        return stream.frames
    if container.duration and stream.average_rate:
        return int(container.duration / av.time_base * stream.average_rate)
    return 0


def _upright(pixels: UInt8[np.ndarray, "h w 3"], rotation: int) -> UInt8[np.ndarray, "h w 3"]:
    """Turn a frame by the display rotation (degrees, anticlockwise) to the nearest quarter."""
    quarters = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
