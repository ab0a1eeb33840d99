"""Which sources of a prepared set are held out as its test split, where no data set or pattern says so."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from ipoke.core.json_text import json_text
from ipoke.data.clip_rows import SourceRow, Split
from ipoke.data.clip_writer import EncodedSegment

Extracted = tuple[SourceRow, list[EncodedSegment]]
"""The row of a source, and its encoded segments; none if it was dropped."""


def held_out_ids(ids: Sequence[str], fraction: float, already: Sequence[str] = ()) -> set[str]:
    """Choose the ids of the test split: those with the smallest hashes, ``fraction`` of them all.

    With a fraction above 0 and below 1 and two or more videos, neither split is empty. Ids that are ``already`` in
    the test split stay there and are counted, so that repeating a command over more videos changes nothing done.

    >>> len(held_out_ids([str(i) for i in range(10)], 0.2))
    2
    """
    wanted = round(fraction * len(ids))
    if 0 < fraction < 1 and len(ids) > 1:
        wanted = min(max(wanted, 1), len(ids) - 1)
    return set(already) | set(sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())[:wanted])


def with_both_splits(extracted: Iterable[Extracted], written: Sequence[SourceRow]) -> Iterator[Extracted]:
    """Move the last source with clips to the other split if that would have none, because its videos were dropped.

    While a split has no clips, the latest source that has some is held back, with the dropped ones after it; so rows
    keep their order, and an interrupted set is finished as if it had not been interrupted.

    Args:
        extracted: Sources in their order.
        written: Rows that the set has already.
    """
    filled = {row.split for row in written if row.segments}
    kept = sum(bool(row.segments) for row in written)
    held: list[Extracted] = []
    for row, segments in extracted:
        if segments:
            yield from held
            held, kept = [], kept + 1
            filled.add(row.split)
        held.append((row, segments))
        if len(filled) == 2:
            yield from held
            held = []
    if held and held[0][1] and kept > 1:
        row, segments = held[0]
        held[0] = _in_split(row, segments, "train" if "test" in filled else "test")
    yield from held


def _in_split(row: SourceRow, segments: list[EncodedSegment], split: Split) -> Extracted:
    """Give a source to a split, in its row and in what is stored beside its frames."""
    moved = []
    for segment in segments:
        about = json.loads(segment.members["json"]) | {"split": split}
        members = segment.members | {"json": json_text(about, sort_keys=True).encode()}
        moved.append(dataclasses.replace(segment, members=members))
    return row.model_copy(update={"split": split}), moved
