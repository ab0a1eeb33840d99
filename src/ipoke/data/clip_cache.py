"""The decoded form of a prepared set: one file of frames and one of displacements, mapped into memory."""

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8

from ipoke.core.errors import InputError
from ipoke.core.files import refuse_links, replacing, sweep
from ipoke.core.folders import LOCK_FILE, lock_file
from ipoke.data.clip_rows import ClipSetSettings, SegmentRow

LARGEST_BYTES = 8 * 2**30
"""Sets that are larger when decoded are not cached."""


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentArrays:
    """A decoded segment: all frames, and the displacements of every legal start in 1/64 px."""

    frames: UInt8[np.ndarray, "t h w 3"]
    optical_flow: Int16[np.ndarray, "n 2 h w"]

    @property
    def nbytes(self) -> int:
        """Memory that the segment takes, bytes."""
        return self.frames.nbytes + self.optical_flow.nbytes


RawCache = Mapping[str, SegmentArrays]
"""Decoded segments by key; views of the two files."""


def open_raw_cache(
    folder: Path,
    settings: ClipSetSettings,
    segments: Sequence[SegmentRow],
    sha256: str,
    decode: Callable[[SegmentRow], SegmentArrays],
) -> RawCache | None:
    """Open the decoded form of a set, writing it first where it is missing.

    Several processes may call this at once: one writes, the others wait for it.

    Returns:
        The decoded segments, or None where they would be too large, or cannot be written.
    """
    side = settings.size
    frames_shape = (sum(segment.frames for segment in segments), side, side, 3)
    starts_shape = (sum(segment.frames - settings.window for segment in segments), 2, side, side)
    sizes = (math.prod(frames_shape), 2 * math.prod(starts_shape))
    cache = folder / "cache"
    paths = cache / f"frames-{sha256[:16]}.u8", cache / f"displacements-{sha256[:16]}.i16"

    def is_there() -> bool:
        return all(path.exists() and path.stat().st_size == size for path, size in zip(paths, sizes, strict=True))

    if not is_there():
        if sum(sizes) > LARGEST_BYTES or shutil.disk_usage(folder).free < 1.25 * sum(sizes):
            return None
        try:
            refuse_links(cache)
            cache.mkdir(exist_ok=True)
            lock = lock_file(cache / LOCK_FILE, wait=True)
        except (OSError, InputError):
            return None
        try:
            with lock or contextlib.nullcontext():
                if not is_there():
                    sweep(cache)
                    _write(cache, paths, segments, decode)
        except OSError:
            return None
    frames = np.memmap(paths[0], np.uint8, "r", shape=frames_shape)
    displacements = np.memmap(paths[1], np.int16, "r", shape=starts_shape)
    return _views(frames, displacements, segments, settings.window)


def _write(
    cache: Path, paths: tuple[Path, Path], segments: Sequence[SegmentRow], decode: Callable[[SegmentRow], SegmentArrays]
) -> None:
    for stale in [*cache.glob("*.u8"), *cache.glob("*.i16")]:
        stale.unlink()
    try:
        with (
            replacing(paths[0]) as frames_path,
            replacing(paths[1]) as displacements_path,
            frames_path.open("wb") as frames,
            displacements_path.open("wb") as displacements,
        ):
            for segment in segments:
                arrays = decode(segment)
                frames.write(arrays.frames.data)
                displacements.write(np.ascontiguousarray(arrays.optical_flow).data)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise


def _views(
    frames: UInt8[np.ndarray, "t h w 3"],
    displacements: Int16[np.ndarray, "n 2 h w"],
    segments: Sequence[SegmentRow],
    window: int,
) -> dict[str, SegmentArrays]:
    views, frame, start = {}, 0, 0
    for segment in segments:
        starts = segment.frames - window
        views[segment.key] = SegmentArrays(
            frames=frames[frame : frame + segment.frames], optical_flow=displacements[start : start + starts]
        )
        frame, start = frame + segment.frames, start + starts
    return views
