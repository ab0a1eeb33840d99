"""Decode files of visitors, each in a process of its own, a few at a time.

Every file is first decoded with tight limits on time, memory and pixels. A file that exceeds them is decoded once more
with wide limits, one such file at a time, so that small pictures wait only briefly for large or stalling files.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.fork_server import start_fork_server
from ipoke.core.reading.formats import VISITORS_PICTURES
from ipoke.core.reading.memory import can_limit_memory
from ipoke.core.reading.process import DecoderProcess, Result
from ipoke.sampling.video_clip import beginning
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor

WHAT = "the file"
"""Name of a visitor's file in errors; its real name is not known."""
NOBODY = Visitor("", "")
T = TypeVar("T")


class Saved(NamedTuple):
    """A session embedded in a file, not validated yet, and its pictures by the names of their fields."""

    session: dict[str, Any]
    pictures: dict[str, UInt8[np.ndarray, "_ _ 3"]]


class Decoder:
    """Decodes visitors' files, each in a process that ends with it."""

    is_limited = can_limit_memory()
    """Whether this system can limit the memory of those processes."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self._quick, self._thorough = asyncio.Semaphore(limits.quick_files), asyncio.Semaphore(1)
        self._threads = ThreadPoolExecutor(limits.quick_files + 1, thread_name_prefix="decoding")
        self._waiting: list[Visitor] = []

    async def begin(self) -> None:
        """Start the fork server, which takes half a second.

        Raises:
            InputError: The system cannot start a process.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, start_fork_server)

    async def picture(self, data: bytes, visitor: Visitor = NOBODY) -> UInt8[np.ndarray, "h w 3"]:
        """Decode a picture, upright and scaled down to `Limits.side`.

        Raises:
            Problem: The file is not a picture, damaged, too large, or too slow to decode; or too many files wait.
        """
        return await self._run(visitor, partial(_opening, "picture", data, side=self.limits.side), _picture)

    async def frame(
        self, data: bytes, seconds: float, visitor: Visitor = NOBODY
    ) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """Decode one frame of a video; also give the duration of the video, s.

        Raises:
            Problem: As `picture`.
        """
        opening = partial(_opening, "frame_at", data, seconds=seconds, side=self.limits.side)
        return await self._run(visitor, opening, _frame)

    async def clip(
        self, data: bytes, size: int, frames: int, visitor: Visitor = NOBODY
    ) -> UInt8[np.ndarray, "t s s 3"]:
        """Decode the first frames of a video, cropped to the middle square.

        Raises:
            Problem: As `picture`, or the video has too few frames.
        """
        return await self._run(visitor, partial(_opening, "video", data), partial(_clip, size=size, frames=frames))

    async def saved(self, data: bytes, visitor: Visitor = NOBODY) -> Saved:
        """Extract the session of a file.

        Raises:
            Problem: As `picture`, or the file contains none.
        """
        return await self._run(visitor, partial(_opening, "saved", data, side=self.limits.side), _saved)

    def close(self) -> None:
        """Stop the threads that read from decoder processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self, visitor: Visitor, opening: Callable[[Bounds], DecoderProcess], read: Callable[[Iterator[Result]], T]
    ) -> T:
        """Decode a file with tight limits, then with wide ones if it exceeds them."""
        self._check_room(visitor)
        self._waiting.append(visitor)
        try:
            async with self._quick:
                try:
                    return await self._attempt(
                        opening, read, self.limits.quick_bytes, self.limits.quick_seconds, self.limits.quick_pixels
                    )
                except (TimeoutError, _TooLargeError):
                    pass
            async with self._thorough:
                most = self.limits.pixels
                return await self._attempt(opening, read, self.limits.decode_bytes, self.limits.decode_seconds, most)
        except TimeoutError as error:
            raise Problem(
                415, f"{WHAT} takes more than {self.limits.decode_seconds:g} s to decode; send a smaller one"
            ) from error
        except InputError as error:
            raise Problem(415, str(error)) from error
        finally:
            self._waiting.remove(visitor)

    def _check_room(self, visitor: Visitor) -> None:
        near = sum(one.address == visitor.address for one in self._waiting)
        if self._waiting.count(visitor) >= self.limits.files_per_visitor:
            raise Problem(429, "several of your files are being decoded; wait for one of them")
        if near >= self.limits.files_per_address or len(self._waiting) >= self.limits.files:
            raise Problem(429, "too many files are being decoded; try again in a moment")

    async def _attempt(
        self,
        opening: Callable[[Bounds], DecoderProcess],
        read: Callable[[Iterator[Result]], T],
        memory_bytes: int,
        seconds: float,
        most_pixels: int,
    ) -> T:
        bounds = Bounds(
            memory_bytes,
            frame_timeout_s=math.ceil(self.limits.decode_seconds),
            pixels=self.limits.pixels,
            pictures=VISITORS_PICTURES,
            is_low_priority=True,
        )
        attempt = _Attempt(opening, bounds, most_pixels)
        reading = asyncio.get_running_loop().run_in_executor(self._threads, attempt.run, read)
        try:
            return await asyncio.wait_for(asyncio.shield(reading), seconds)
        finally:
            attempt.end()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()  # retrieve it; nobody waits for this result any more


class _Attempt:
    """One attempt to decode a file on a thread, which another thread may end."""

    def __init__(self, opening: Callable[[Bounds], DecoderProcess], bounds: Bounds, most_pixels: int) -> None:
        self._opening, self._bounds, self._most_pixels = opening, bounds, most_pixels
        self._process: DecoderProcess | None = None
        self._is_over = False

    def run(self, read: Callable[[Iterator[Result]], T]) -> T:
        with self._opening(self._bounds) as self._process:
            if self._is_over:
                raise InputError(f"{WHAT}: cancelled")
            return read(_within(self._process, self._most_pixels))

    def end(self) -> None:
        self._is_over = True
        if self._process is not None:
            self._process.end()


class _TooLargeError(Exception):
    """The file exceeds the tight limits."""


def _opening(operation: str, data: bytes, bounds: Bounds, **arguments: Any) -> DecoderProcess:
    return DecoderProcess(operation, data, WHAT, bounds, **arguments)


def _within(process: DecoderProcess, most_pixels: int) -> Iterator[Result]:
    for facts, pixels in process:
        match facts:
            case {"width": int(width), "height": int(height)} if width * height > most_pixels:
                raise _TooLargeError
        yield facts, pixels


def _picture(results: Iterator[Result]) -> UInt8[np.ndarray, "h w 3"]:
    return _frame(results)[0]


def _frame(results: Iterator[Result]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    length, image = 0.0, None
    for facts, pixels in results:
        length = facts.get("seconds", length)
        image = pixels if pixels is not None else image
    if image is None:
        raise InputError(f"{WHAT}: has no picture; send another file")
    return image, length if isinstance(length, float) and math.isfinite(length) else 0.0


def _clip(results: Iterator[Result], size: int, frames: int) -> UInt8[np.ndarray, "t s s 3"]:
    clip = beginning((pixels for _, pixels in results if pixels is not None), size, frames)
    if len(clip) < frames:
        raise InputError(f"{WHAT} has {len(clip)} frames, expected a video of at least {frames}")
    return clip


def _saved(results: Iterator[Result]) -> Saved:
    session: dict[str, Any] = {}
    pictures = {}
    for facts, pixels in results:
        session = facts.get("session", session)
        if pixels is not None:
            pictures[str(facts.get("picture"))] = pixels
    return Saved(session if isinstance(session, dict) else {}, pictures)
