"""Videos of people to RGB frames, one at a time, and frames to files that any player shows.

A video is a file that FFmpeg reads (MP4, MKV, AVI, MOV, WebM, ...), an animated GIF, WebP or PNG, or a folder of
frames in natural order. What comes out is upright RGB of one size.
"""

import dataclasses
import io
import itertools
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from ipoke.data.codec import decode_mp4, encode_mp4, rgb_pixels
from ipoke.data.images import LARGEST_PIXELS, opened_image, read_image, rgb_on_white
from ipoke.errors import InputError
from ipoke.files import reason, replacing

__all__ = [
    "BrokenVideoError",
    "VideoInfo",
    "decode_mp4",
    "encode_mp4",
    "frame_files",
    "frames_of",
    "probe",
    "read_frames",
    "timing_of",
    "video_bytes",
    "write_video",
]

VIDEO_ENDINGS = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp", ".ogv")
)
ANIMATION_ENDINGS = frozenset((".gif", ".webp", ".apng"))
FRAME_ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"))
DEFAULT_FPS = 25.0
"""Frame rate of folders of frames, and of files that do not name one."""


class BrokenVideoError(InputError):
    """A video whose beginning could be read and whose end could not; the frames so far are good."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Frame rate, and size of the upright frames in px."""

    fps: float
    width: int
    height: int


def probe(path: Path | str) -> VideoInfo:
    """Look up frame rate and size without decoding more than one frame.

    Raises:
        InputError: Not a video, or one without a single readable frame.
    """
    path = Path(path)
    first = next(read_frames(path), None)
    if first is None:
        raise InputError(f"{path}: has no frames; check the file")
    height, width = first.shape[:2]
    return VideoInfo(fps=_fps(path), width=width, height=height)


def read_frames(path: Path | str) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    """Decode a video frame by frame, upright and in RGB; later frames of another size are resized to the first's.

    Raises:
        InputError: No such file, not a video, or no readable frame.
        BrokenVideoError: After the last good frame, when the rest cannot be decoded.
    """
    path = Path(path)
    if path.is_dir():
        frames = _folder_frames(path)
    elif not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    elif path.suffix.lower() in ANIMATION_ENDINGS | {".png"}:
        frames = _animation_frames(path)
    else:
        frames = _stream_frames(path)
    return _of_one_size(path, frames)


def frames_of(data: bytes, name: str) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    """Decode a video that is in memory, as `read_frames`; errors call it ``name``.

    Raises:
        InputError: As `read_frames`.
        BrokenVideoError: As `read_frames`.
    """
    return _of_one_size(Path(name), _stream_frames(Path(name), io.BytesIO(data)))


def timing_of(data: bytes) -> tuple[float, float]:
    """Tell the length, s, and the frame rate of a video in memory; a length of 0 where its header says nothing."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        seconds = container.duration / av.time_base if container.duration else 0.0
        return seconds, float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)


def frame_files(folder: Path) -> list[Path]:
    """List the images of a folder in natural order (2 before 10)."""
    return sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in FRAME_ENDINGS and not file.name.startswith(".")),
        key=lambda file: natural_key(file.name),
    )


def natural_key(name: str) -> list[tuple[bool, int, str]]:
    """Give a sorting key that compares the numbers in a name as numbers.

    >>> sorted(["f10", "f9"], key=natural_key)
    ['f9', 'f10']
    """
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", name)]


def write_video(path: Path | str, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float) -> None:
    """Write frames as ``.mp4``, or as a looping ``.webp`` or ``.gif``, by the ending of the name.

    MP4 files are yuv420p, as players need; an odd side is repeated at its end to make it even. GIF files share one
    palette of 256 colours. The same frames give the same bytes.

    Raises:
        InputError: Another ending, or the file cannot be written.
        ValueError: No frames.
    """
    path = Path(path)
    stack = list(frames)
    if not stack:
        raise ValueError("write_video: got no frames, expected at least one")
    ending = path.suffix.lower()
    if ending not in (".mp4", ".webp", ".gif"):
        raise InputError(f"{path}: got the ending {ending or 'none'!r}, expected .mp4, .webp or .gif")
    with replacing(path) as temporary:
        temporary.write_bytes(video_bytes(ending, stack, fps))


def video_bytes(ending: str, stack: list[UInt8[np.ndarray, "h w 3"]], fps: float) -> bytes:
    """Encode frames as `write_video` writes them, by an ending of ``.mp4``, ``.webp`` or ``.gif``."""
    if ending == ".mp4":
        return encode_mp4((_even(frame) for frame in stack), fps, yuv444=False)
    buffer, images = io.BytesIO(), [Image.fromarray(frame) for frame in stack]
    timing = {"save_all": True, "append_images": images[1:], "loop": 0, "duration": _durations(len(images), fps)}
    if ending == ".webp":
        images[0].save(buffer, format="WEBP", quality=90, method=4, **timing)
    else:
        palette = _shared_palette(stack)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
        timing |= {"append_images": images[1:], "duration": _durations(len(images), fps, step_ms=10)}
        images[0].save(buffer, format="GIF", optimize=False, disposal=1, **timing)
    return buffer.getvalue()


def _of_one_size(path: Path, frames: Iterator[UInt8[np.ndarray, "h w 3"]]) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    shape = None
    for frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            frame = cv2.resize(frame, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
        yield frame
    if shape is None:
        raise InputError(f"{path}: has no frames that can be decoded; check that it is a video")


def _stream_frames(path: Path, file: BinaryIO | None = None) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    reformatter, count = VideoReformatter(), 0
    try:
        with av.open(str(path) if file is None else file, "r") as container:
            if not container.streams.video:
                raise InputError(f"{path}: has no video stream, expected a video")
            stream = container.streams.video[0]
            if stream.width * stream.height > LARGEST_PIXELS:
                raise InputError(
                    f"{path}: has {stream.width} x {stream.height} pixels per frame, expected at most "
                    f"{LARGEST_PIXELS // 10**6} megapixels"
                )
            stream.codec_context.thread_count = 1
            promised = _promised_frames(container, stream)
            for frame in container.decode(stream):
                yield _upright(rgb_pixels(frame, reformatter), frame.rotation)
                count += 1
            if 0 < count < 0.9 * promised:
                raise BrokenVideoError(f"{path}: breaks off after {count} of {promised} frames")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if count:
            raise BrokenVideoError(f"{path}: breaks off after {count} frames ({reason(error)})") from error
        raise InputError(f"{path}: cannot be decoded ({reason(error)}), expected a video") from error


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


def _animation_frames(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Show each image for as many frames as its duration asks for: writers merge images that are equal."""
    count = 0
    try:
        step = min(_animation_durations(path))
        with opened_image(path) as image:
            for still in ImageSequence.Iterator(image):
                pixels = rgb_on_white(still)
                for _ in range(_repeats(still.info.get("duration", 0), step)):
                    yield pixels
                    count += 1
    except InputError as error:
        if count:
            why = reason(error.__cause__ or error)
            raise BrokenVideoError(f"{path}: breaks off after {count} frames ({why})") from error
        raise


def _repeats(duration: float, step: float) -> int:
    # A pause of a minute in an animation is a title, not 6000 frames.
    return min(max(1, round(duration / step)), 100) if step else 1


def _animation_durations(path: Path) -> list[float]:
    """List how long each image is shown, ms, up to the first one that is broken."""
    durations: list[float] = []
    try:
        with opened_image(path) as image:
            for still in ImageSequence.Iterator(image):
                still.load()
                durations.append(still.info.get("duration", 0))
    except InputError:
        if not durations:
            raise
    return durations


def _folder_frames(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    files = frame_files(path)
    if not files:
        raise InputError(f"{path}: has no images, expected a folder of frames")
    for count, file in enumerate(files):
        try:
            yield read_image(file)
        except InputError as error:
            if count:
                raise BrokenVideoError(f"{path}: breaks off after {count} frames ({error})") from error
            raise


def _fps(path: Path) -> float:
    if path.is_dir():
        return DEFAULT_FPS
    if path.suffix.lower() in ANIMATION_ENDINGS | {".png"}:
        durations = _animation_durations(path)
        frames = sum(_repeats(duration, min(durations)) for duration in durations)
        return frames * 1000 / sum(durations) if sum(durations) else DEFAULT_FPS
    with av.open(str(path), "r") as container:
        stream = container.streams.video[0]
        return float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)


def _durations(count: int, fps: float, step_ms: int = 1) -> list[int]:
    """Spread whole steps of time over the frames so that the rate is right on average."""
    ends = [round(index * 1000 / (fps * step_ms)) for index in range(count + 1)]
    return [max(1, after - before) * step_ms for before, after in itertools.pairwise(ends)]


def _even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _shared_palette(frames: list[UInt8[np.ndarray, "h w 3"]]) -> Image.Image:
    """Choose 256 colours from up to eight frames, spread over time."""
    chosen = frames[:: max(1, len(frames) // 8)]
    return Image.fromarray(np.concatenate(chosen, axis=0)).quantize(256, method=Image.Quantize.MEDIANCUT)
