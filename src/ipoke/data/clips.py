"""The prepared set: a folder of tar shards with an index, written so that a kill never costs more than one source.

``settings.json`` says what all clips share, ``index.jsonl`` has one row per source video, ``shard-*.tar`` hold the
segments. A segment stores every frame; clip i of it is ``frames[s : s + window + 1 : stride]`` for the i-th start s.
"""

import bisect
import dataclasses
import hashlib
import itertools
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64, UInt8

from ipoke.core.errors import InputError
from ipoke.core.reading.regular import read_bounded
from ipoke.data.clip_cache import RawCache, SegmentArrays, open_raw_cache
from ipoke.data.clip_rows import (
    INDEX_FILE,
    LARGEST_INDEX,
    ClipSetSettings,
    DroppedRow,
    Segment,
    SegmentRow,
    SourceRow,
    Split,
    read_rows,
    read_settings,
)
from ipoke.data.clip_writer import ClipWriter, EncodedSegment, encode_segments
from ipoke.data.shards import pixels_from_fixed, read_arrays_of, read_frames_of, read_optical_flow_of

__all__ = [
    "ClipPlace",
    "ClipSet",
    "ClipSetSettings",
    "ClipWriter",
    "DroppedRow",
    "EncodedSegment",
    "Segment",
    "SourceRow",
    "encode_segments",
]

_DECODED_BYTES = 2**29
"""Memory for decoded segments where there is no cache."""


@dataclasses.dataclass(frozen=True)
class ClipPlace:
    """Where a clip comes from: ``start`` counts stored frames of the segment, ``first`` frames of the video."""

    source: SourceRow
    segment: SegmentRow
    start: int

    @property
    def first(self) -> int:
        """Frame of the video at which the clip starts."""
        return (self.segment.first + self.start) * self.source.keep_every


class ClipSet:
    """Read access to a prepared set: every legal start position of every segment of a split is one clip.

    Safe to share between threads and to send to worker processes. Sets of up to 8 GiB decoded are kept decoded in
    ``cache/`` beside the shards, written at the first access; larger ones, and those in read-only places, are decoded
    as needed.
    """

    def __init__(self, folder: Path | str, *, split: Split | None = None) -> None:
        """Open a set, or one split of it.

        Raises:
            InputError: Not a prepared set, a broken one, or one without clips in this split.
        """
        self.folder = Path(folder)
        self.split = split
        self.settings = read_settings(self.folder)
        all_rows, whole = read_rows(self.folder, self.settings.window)
        index = read_bounded(self.folder / INDEX_FILE, LARGEST_INDEX, "index")[:whole] if whole else b""
        self.sha256 = hashlib.sha256(self.settings.model_dump_json().encode() + b"\n" + index).hexdigest()
        """Of settings and index, and through the checksums in the index of everything that is stored."""
        self.sources = [row for row in all_rows if split is None or row.split == split]
        """Rows of this split, dropped sources included."""
        self._all_segments = [segment for row in all_rows for segment in row.segments]
        self._segments = [(row, segment) for row in self.sources for segment in row.segments]
        self._ends = list(itertools.accumulate(segment.frames - self.settings.window for _, segment in self._segments))
        if not self._segments:
            which = f" of the {split} split" if split else ""
            raise InputError(
                f"{self.folder}: has no clips{which}; prepare it with more or longer videos"
                + (", or another --test-fraction" if split else "")
            )
        self._mutex = threading.RLock()
        self._raw: RawCache | None = None
        self._raw_tried = False
        self._decoded: OrderedDict[str, SegmentArrays] = OrderedDict()

    @property
    def size(self) -> int:
        """Side of the frames, px."""
        return self.settings.size

    @property
    def frames(self) -> int:
        """Frames of a clip after its source frame."""
        return self.settings.frames

    @property
    def stride(self) -> int:
        """Stored frames from one frame of a clip to the next."""
        return self.settings.stride

    def __len__(self) -> int:
        return self._ends[-1]

    def row(self, i: int) -> ClipPlace:
        """Say which video and which start frame clip i comes from.

        Raises:
            IndexError: There is no clip i.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"clip {i}: expected 0 to {len(self) - 1}")
        place = bisect.bisect_right(self._ends, i)
        source, segment = self._segments[place]
        return ClipPlace(source, segment, start=i - (self._ends[place - 1] if place else 0))

    def objects(self) -> dict[str, Int64[np.ndarray, " _"]]:
        """Give the numbers of the clips of each object, in the order of their names.

        Raises:
            InputError: The set does not say who or what is seen in some of its clips.
        """
        clips: dict[str, list[range]] = {}
        for (source, segment), end in zip(self._segments, self._ends, strict=True):
            if not source.object:
                raise InputError(
                    f"{self.folder}: does not name the object of {source.video}, expected one for every video; prepare "
                    "it with ipoke prepare --dataset, or set train.balance_objects=false"
                )
            clips.setdefault(source.object, []).append(range(end - segment.frames + self.settings.window, end))
        return {name: np.concatenate(clips[name]).astype(np.int64) for name in sorted(clips)}

    def clip(self, i: int) -> UInt8[np.ndarray, "t h w 3"]:
        """Give clip i: the source frame and the ``frames`` after it, as a copy.

        Raises:
            InputError: A shard is missing or damaged.
        """
        place = self.row(i)
        frames = self._arrays(place.segment).frames
        return np.array(frames[place.start : place.start + self.settings.window + 1 : self.stride])

    def optical_flow(self, i: int) -> Float[np.ndarray, "2 h w"]:
        """Give the displacements from the first to the last frame of clip i, float32 px; raises as `clip`."""
        place = self.row(i)
        return pixels_from_fixed(self._arrays(place.segment).optical_flow[place.start])

    def extras(self, i: int) -> dict[str, np.ndarray]:
        """Give the further arrays of the segment that clip i lies in, whole; raises as `clip`."""
        return read_arrays_of(self.folder, self.row(i).segment, "extra.npz")

    def numbers(self, i: int, name: str, *shape: int | None) -> np.ndarray:
        """Give one of the further arrays: finite numbers, of a shape in which None is any length.

        Raises:
            InputError: There is no such array, or it is another one; or as `clip`.
        """
        array = self.extras(i).get(name)
        if array is None or array.dtype.kind not in "fiu" or array.ndim != len(shape) or not np.isfinite(array).all():
            fits = False
        else:
            fits = all(wanted in (None, got) for wanted, got in zip(shape, array.shape, strict=True))
        if array is None or not fits:
            got = "none" if array is None else f"{array.dtype} of shape {array.shape}"
            wanted = " x ".join("n" if length is None else str(length) for length in shape)
            raise InputError(
                f"{self.folder}: clip {i} has {got} as {name}, expected {wanted} finite numbers; make the set again"
            )
        return array

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.folder, self.split)

    def _arrays(self, segment: SegmentRow) -> SegmentArrays:
        with self._mutex:
            if not self._raw_tried:
                self._raw = open_raw_cache(self.folder, self.settings, self._all_segments, self.sha256, self._decode)
                self._raw_tried = True
            if self._raw is not None:
                return self._raw[segment.key]
            if segment.key in self._decoded:
                self._decoded.move_to_end(segment.key)
                return self._decoded[segment.key]
        arrays = self._decode(segment)
        with self._mutex:
            self._decoded[segment.key] = arrays
            while len(self._decoded) > 1 and sum(kept.nbytes for kept in self._decoded.values()) > _DECODED_BYTES:
                self._decoded.popitem(last=False)
        return arrays

    def _decode(self, segment: SegmentRow) -> SegmentArrays:
        side = self.settings.size
        return SegmentArrays(
            frames=read_frames_of(self.folder, segment, side),
            optical_flow=read_optical_flow_of(self.folder, segment, side, self.settings.window),
        )


def _reopen(folder: Path, split: Split | None) -> ClipSet:
    return ClipSet(folder, split=split)
