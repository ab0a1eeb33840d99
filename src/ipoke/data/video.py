"""Videos of people to RGB frames, one at a time, and frames to files that any player shows.

A video is a file that FFmpeg reads (MP4, MKV, AVI, MOV, WebM, ...), an animated GIF, WebP or PNG, or a folder of
frames in natural order. What comes out is upright RGB of one size.
"""

import dataclasses
import io
import itertools
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ipoke.core.errors import InputError
from ipoke.core.files import replacing
from ipoke.core.reading.process import BrokenVideoError, DecoderProcess
from ipoke.core.reading.regular import open_regular
from ipoke.data.codec import decode_mp4, encode_mp4
from ipoke.data.images import read_image

__all__ = [
    "BrokenVideoError",
    "VideoInfo",
    "decode_mp4",
    "encode_mp4",
    "frame_files",
    "probe",
    "read_frames",
    "video_bytes",
    "write_video",
]

VIDEO_ENDINGS = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp", ".ogv")
)
FRAME_ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"))
DEFAULT_FPS = 25.0
"""Frame rate of folders of frames, and of files that do not name one."""


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
    if path.is_dir():
        height, width = next(_folder_frames(path)).shape[:2]
        return VideoInfo(fps=DEFAULT_FPS, width=width, height=height)
    fps = DEFAULT_FPS
    with open_regular(path, "video") as file, DecoderProcess("video", file, str(path)) as opening:
        for facts, frame in opening:
            if frame is not None:
                return VideoInfo(fps=fps, width=frame.shape[1], height=frame.shape[0])
            fps = _rate_of(facts, fps)
    raise InputError(f"{path}: has no frames; check the file")


def read_frames(path: Path | str) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    """Decode a video frame by frame, upright and in RGB; later frames of another size are resized to the first's.

    Raises:
        InputError: No such file, not a video, or no readable frame.
        BrokenVideoError: After the last good frame, when the rest cannot be decoded.
    """
    path = Path(path)
    if path.is_dir():
        yield from _folder_frames(path)
        return
    with open_regular(path, "video") as file, DecoderProcess("video", file, str(path)) as opening:
        for _, frame in opening:
            if frame is not None:
                yield frame


def _rate_of(facts: dict[str, Any], default: float) -> float:
    """Read the frame rate, Hz, that was told of a video."""
    fps = facts.get("fps")
    return float(fps) if isinstance(fps, int | float) and 0 < fps < 1e6 else default


def frame_files(folder: Path) -> list[Path]:
    """List the images of a folder in natural order (2 before 10)."""
    return sorted(
        (
            file
            for file in folder.iterdir()
            if file.suffix.lower() in FRAME_ENDINGS and not file.name.startswith(".") and file.is_file()
        ),
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


def _folder_frames(path: Path) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    files = frame_files(path)
    if not files:
        raise InputError(f"{path}: has no images, expected a folder of frames")
    shape = None
    for count, file in enumerate(files):
        try:
            frame = read_image(file)
        except InputError as error:
            if count:
                raise BrokenVideoError(f"{path}: ends after {count} frames ({error})") from error
            raise
        shape = shape or frame.shape
        is_other = frame.shape != shape
        yield cv2.resize(frame, (shape[1], shape[0]), interpolation=cv2.INTER_AREA) if is_other else frame


def _durations(count: int, fps: float, step_ms: int = 1) -> list[int]:
    """Spread whole steps of time over the frames so that the rate is right on average."""
    ends = [round(index * 1000 / (fps * step_ms)) for index in range(count + 1)]
    return [max(1, after - before) * step_ms for before, after in itertools.pairwise(ends)]


def _even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _shared_palette(frames: list[UInt8[np.ndarray, "h w 3"]]) -> Image.Image:
    """Choose 256 colours from up to eight frames, spread over time."""
    chosen = frames[:: max(1, len(frames) // 8)]
    return Image.fromarray(np.concatenate(chosen, axis=0)).quantize(256, method=Image.Quantize.MEDIANCUT)
