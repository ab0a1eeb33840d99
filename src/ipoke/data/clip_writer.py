"""Writing a prepared set so that a kill at any moment costs at most the source that was being written."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Self

from ipoke.data.clip_cache import lock_file
from ipoke.data.clip_rows import (
    INDEX_FILE,
    SETTINGS_FILE,
    ClipSetSettings,
    Segment,
    SegmentRow,
    SourceRow,
    read_rows,
    read_settings,
)
from ipoke.data.shards import END_OF_ARCHIVE, end_of, layout, segment_members
from ipoke.errors import InputError
from ipoke.files import reason, replacing

SHARD_BYTES = 256 * 2**20
"""A shard that has reached this size is closed after the source that filled it."""


@dataclasses.dataclass(frozen=True)
class EncodedSegment:
    """A segment as member files by file ending, ready to be written; ``first`` and ``frames`` as in `SegmentRow`."""

    first: int
    frames: int
    members: dict[str, bytes]


def encode_segments(
    settings: ClipSetSettings, source: SourceRow, segments: Sequence[Segment], first_number: int = 0
) -> list[EncodedSegment]:
    """Encode segments; ``first_number`` is how many segments of the source were encoded before these.

    Raises:
        ValueError: Frames or displacements do not have the shape that the settings ask for.
    """
    return [
        EncodedSegment(
            first=segment.first,
            frames=len(segment.frames),
            members=segment_members(settings, source, _key(source, number), segment),
        )
        for number, segment in enumerate(segments, start=first_number)
    ]


def _key(source: SourceRow, number: int) -> str:
    return f"{source.id}-{number:04d}"


class ClipWriter:
    """Writes a prepared set, or carries on where an earlier writer was stopped.

    A source is in the set once its index row is on the disk, and the row is written after the shard. On opening,
    whatever no row covers is cut off: a half-written row, the tail of a shard, a shard of its own. One process writes
    at a time.
    """

    def __init__(self, folder: Path, *, settings: ClipSetSettings) -> None:
        """Create the folder, or resume the set in it.

        Raises:
            InputError: Other settings than the folder's, a folder that is something else, or a second writer.
        """
        self.folder = Path(folder)
        self.settings = settings
        self._index: IO[bytes] | None = None
        self._shard: IO[bytes] | None = None
        self._lock = self._take_folder()
        try:
            self._take_settings()
            rows, whole = read_rows(self.folder)
            self.rows: list[SourceRow] = rows
            """Rows of the sources that are in the set."""
            self.done: set[str] = {row.id for row in rows}
            """Their ids."""
            with _writing(self.folder):
                self._index = (self.folder / INDEX_FILE).open("ab", buffering=0)
                self._index.truncate(whole)
                self._cut_tails(rows)
        except BaseException:
            for file in (self._index, self._shard, self._lock):
                if file is not None:
                    file.close()
            raise

    def add(self, source: SourceRow, segments: Sequence[Segment]) -> SourceRow:
        """Add a source with its segments, all or nothing, and return its row; no segments record that it was dropped.

        Raises:
            InputError: The disk is full or not writable.
            ValueError: The source is in the set already, or a segment has a wrong shape.
        """
        return self.add_encoded(source, encode_segments(self.settings, source, segments))

    def add_encoded(self, source: SourceRow, segments: Sequence[EncodedSegment]) -> SourceRow:
        """Add a source whose segments another process has encoded; otherwise as `add`."""
        if source.id in self.done:
            raise ValueError(f"source {source.id} is in the set already")
        if self._index is None:
            raise ValueError(f"{self.folder}: this writer is closed")
        with _writing(self.folder):
            if segments and self._position >= SHARD_BYTES:
                self._end_shard()
                self._number, self._position = self._number + 1, 0
            before = self._position, os.fstat(self._index.fileno()).st_size
            try:
                rows = tuple(self._append(_key(source, number), segment) for number, segment in enumerate(segments))
                if self._shard is not None and rows:
                    os.fsync(self._shard.fileno())
                row = source.model_copy(update={"segments": rows})
                _write_all(self._index, row.model_dump_json().encode() + b"\n")
                os.fsync(self._index.fileno())
            except OSError:
                self._position = before[0]
                self._index.truncate(before[1])
                raise
        self.rows.append(row)
        self.done.add(source.id)
        return row

    def close(self) -> None:
        """End the last shard as tar asks; a set that was not closed is complete all the same."""
        if self._index is None:
            return
        try:
            with _writing(self.folder):
                self._end_shard()
        finally:
            for file in (self._index, self._shard, self._lock):
                if file is not None:
                    file.close()
            self._index = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _take_folder(self) -> IO[bytes]:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file, expected a folder; choose another --out")
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            is_used = any(not entry.name.startswith(".") for entry in self.folder.iterdir())
            if is_used and not (self.folder / SETTINGS_FILE).exists():
                raise InputError(f"{self.folder}: is not empty and not a prepared set; choose another --out")
            lock = lock_file(self.folder / ".lock", wait=False)
        if lock is None:
            raise InputError(f"{self.folder}: another process is writing this set; wait for it or stop it")
        return lock

    def _take_settings(self) -> None:
        path = self.folder / SETTINGS_FILE
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(self.settings.model_dump_json(indent=1) + "\n", encoding="utf-8")
            return
        there = read_settings(self.folder)
        if there != self.settings:
            raise InputError(
                f"{self.folder}: was prepared with other settings ({_difference(there, self.settings)}); "
                "use those, or another --out"
            )

    def _cut_tails(self, rows: list[SourceRow]) -> None:
        ends: dict[str, int] = {}
        for segment in itertools.chain.from_iterable(row.segments for row in rows):
            ends[segment.shard] = max(ends.get(segment.shard, 0), end_of(segment))
        for shard, end in ends.items():
            path = self.folder / shard
            if not path.exists() or path.stat().st_size < end:
                raise InputError(
                    f"{path}: is missing or shorter than the index says; the set is damaged, remove "
                    f"{self.folder} and prepare it again"
                )
        for path in self.folder.glob("shard-*.tar"):
            if path.name not in ends:
                path.unlink()
        self._number, self._position = 0, 0
        if ends:
            last = max(ends)
            self._number, self._position = int(last.removeprefix("shard-").removesuffix(".tar")), ends[last]
            self._shard = (self.folder / last).open("r+b", buffering=0)

    def _append(self, key: str, segment: EncodedSegment) -> SegmentRow:
        name = f"shard-{self._number:05d}.tar"
        if self._shard is None:
            self._shard = (self.folder / name).open("w+b", buffering=0)
        content, members = layout(key, segment.members, self._position)
        self._shard.seek(self._position)
        self._shard.truncate()
        _write_all(self._shard, content)
        self._position += len(content)
        return SegmentRow(key=key, first=segment.first, frames=segment.frames, shard=name, members=members)

    def _end_shard(self) -> None:
        if self._shard is not None:
            self._shard.seek(self._position)
            self._shard.truncate()
            _write_all(self._shard, END_OF_ARCHIVE)
            os.fsync(self._shard.fileno())
            self._shard.close()
            self._shard = None


@contextlib.contextmanager
def _writing(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({reason(error)}); free some space or choose another --out, "
            "then repeat the command"
        ) from error


def _write_all(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _difference(there: ClipSetSettings, here: ClipSetSettings) -> str:
    old, new = there.model_dump(), here.model_dump()
    old |= old.pop("origin")
    new |= new.pop("origin")
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    return ", ".join(f"{key}: there {old.get(key)}, now {new.get(key)}" for key in keys)
