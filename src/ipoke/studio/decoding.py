"""Files of visitors, decoded in a process of their own: what is wrong with one ends there."""

import asyncio
import os
import resource
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from ipoke.data.images import image_of
from ipoke.data.video import frames_of, timing_of
from ipoke.errors import InputError
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.problem import Problem
from ipoke.video_clip import beginning

WHAT = "the file"
"""What errors call a visitor's file, whose name is not known."""


class Decoder:
    """One process that decodes, started anew when a file ends or stalls it."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self._pool: ProcessPoolExecutor | None = None
        self._turn = asyncio.Lock()

    async def picture(self, data: bytes) -> UInt8[np.ndarray, "h w 3"]:
        """Decode a picture, upright and at most as large as pictures are kept.

        Raises:
            Problem: Not a picture, damaged, too large, or too slow to decode.
        """
        return await self._run(decode_picture, data, self.limits.pixels, self.limits.side)

    async def frame(self, data: bytes, seconds: float) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """Decode one frame of a video, and tell how long it is, s.

        Raises:
            Problem: As `picture`.
        """
        return await self._run(decode_frame, data, seconds, self.limits.side)

    async def clip(self, data: bytes, size: int, frames: int) -> UInt8[np.ndarray, "t s s 3"]:
        """Decode the first frames of a video, their middle square.

        Raises:
            Problem: As `picture`, or too few frames.
        """
        return await self._run(decode_clip, data, size, frames)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        async with self._turn:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    1, mp_context=get_context("spawn"), initializer=begin_worker, initargs=(self.limits.worker_bytes,)
                )
            call = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
            try:
                return await asyncio.wait_for(call, self.limits.decode_seconds)
            except TimeoutError as error:
                self._kill()
                raise Problem(415, f"{WHAT} takes more than {self.limits.decode_seconds:g} s to decode") from error
            except BrokenProcessPool as error:
                self._kill()
                raise Problem(415, f"{WHAT} cannot be decoded; it may be damaged, or far too large") from error
            except InputError as error:
                raise Problem(415, str(error)) from error

    def close(self) -> None:
        """End the process once it has nothing to do."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _kill(self) -> None:
        """End the process, whatever it does."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.kill()
            self.close()


def begin_worker(size: int) -> None:
    """Let this process have no more than so many bytes of memory, and no longer life than the server."""
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def decode_picture(data: bytes, pixels: int, side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a picture.

    Raises:
        InputError: As of `ipoke.data.images.image_of`, or it has too many pixels or too few.
    """
    image = image_of(data, WHAT)
    height, width = image.shape[:2]
    if height * width > pixels:
        raise InputError(f"{WHAT} has {width} x {height} px, expected at most {pixels / 1e6:g} megapixels")
    return fitted(image, side)


def decode_frame(data: bytes, seconds: float, side: int) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Decode the frame at so many seconds, or the last one.

    Raises:
        InputError: As of `ipoke.data.video.frames_of`.
    """
    frames = frames_of(data, WHAT)
    chosen = next(frames, None)
    if chosen is None:
        raise InputError(f"{WHAT} has no frames")
    length, rate = timing_of(data)
    skip = round(seconds * rate)
    for count, frame in enumerate(frames, start=1):
        if count > skip:
            break
        chosen = frame
    return fitted(chosen, side), length


def decode_clip(data: bytes, size: int, frames: int) -> UInt8[np.ndarray, "t s s 3"]:
    """Decode the first frames.

    Raises:
        InputError: As of `ipoke.data.video.frames_of`, or there are too few.
    """
    clip = beginning(frames_of(data, WHAT), size, frames)
    if len(clip) < frames:
        raise InputError(f"{WHAT} has {len(clip)} frames, expected a video of at least {frames}")
    return clip


def fitted(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Scale a picture down to at most ``side`` px.

    Raises:
        InputError: It is smaller than 8 px on a side.
    """
    height, width = image.shape[:2]
    if min(height, width) < 8:
        raise InputError(f"{WHAT} has {width} x {height} px, expected at least 8 x 8")
    longest = max(height, width)
    if longest <= side:
        return image
    size = max(8, round(width * side / longest)), max(8, round(height * side / longest))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
