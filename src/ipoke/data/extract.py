"""One video to the encoded segments of a prepared set, and to a row that says what became of every frame."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from ipoke.data.clip_rows import ClipSetSettings, DroppedRow, Segment, SourceRow, Split
from ipoke.data.clip_writer import EncodedSegment, encode_segments
from ipoke.data.cuts import Piece, moving_runs, moving_starts, pieces
from ipoke.data.discover import FoundVideo
from ipoke.data.optical_flow import OpticalFlowEstimator, estimator
from ipoke.data.tracks import followed_optical_flow
from ipoke.data.video import BrokenVideoError, probe, read_frames
from ipoke.errors import InputError


@dataclasses.dataclass(frozen=True)
class VideoJob:
    """A video to be prepared, with everything that is known before it is decoded."""

    video: FoundVideo
    id: str
    sha256: str
    split: Split
    settings: ClipSetSettings
    object: str = ""
    share: tuple[float, float] = (0.0, 1.0)
    """Which part of the frames is taken, from and to."""
    rate_hz: float | None = None
    """Frames per second to keep, about; all of them if None."""

    def row(self, **more: Any) -> SourceRow:
        """Give the row of this video."""
        known = {"id": self.id, "video": self.video.name, "split": self.split, "sha256": self.sha256}
        known["object"] = self.object
        return SourceRow.model_validate({"frames": 0, "size": (0, 0), "fps": 0.0} | known | more)

    def dropped(self, why: str) -> SourceRow:
        """Give the row of this video if nothing of it can be used."""
        return self.row(dropped=(DroppedRow(start=0, stop=0, why=why),))


def extract(job: VideoJob) -> tuple[SourceRow, list[EncodedSegment]]:
    """Decode, resize, split, and encode a video, holding one piece of it at a time at the size of the set.

    A video that cannot be read is not an error but a row with the reason.
    """
    settings = job.settings
    try:
        info = probe(job.video.path)
    except InputError as error:
        return job.dropped(_without_path(error, job)), []
    every = 1 if job.rate_hz is None else max(1, round(info.fps / job.rate_hz))
    source = job.row(size=(info.width, info.height), fps=info.fps, every=every)
    estimate = _estimator(settings.optical_flow)
    encoded: list[EncodedSegment] = []
    dropped: list[DroppedRow] = []
    frames = _Frames(job, every)
    for found in pieces(frames, window=settings.window):
        piece = dataclasses.replace(found, first=found.first + frames.first)
        segments, left_out = _segments(piece, settings, estimate)
        encoded += encode_segments(settings, source, segments, first_number=len(encoded))
        dropped += left_out
    row = source.model_copy(update={"frames": frames.count, "dropped": tuple(dropped), "note": frames.note})
    return row, encoded


class _Frames:
    """The frames of a video at the size of the set; a broken end ends them and leaves a note.

    Taken is every ``every``-th frame, and of those the job's share, beginning with the ``first``.
    """

    def __init__(self, job: VideoJob, every: int) -> None:
        self.job, self.every = job, every
        self.count, self.note = 0, ""
        self.first, self.stop = 0, None
        if job.share != (0.0, 1.0):
            total = -(-_count(job) // every)
            self.first, self.stop = (round(part * total) for part in job.share)

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        settings = self.job.settings
        try:
            kept = itertools.islice(read_frames(self.job.video.path), 0, None, self.every)
            for frame in itertools.islice(kept, self.first, self.stop):
                self.count += 1
                yield fit(frame, settings.size, settings.resize)
        except BrokenVideoError as error:
            self.note = _without_path(error, self.job)


def _count(job: VideoJob) -> int:
    """Count the frames that can be decoded; what containers say of it is not always true."""
    count = 0
    try:
        for _ in read_frames(job.video.path):
            count += 1
    except BrokenVideoError:
        pass
    return count


def fit(frame: UInt8[np.ndarray, "h w 3"], size: int, resize: str) -> UInt8[np.ndarray, "size size 3"]:
    """Make a frame square: its centre (``crop``), all of it between black bars (``letterbox``), or ``squeeze`` it."""
    height, width = frame.shape[:2]
    if resize == "squeeze":
        shrinks = size <= min(height, width)
        return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if resize == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        frame = frame[top : top + side, left : left + side]
        height = width = side
    scale = size / max(height, width)
    new = max(1, round(width * scale)), max(1, round(height * scale))
    if new != (width, height):
        frame = cv2.resize(frame, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if new == (size, size):
        return np.ascontiguousarray(frame)
    canvas = np.zeros((size, size, 3), np.uint8)
    left, top = (size - new[0]) // 2, (size - new[1]) // 2
    canvas[top : top + new[1], left : left + new[0]] = frame
    return canvas


def _segments(
    piece: Piece, settings: ClipSetSettings, estimate: OpticalFlowEstimator
) -> tuple[list[Segment], list[DroppedRow]]:
    frames, window = piece.frames, settings.window
    starts = len(frames) - window
    if starts < 1:
        why = f"too short: {len(frames)} frames in one shot, a clip needs {window + 1}"
        return [], [DroppedRow(start=piece.first, stop=piece.first + len(frames), why=why)]
    if settings.optical_flow == "dis":
        optical_flow = followed_optical_flow(frames, window, settings.stride, estimate)
    else:
        optical_flow = np.stack([estimate(frames[start], frames[start + window]) for start in range(starts)])
    moves = moving_starts(frames, optical_flow, stride=settings.stride, estimate=estimate)
    runs = moving_runs(moves, longest_pause=window)
    segments = [
        Segment(frames[start : stop + window], optical_flow[start:stop], first=piece.first + start)
        for start, stop in runs
    ]
    return segments, _static_rows(piece, runs, window)


def _static_rows(piece: Piece, runs: Sequence[tuple[int, int]], window: int) -> list[DroppedRow]:
    """List the frames of a piece that lie in no run of starts; those of the piece before are not counted again."""
    is_kept = np.zeros(len(piece.frames), bool)
    is_kept[: window if piece.continues else 0] = True
    for start, stop in runs:
        is_kept[start : stop + window] = True
    edges = np.flatnonzero(np.diff(np.r_[True, is_kept, True].astype(np.int8)))
    return [
        DroppedRow(start=piece.first + int(start), stop=piece.first + int(stop), why="static: nothing moves by a pixel")
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


@functools.cache
def _estimator(name: str) -> OpticalFlowEstimator:
    return estimator("raft" if name == "raft" else "dis")


def _without_path(error: InputError, job: VideoJob) -> str:
    """Leave the folder out of a message, so that the index does not depend on where the videos lie."""
    return str(error).replace(f"{job.video.path}: ", "").replace(str(job.video.path), job.video.name)
