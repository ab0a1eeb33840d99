"""Folders of videos to a prepared set: found, hashed, split, decoded in parallel, and written in a fixed order.

Every video that was found has a row in the index, kept or not. The order of the rows does not depend on the number of
processes or on interruptions, so that an interrupted and a straight run write the same bytes.
"""

import dataclasses
import fnmatch
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from ipoke.data.clip_rows import ClipSetSettings, SourceRow, Split
from ipoke.data.clip_writer import ClipWriter
from ipoke.data.datasets.known import layout_of
from ipoke.data.discover import FoundVideo, IgnoredFile, content_sha256, find_videos, held_out_ids, source_id
from ipoke.data.extract import VideoJob
from ipoke.data.workers import extract_in_order
from ipoke.errors import InputError

Progress = Callable[[int, int, str], None]
"""Called with videos done, videos in all, and the name of the one just finished."""


@dataclasses.dataclass(frozen=True)
class PrepareReport:
    """What became of each video: the rows of the whole set, how many of them this run added, and what was ignored."""

    out: Path
    settings: ClipSetSettings
    rows: tuple[SourceRow, ...]
    added: int
    ignored: tuple[IgnoredFile, ...]
    missing: tuple[str, ...] = ()
    """What the data set has and the folder lacks."""

    def clips(self, split: Split | None = None) -> int:
        """Count the clips (legal starts) of the set or of one split."""
        return sum(
            segment.frames - self.settings.window
            for row in self.rows
            if split in (None, row.split)
            for segment in row.segments
        )

    def lines(self) -> Iterator[str]:
        """Yield the report, a line per video that lost something and the totals."""
        for row in self.rows:
            clips = sum(segment.frames - self.settings.window for segment in row.segments)
            losses = [f"frames {loss.start}-{loss.stop}: {loss.why}" if loss.stop else loss.why for loss in row.dropped]
            if len(losses) > 3:
                losses[2:] = [f"and {len(losses) - 2} more"]
            if row.note or losses or not clips:
                what = f"kept {clips} clips of {row.frames} frames" if clips else "dropped"
                yield f"{row.video}: {what}; " + "; ".join([row.note] * bool(row.note) + losses)
        for line in self.missing:
            yield f"missing: {line}"
        if self.ignored:
            reasons = Counter(f"{file.path.suffix or 'no ending'}, {file.why}" for file in self.ignored)
            counts = "; ".join(f"{count} x {why}" for why, count in reasons.most_common())
            yield f"ignored {len(self.ignored)} files: {counts}"
        kept = [row for row in self.rows if row.segments]
        yield (
            f"{self.out}: {len(kept)} videos kept, {len(self.rows) - len(kept)} dropped ({self.added} new); "
            f"{self.clips('train')} training clips, {self.clips('test')} test clips"
        )
        if kept and not (self.clips("train") and self.clips("test")):
            yield "one split has no clips; change --test-fraction or --test-videos"


def prepare(
    inputs: Sequence[Path],
    out: Path,
    *,
    size: int = 64,
    frames: int = 10,
    dataset: str | None = None,
    stride: int | None = None,
    resize: Literal["crop", "letterbox", "squeeze"] | None = None,
    optical_flow: Literal["dis", "raft"] = "dis",
    test_fraction: float | None = None,
    test_videos: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareReport:
    """Turn videos into a prepared set; the same command finishes a run that was stopped at any moment.

    Args:
        inputs: Video files, and folders to look through; see `find_videos`.
        out: Folder of the set, new or begun by the same settings.
        size: Side of the frames, px.
        frames: Frames of a clip after its source frame.
        dataset: Name of a data set of the paper's, in whose layout ``inputs`` is one folder; see `LAYOUTS`.
        stride: Frames of the video from one frame of a clip to the next; the data set's, or 1.
        resize: ``crop`` the centre square, ``letterbox`` the whole frame or ``squeeze`` it; the data set's, or crop.
        optical_flow: How displacements are estimated.
        test_fraction: Share of the videos that is held out, 0.1 if nothing else says it.
        test_videos: Pattern such as ``*_wave2*`` of the names or paths to hold out.
        workers: Processes; with 1 the work is done in this one.
        progress: Told after each video.

    Raises:
        InputError: No videos, a pattern that no video matches, values out of range, an ``out`` that is something else
            or has other settings, or a full disk.
    """
    if test_fraction is not None and test_videos is not None:
        raise InputError("--test-fraction and --test-videos: got both, expected one")
    if test_fraction is not None and not 0 <= test_fraction <= 1:
        raise InputError(f"--test-fraction: got {test_fraction}, expected 0 to 1")
    layout = None if dataset is None else layout_of(dataset)
    if layout is not None and test_fraction is not None:
        raise InputError(f"--test-fraction: got {test_fraction}, but --dataset {dataset} says what is held out")
    if layout is not None and test_videos is not None and not layout.takes_test_videos:
        raise InputError(f"--test-videos: got {test_videos!r}, but --dataset {dataset} says what is held out")
    stride = stride if stride is not None else layout.stride if layout else 1
    resize = resize or (layout.resize if layout else "crop")
    for name, value, least in (("size", size, 16), ("frames", frames, 1), ("stride", stride, 1)):
        if value < least:
            raise InputError(f"--{name}: got {value}, expected at least {least}")
    fraction = 0.1 if test_fraction is None else test_fraction
    rule = f"videos {test_videos}" if test_videos is not None else f"fraction {fraction:g}"
    if layout is not None:
        rule = f"videos {test_videos}" if test_videos is not None else "published"
        found = layout.find(_only(inputs, dataset), test_videos)
        wanted, ignored, missing = [_Wanted(**vars(video)) for video in found.videos], found.ignored, found.missing
    else:
        videos, ignored = find_videos(inputs)
        if test_videos is not None and not any(_matches(video, test_videos) for video in videos):
            raise InputError(f"--test-videos: no video matches {test_videos!r}, names are such as {videos[0].name}")
        split = None if test_videos is None else "train"
        wanted = [_Wanted(v, "test" if test_videos and _matches(v, test_videos) else split) for v in videos]
        missing = ()
    settings = ClipSetSettings(
        size=size,
        frames=frames,
        stride=stride,
        resize=resize,
        optical_flow=optical_flow,
        origin={"made_by": "prepare", "test": rule} | ({"dataset": dataset} if dataset else {}),
    )
    with ClipWriter(out, settings=settings) as writer:
        before = len(writer.rows)
        jobs, repeated = _jobs(wanted, writer, settings, fraction, layout.rate_hz if layout else None)
        for count, (row, segments) in enumerate(extract_in_order(jobs, workers), start=before + 1):
            writer.add_encoded(row, segments)
            if progress is not None:
                progress(count, before + len(jobs), row.video)
        rows = tuple(writer.rows)
    return PrepareReport(out, settings, rows, added=len(rows) - before, ignored=(*ignored, *repeated), missing=missing)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """A video, or a share of its frames, to become a row of the set; a split of None is decided by its id."""

    video: FoundVideo
    split: Split | None
    object: str = ""
    share: tuple[float, float] = (0.0, 1.0)


def _jobs(
    wanted: Sequence[_Wanted], writer: ClipWriter, settings: ClipSetSettings, fraction: float, rate_hz: float | None
) -> tuple[list[VideoJob], list[IgnoredFile]]:
    """Decide id and split of what is not in the set yet; the same contents are taken once, from the first video."""
    names = {row.sha256: row.video for row in writer.rows}
    hashes: dict[Path, str] = {}
    new: list[tuple[_Wanted, str, str]] = []
    repeated: dict[Path, IgnoredFile] = {}
    ids = [row.id for row in writer.rows]
    for one in wanted:
        path = one.video.path
        sha256 = hashes.get(path) or content_sha256(path)
        hashes[path] = sha256
        identity = source_id(one.video.name, sha256)
        if one.share != (0.0, 1.0):
            identity += f"-{one.split}"
        if identity in writer.done:
            continue
        if names.setdefault(sha256, one.video.name) != one.video.name:
            repeated[path] = IgnoredFile(path, f"same contents as {names[sha256]}")
            continue
        ids.append(identity)
        new.append((one, identity, sha256))
    held_out = held_out_ids(ids, fraction, [row.id for row in writer.rows if row.split == "test"])
    jobs = []
    for one, identity, sha256 in new:
        split = one.split or ("test" if identity in held_out else "train")
        jobs.append(VideoJob(one.video, identity, sha256, split, settings, one.object, one.share, rate_hz))
    return jobs, list(repeated.values())


def _only(inputs: Sequence[Path], dataset: str | None) -> Path:
    """Give the one folder that a data set is in."""
    if len(inputs) != 1 or not inputs[0].is_dir():
        got = ", ".join(map(str, inputs)) or "nothing"
        raise InputError(f"--dataset {dataset}: got {got}, expected one folder, that of the data set")
    return inputs[0]


def _matches(video: FoundVideo, pattern: str) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) for name in (video.name, Path(video.name).name, video.path.as_posix())
    )
