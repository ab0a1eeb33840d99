"""Splitting a video where the camera cuts, and dropping the stretches in which nothing moves."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from ipoke.data.optical_flow import OpticalFlowEstimator, estimate_with_dis

COMPARED_SIDE = 64
"""Frames are compared at this side, px, whatever the size of the set, so that the thresholds mean the same."""
LEAST_UNEXPLAINED = 8.0
"""Mean grey levels that motion must leave unexplained at a cut. Between neighbouring frames of real videos (people,
animals, objects, a camera in the hand) the largest value was 4.6; between unrelated videos the least was 19.8."""
LEAST_MOTION_PX = 1.0
LEAST_CHANGE = 12.0
"""Grey levels by which a moving clip changes; noise and compression stay below."""
MOVING_PERCENTILE = 99.5
"""Of all pixels: what 20 of 64 x 64 pixels do counts as motion."""


Compared = tuple[np.ndarray, np.ndarray]
"""A frame, and the same frame at the side at which frames are compared."""


def with_cuts(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], bool]]:
    """Give each frame with whether there is a cut before it, one frame late.

    A cut is a difference that stands out from those around it and that even the best displacement field does not
    explain. The field costs 9 ms, so it is computed only for differences that stand out.
    """
    before: deque[float] = deque(maxlen=5)
    last: np.ndarray | None = None
    for (frame, small), following in _with_next((frame, _compared(frame)) for frame in frames):
        if last is None:
            yield frame, False
        else:
            difference = _difference(last, small)
            after = _difference(small, following[1]) if following is not None else 0.0
            usual = max(float(np.median(before)) if before else 0.0, after)
            yield frame, _is_cut(last, small, difference, usual)
            before.append(difference)
        last = small


def _is_cut(
    first: UInt8[np.ndarray, "h w 3"], last: UInt8[np.ndarray, "h w 3"], difference: float, usual: float
) -> bool:
    # Dark or pale videos have smaller differences; 64 grey levels is the deviation of an ordinary picture.
    least = LEAST_UNEXPLAINED * float(np.clip(np.std(np.stack((first, last))) / 64, 0.25, 1))
    return difference >= max(least, 1.5 * usual) and unexplained(first, last) > least


def _difference(first: UInt8[np.ndarray, "h w 3"], last: UInt8[np.ndarray, "h w 3"]) -> float:
    return float(cv2.absdiff(first, last).mean())


def _with_next(items: Iterable[Compared]) -> Iterator[tuple[Compared, Compared | None]]:
    held: Compared | None = None
    for item in items:
        if held is not None:
            yield held, item
        held = item
    if held is not None:
        yield held, None


def _compared(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    if frame.shape[0] == COMPARED_SIDE:
        return frame
    return cv2.resize(frame, (COMPARED_SIDE, COMPARED_SIDE), interpolation=cv2.INTER_AREA)


def unexplained(first: UInt8[np.ndarray, "h w 3"], last: UInt8[np.ndarray, "h w 3"]) -> float:
    """Measure how far the last frame, moved back along the optical flow, is from the first: mean grey levels."""
    dx, dy = estimate_with_dis(first, last)
    y, x = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    moved = cv2.remap(last, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(cv2.absdiff(moved, first).mean())


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Neighbouring frames without a cut; ``first`` is their place in the video.

    Where ``continues``, the first ``window`` frames are the last ones of the piece before, so that no start is lost.
    """

    first: int
    frames: UInt8[np.ndarray, "t h w 3"]
    continues: bool


def pieces(frames: Iterable[UInt8[np.ndarray, "h w 3"]], *, window: int, most_starts: int = 512) -> Iterator[Piece]:
    """Split frames at cuts, and long shots into pieces of up to ``most_starts`` starts, holding one piece at a time."""
    buffer: list[np.ndarray] = []
    first, continues = 0, False
    for index, (frame, is_cut) in enumerate(with_cuts(frames)):
        if is_cut:
            if not continues or len(buffer) > window:
                yield Piece(first, np.stack(buffer), continues)
            buffer, first, continues = [], index, False
        elif len(buffer) == most_starts + window:
            yield Piece(first, np.stack(buffer), continues)
            buffer, first, continues = buffer[most_starts:], first + most_starts, True
        buffer.append(frame)
    if buffer and (not continues or len(buffer) > window):
        yield Piece(first, np.stack(buffer), continues)


def moving_starts(
    frames: UInt8[np.ndarray, "t h w 3"],
    optical_flow: Float[np.ndarray, "n 2 h w"],
    *,
    stride: int,
    estimate: OpticalFlowEstimator,
) -> Bool[np.ndarray, " n"]:
    """Tell for each start whether something moves in its clip: by a pixel or more, and visibly.

    What moves away and comes back within the clip moves: the middle of the clip is looked at as well.
    """
    starts = len(optical_flow)
    window = len(frames) - starts
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    moves = np.zeros(starts, bool)
    for start in range(starts):
        clip = grey[start : start + window + 1 : stride]
        change = np.percentile(clip.max(axis=0) - clip.min(axis=0), MOVING_PERCENTILE)
        if change < LEAST_CHANGE:
            continue
        moves[start] = _length(optical_flow[start]) >= LEAST_MOTION_PX or (
            _length(estimate(frames[start], frames[start + window // 2])) >= LEAST_MOTION_PX
        )
    return moves


def _length(optical_flow: Float[np.ndarray, "2 h w"]) -> float:
    return float(np.percentile(np.hypot(optical_flow[0], optical_flow[1]), MOVING_PERCENTILE))


def moving_runs(moves: Bool[np.ndarray, " n"], *, longest_pause: int) -> list[tuple[int, int]]:
    """Give the runs of moving starts, (start, stop) each; a pause between two of up to ``longest_pause`` is kept.

    >>> moving_runs(np.array([0, 1, 1, 0, 1, 0, 0, 0, 1], bool), longest_pause=1)
    [(1, 5), (8, 9)]
    """
    runs: list[tuple[int, int]] = []
    for start in np.flatnonzero(moves).tolist():
        if runs and start - runs[-1][1] <= longest_pause:
            runs[-1] = (runs[-1][0], start + 1)
        else:
            runs.append((start, start + 1))
    return runs
