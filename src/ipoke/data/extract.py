"""One video to the encoded segments of a prepared set, and to a row that says what became of every frame."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.data.clip_rows import ClipSetSettings, DroppedRow, Segment, SourceRow
from ipoke.data.clip_writer import EncodedSegment, encode_segments
from ipoke.data.cuts import Piece, moving_runs, moving_starts, pieces
from ipoke.data.datasets.layout import Part
from ipoke.data.discover import FoundVideo
from ipoke.data.optical_flow import OpticalFlowEstimator, estimator
from ipoke.data.tracks import followed_optical_flow
from ipoke.data.video import BrokenVideoError, probe, read_frames


@dataclasses.dataclass(frozen=True)
class VideoJob:
    """A video, or a part of one, to be prepared, with everything that is known before it is decoded."""

    video: FoundVideo
    id: str
    sha256: str
    part: Part
    settings: ClipSetSettings
    object: str = ""
    rate_hz: float | None = None
    """Frames to keep per second, as near as every k-th one comes to it; all of them if None."""

    def row(self, **more: Any) -> SourceRow:
        """Give the row of this video."""
        known = {"id": self.id, "video": self.video.name, "split": self.part.split, "sha256": self.sha256}
        unknown = {"frames": 0, "size": (0, 0), "fps": 0.0, "object": self.object}
        return SourceRow.model_validate(unknown | known | more)

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
    keep_every = max(1, round(info.fps / job.rate_hz)) if job.rate_hz else 1
    source = job.row(size=(info.width, info.height), fps=info.fps / keep_every, keep_every=keep_every)
    estimate = _estimator(settings.optical_flow)
    encoded: list[EncodedSegment] = []
    dropped: list[DroppedRow] = []
    frames = _Frames(job, keep_every)
    for piece in pieces(frames, window=settings.window):
        piece = dataclasses.replace(piece, first=frames.first + piece.first)
        segments, left_out = _segments(piece, settings, estimate)
        encoded += encode_segments(settings, source, segments, first_number=len(encoded))
        dropped += left_out
    if not frames.count:
        dropped = [DroppedRow(start=0, stop=0, why=f"too short to have a {job.part.split} part")]
    row = source.model_copy(update={"frames": frames.count, "dropped": tuple(dropped), "note": frames.note})
    return row, encoded


class _Frames:
    """The kept frames of a part of a video, at the size of the set; a broken end ends them and leaves a note.

    ``first`` is the place of the first one among all kept frames. Where a part begins or ends can only be known when
    the whole video was decoded once.
    """

    def __init__(self, job: VideoJob, keep_every: int) -> None:
        self.job, self.keep_every = job, keep_every
        self.count, self.note = 0, ""
        start, stop = job.part.start_percent, job.part.stop_percent
        total = self._count_kept() if (start, stop) != (0, 100) else 0
        self.first = total * start // 100
        self._stop = total * stop // 100 if stop < 100 else None

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        settings = self.job.settings
        try:
            for frame in itertools.islice(self._kept(), self.first, self._stop):
                self.count += 1
                yield fit(frame, settings.size, settings.resize)
        except BrokenVideoError as error:
            self.note = _without_path(error, self.job)

    def _kept(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        return itertools.islice(read_frames(self.job.video.path), 0, None, self.keep_every)

    def _count_kept(self) -> int:
        count = 0
        with contextlib.suppress(BrokenVideoError):
            for _ in self._kept():
                count += 1
        return count


def fit(frame: UInt8[np.ndarray, "h w 3"], size: int, resize: str) -> UInt8[np.ndarray, "size size 3"]:
    """Make a frame square: its centre (``crop``), or all of it, between bars (``letterbox``) or not (``squeeze``)."""
    height, width = frame.shape[:2]
    if resize == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        frame = frame[top : top + side, left : left + side]
        height = width = side
    new = size, size
    if resize == "letterbox":
        scale = size / max(height, width)
        new = max(1, round(width * scale)), max(1, round(height * scale))
    if new != (width, height):
        shrinks = size < max(height, width)
        frame = cv2.resize(frame, new, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
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
