"""The operations of a decoder process on a file."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.formats import HEAD_BYTES, is_picture
from ipoke.core.reading.payload import LARGEST_SESSION, PICTURE_FIELDS, extract_payload
from ipoke.core.reading.stills import fitted, is_animated, read_animation, read_durations, read_still, repeats, size_of
from ipoke.core.reading.streams import DEFAULT_FPS, BrokenError, Timing, decoded_frames, opened_video, timing_of

Facts = dict[str, Any]
Pixels = UInt8[np.ndarray, "h w 3"]
Results = Iterator[tuple[Facts, Pixels | None]]


def picture(file: BinaryIO, bounds: Bounds, side: int | None = None) -> Results:
    """Decode a picture; with ``side``, scaled down to at most ``side`` px."""
    yield size_of(file, bounds), None
    image = read_still(file, bounds)
    yield {}, image if side is None else fitted(image, side)


def animated(file: BinaryIO, bounds: Bounds) -> Results:
    """Tell whether a picture is an animation."""
    yield {"is_animated": is_animated(file, bounds)}, None


def video(file: BinaryIO, bounds: Bounds) -> Results:
    """Read the timing, then decode frame by frame; frames of another size are resized to that of the first."""
    shape = None
    for facts, frame in _animation(file, bounds) if _is_picture(file) else _stream(file, bounds):
        if frame is not None:
            shape = shape or frame.shape
            if frame.shape != shape:
                frame = cv2.resize(frame, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
        yield facts, frame


def frame_at(file: BinaryIO, bounds: Bounds, seconds: float, side: int) -> Results:
    """Read the timing, then decode the one frame at ``seconds``, or the last one."""
    timing, chosen, count = {"fps": DEFAULT_FPS}, None, 0
    try:
        for facts, frame in video(file, bounds):
            if frame is None:
                timing = timing | facts
                yield facts, None
                continue
            chosen, count = frame, count + 1
            if count > round(seconds * timing["fps"]):
                break
    except BrokenError:
        pass
    if chosen is None:
        raise InputError("has no frames that can be decoded; give a video")
    yield {}, fitted(chosen, side)


def saved(file: BinaryIO, bounds: Bounds, side: int) -> Results:
    """Extract the session of a file without its pictures, then each picture with the name of its field."""
    text = extract_payload(file.read(), 3 * LARGEST_SESSION)
    if text is None:
        raise InputError("contains no session of the studio; open a file that the studio saved")
    try:
        session = json.loads(text)
        pictures = [(name, session.pop(name)) for name in PICTURE_FIELDS if session.get(name) is not None]
        files = [(name, io.BytesIO(base64.b64decode(text, validate=True))) for name, text in pictures]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError("contains a damaged session; open another file that the studio saved") from error
    yield {"session": session}, None
    for name, png in files:
        yield size_of(png, bounds), None
        image = read_still(png, bounds)
        if max(image.shape) > side:
            raise InputError(
                f"contains a picture of {image.shape[1]} x {image.shape[0]} px, expected at most {side} px a side"
            )
        yield {"picture": name}, fitted(image, side)


OPERATIONS: dict[str, Callable[..., Results]] = {
    operation.__name__: operation for operation in (picture, animated, video, frame_at, saved)
}


def _stream(file: BinaryIO, bounds: Bounds) -> Results:
    with opened_video(file, bounds) as (container, stream):
        yield {"width": stream.width or 0, "height": stream.height or 0}, None
        yield _timing_facts(timing_of(container, stream)), None
        for frame in decoded_frames(container, stream, bounds):
            yield {}, frame


def _animation(file: BinaryIO, bounds: Bounds) -> Results:
    yield size_of(file, bounds), None
    durations = list(read_durations(file, bounds))
    step, seconds = min(durations), sum(durations) / 1000
    frames = sum(repeats(duration, step) for duration in durations)
    yield _timing_facts(Timing(frames / seconds if seconds else DEFAULT_FPS, seconds)), None
    count = 0
    try:
        for shown in read_animation(file, step, bounds):
            for _ in range(shown.frames):
                yield {}, shown.pixels
                count += 1
    except InputError as error:
        raise BrokenError(f"ends after {count} frames ({error})") if count else error from error


def _timing_facts(timing: Timing) -> Facts:
    return {"fps": timing.fps, "seconds": timing.seconds}


def _is_picture(file: BinaryIO) -> bool:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return is_picture(head)
