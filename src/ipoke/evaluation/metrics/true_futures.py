"""True futures of a poke, which the simulator draws for simulated clips, and points to track in any clip."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.data.tracks import tracks
from ipoke.evaluation.metrics.questions import is_simulated
from ipoke.scenes.scene import Scene, SceneClip
from ipoke.scenes.writing import index_of_source, scene_of_clip

OTHER_STREAM = 0x07E8
"""Seed of the random stream that the pokes of false futures come from."""
MOST_DIFFERENCE = 5.0
"""Largest mean difference, grey levels, between a simulated still and its stored, compressed frame."""


@dataclass(frozen=True)
class Futures:
    """Futures of one poke on one still; px, points (x, y)."""

    frames: UInt8[np.ndarray, "n t h w 3"]
    """Frame 0 of each future is the still."""
    keypoints: Float32[np.ndarray, "n t k 2"]
    """Exact positions."""
    optical_flow: Float32[np.ndarray, "n 2 h w"]
    """Exact, from frame 0 to the last."""


@dataclass(frozen=True)
class TrueFutures:
    """Two independent sets of futures of a clip's poke. The stored clip is another future, in neither set."""

    poke: Poke
    """The poke that moved the stored clip."""
    keypoint_names: tuple[str, ...]
    """The last one, ``poked``, is the point of the body under the poke."""
    truths: Futures
    """Futures that samples are compared with."""
    oracle: Futures
    """Futures that take the place of a perfect model's samples."""


def true_futures(clips: ClipSet, index: int, n: int, *, seed: int) -> TrueFutures:
    """Simulate other futures of a clip's poke: ``n`` truths and ``n`` for the oracle; none is skipped.

    A future depends on the seed, the clip and its own number alone, so the first ones do not depend on ``n``.

    Raises:
        InputError: The simulator, or this version of it, did not make the set; or ``n`` is less than 1.
    """
    if n < 1:
        raise InputError(f"true futures: got {n}, expected at least 1")
    scene, poke = _scene_of(clips, index)
    played = scene.true_futures(poke, 2 * n, seed=seed, frames=clips.frames)
    return TrueFutures(poke, played[0].keypoint_names, _collected(played[::2]), _collected(played[1::2]))


def other_futures(clips: ClipSet, index: int, n: int, *, seed: int) -> Futures:
    """Simulate ``n`` false futures of a clip's poke: futures of its still under other pokes.

    Raises:
        InputError: As `true_futures`.
    """
    scene, _ = _scene_of(clips, index)
    rng = np.random.default_rng([OTHER_STREAM, seed, index])
    seeds = rng.integers(2**32, size=n)
    return _collected([scene.play(scene.draw_poke(rng), future_seed=int(one), frames=clips.frames) for one in seeds])


def followed_points(
    frames: UInt8[np.ndarray, "t h w 3"], points: Float[np.ndarray, "k 2"]
) -> Float32[np.ndarray, "t k 2"]:
    """Track points of frame 0 through all frames, px, from frame to frame (`tracks`).

    Displacements are interpolated between pixels; a point outside the picture moves as the nearest pixel. Its errors
    are alike in samples and true futures.
    """
    start = np.asarray(points, np.float32)
    x, y = start.T[:, None].copy()
    moved = [
        cv2.remap(field.transpose(1, 2, 0), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
        for field in tracks(frames)
    ]
    return start + np.stack([np.zeros_like(start), *moved])


def grid_points(size: int, step: int = 8) -> Float32[np.ndarray, "k 2"]:
    """Place a grid of points on a square picture, ``step`` px apart, row by row: for clips with one known future.

    Raises:
        ValueError: The step is below 1 or above the size.

    >>> grid_points(16).tolist()
    [[3.5, 3.5], [11.5, 3.5], [3.5, 11.5], [11.5, 11.5]]
    """
    if not 1 <= step <= size:
        raise ValueError(f"grid: got step {step}, expected 1 to {size} px")
    count = size // step
    line = (size - 1) / 2 + step * (np.arange(count) - (count - 1) / 2)
    return np.stack(np.meshgrid(line, line), -1).reshape(-1, 2).astype(np.float32)


def _scene_of(clips: ClipSet, index: int) -> tuple[Scene, Poke]:
    seed = clips.settings.origin.get("seed")
    if not is_simulated(clips) or not isinstance(seed, int):
        raise InputError(f"{clips.folder}: not a simulated set, so one future per clip is known; use ipoke scenes")
    try:
        number = index_of_source(clips.row(index).source.id)
    except ValueError as error:
        raise InputError(f"{clips.folder}: {error}; write the set again with ipoke scenes") from error
    scene, poke = scene_of_clip(seed, number, clips.size)
    expected = (poke.x, poke.y, poke.dx, poke.dy)
    difference = np.abs(scene.still.astype(np.float32) - clips.clip(index)[0]).mean()
    if difference > MOST_DIFFERENCE or not np.allclose(expected, clips.numbers(index, "poke", 4), atol=1e-3):
        raise InputError(
            f"{clips.folder}: clip {index} differs from what this version simulates, so other futures are not known; "
            "write the set again with ipoke scenes"
        )
    return scene, poke


def _collected(played: list[SceneClip]) -> Futures:
    parts = zip(*((clip.frames, clip.keypoints, clip.optical_flow) for clip in played), strict=True)
    return Futures(*(np.stack(part) for part in parts))
