"""Writing a prepared set so that a kill at any moment costs at most the source that was being written."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Self

from ipoke.core.errors import InputError
from ipoke.core.files import open_in_place, reason, refuse_links, refuse_pipes, replacing, sync_folder, write_whole
from ipoke.core.folders import writing_alone
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
        index = self.folder / INDEX_FILE
        with contextlib.ExitStack() as held, _writing(self.folder):
            held.enter_context(writing_alone(self.folder, "set"))
            held.callback(self._close_shard)
            self._refuse_other_folders()
            refuse_links(index)
            refuse_pipes(index)
            rows, whole = read_rows(self.folder)
            self.rows: list[SourceRow] = rows
            """Rows of the sources that are in the set."""
            self.done: set[str] = {row.id for row in rows}
            """Their ids."""
            self._take_settings()
            self._index = held.enter_context(open_in_place(index))
            self._index.truncate(whole)
            self._cut_tails(rows)
            sync_folder(self.folder)
            self._held = held.pop_all()

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
                write_whole(self._index, row.model_dump_json().encode() + b"\n")
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
        self._index = None
        with self._held, _writing(self.folder):
            self._end_shard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and not any(row.segments for row in self.rows):
            self._abandon()
        self.close()

    def _refuse_other_folders(self) -> None:
        is_used = any(not entry.name.startswith(".") for entry in self.folder.iterdir())
        if is_used and not (self.folder / SETTINGS_FILE).exists():
            raise InputError(f"{self.folder}: is not empty and not a prepared set; choose another --out")

    def _take_settings(self) -> None:
        """Write the settings, or compare them with those of the sources that are in the set."""
        path = self.folder / SETTINGS_FILE
        if path.exists():
            there = read_settings(self.folder)
            if there == self.settings:
                return
            if self.rows:
                raise InputError(
                    f"{self.folder}: was prepared with other settings ({_difference(there, self.settings)}); "
                    "use those, or another --out"
                )
        with replacing(path) as temporary:
            temporary.write_text(self.settings.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def _abandon(self) -> None:
        """Remove a set without a clip, so that a mistake leaves nothing behind."""
        self._close_shard()
        with contextlib.suppress(OSError):
            for path in (*self.folder.glob("shard-*.tar"), self.folder / INDEX_FILE, self.folder / SETTINGS_FILE):
                path.unlink(missing_ok=True)

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
            self._shard = open_in_place(self.folder / last)

    def _append(self, key: str, segment: EncodedSegment) -> SegmentRow:
        name = f"shard-{self._number:05d}.tar"
        if self._shard is None:
            self._shard = open_in_place(self.folder / name)
            sync_folder(self.folder)
        content, members = layout(key, segment.members, self._position)
        self._shard.seek(self._position)
        self._shard.truncate()
        write_whole(self._shard, content)
        self._position += len(content)
        return SegmentRow(key=key, first=segment.first, frames=segment.frames, shard=name, members=members)

    def _end_shard(self) -> None:
        if self._shard is not None:
            self._shard.seek(self._position)
            self._shard.truncate()
            write_whole(self._shard, END_OF_ARCHIVE)
            os.fsync(self._shard.fileno())
            self._close_shard()

    def _close_shard(self) -> None:
        if self._shard is not None:
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


def _difference(there: ClipSetSettings, here: ClipSetSettings) -> str:
    old, new = there.model_dump(), here.model_dump()
    old |= old.pop("origin")
    new |= new.pop("origin")
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    return ", ".join(f"{key}: there {old.get(key)}, now {new.get(key)}" for key in keys)
