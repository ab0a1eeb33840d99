"""Videos, or a data set as distributed, to a prepared set: found, hashed, split, decoded, written in a fixed order.

Every video that was found has a row in the index, kept or not. The order of the rows does not depend on the number of
processes or on interruptions, so that an interrupted and a straight run write the same bytes.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from ipoke.core.errors import InputError
from ipoke.data.clip_rows import LARGEST_SIDE, MOST_FRAMES, ClipSetSettings, Resize, SourceRow, Split
from ipoke.data.clip_writer import ClipWriter
from ipoke.data.datasets import LAYOUTS, DatasetName
from ipoke.data.datasets.layout import DatasetVideo, Findings, Part, find_dataset
from ipoke.data.discover import (
    IgnoredFile,
    check_matches,
    content_sha256,
    find_videos,
    matches,
    source_id,
)
from ipoke.data.extract import VideoJob
from ipoke.data.held_out import held_out_ids, with_both_splits
from ipoke.data.ray_workers import extract_on_ray
from ipoke.data.workers import extract_in_order

LONGEST_PATTERN = 200
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
    """What the data set has and the folder does not."""

    def clips(self, split: Split | None = None) -> int:
        """Count the clips (legal starts) of the set or of one split."""
        return sum(
            segment.frames - self.settings.window
            for row in self.rows
            if split in (None, row.split)
            for segment in row.segments
        )

    def lines(self) -> Iterator[str]:
        """Yield the report, a line per video that lost something, what is missing, and the totals."""
        rows_of = Counter(row.video for row in self.rows)
        for row in self.rows:
            clips = sum(segment.frames - self.settings.window for segment in row.segments)
            losses = [f"frames {loss.start}-{loss.stop}: {loss.why}" if loss.stop else loss.why for loss in row.dropped]
            if len(losses) > 3:
                losses[2:] = [f"and {len(losses) - 2} more"]
            if row.note or losses or not clips:
                what = f"kept {clips} clips of {row.frames} frames" if clips else "dropped"
                name = row.video if rows_of[row.video] == 1 else f"{row.video} ({row.split})"
                yield f"{name}: {what}; " + "; ".join([row.note] * bool(row.note) + losses)
        if self.ignored:
            reasons = Counter(f"{file.path.suffix or 'no ending'}, {file.why}" for file in self.ignored)
            counts = "; ".join(f"{count} x {why}" for why, count in reasons.most_common())
            yield f"ignored {len(self.ignored)} files: {counts}"
        yield from (f"missing: {what}" for what in self.missing)
        kept = [row for row in self.rows if row.segments]
        things = "videos" if len(rows_of) == len(self.rows) else "parts of videos"
        yield (
            f"{self.out}: {len(kept)} {things} kept, {len(self.rows) - len(kept)} dropped ({self.added} new); "
            f"{self.clips('train')} training clips, {self.clips('test')} test clips"
        )
        if kept and not (self.clips("train") and self.clips("test")):
            change = "add what is missing" if self.missing else "change --test-fraction or --test-videos"
            yield f"one split has no clips; {change}"


def prepare(
    inputs: Sequence[Path],
    out: Path,
    *,
    dataset: DatasetName | None = None,
    size: int = 64,
    frames: int = 10,
    stride: int | None = None,
    resize: Resize | None = None,
    optical_flow: Literal["dis", "raft"] = "dis",
    test_fraction: float | None = None,
    test_videos: str | None = None,
    workers: int = 1,
    ray: str | None = None,
    progress: Progress | None = None,
) -> PrepareReport:
    """Turn videos into a prepared set; the same command finishes a run that was stopped at any moment.

    Args:
        inputs: Video files, and folders to look through; see `find_videos`. With ``dataset``, the one folder of it.
        out: Folder of the set, new or begun by the same settings.
        dataset: Which data set it is, if it is one of the paper's; its layout says splits and objects.
        size: Side of the frames, px.
        frames: Frames of a clip after its source frame.
        stride: Frames of the video from one frame of a clip to the next; 1, or that of the data set, if None.
        resize: ``crop`` the centre square, ``letterbox`` the whole frame, or ``squeeze`` it; ``crop``, or that of the
            data set, if None.
        optical_flow: How displacements are estimated.
        test_fraction: Share of the videos that is held out, 0.1 if neither this nor ``test_videos`` is given.
        test_videos: Pattern such as ``*_wave2*`` of the names or paths to hold out.
        workers: Processes; with 1 the work is done in this one.
        ray: Address of a Ray cluster on which the work is done instead, see `extract_on_ray`.
        progress: Told after each video.

    Raises:
        InputError: No videos, no clip kept of them, nothing of the data set, a pattern that no video matches, values
            out of range or that contradict each other, an ``out`` that is something else or has other settings, or a
            full disk.
    """
    if test_fraction is not None and test_videos is not None:
        raise InputError("--test-fraction and --test-videos: got both, expected one")
    if test_fraction is not None and dataset is not None:
        raise InputError(f"--test-fraction: got {test_fraction}, but --dataset has a split of its own; leave one out")
    if test_fraction is not None and not 0 <= test_fraction <= 1:
        raise InputError(f"--test-fraction: got {test_fraction}, expected 0 to 1")
    layout = LAYOUTS[dataset] if dataset else None
    usual_stride, usual_resize = (layout.stride, layout.resize) if layout else (1, "crop")
    stride = usual_stride if stride is None else stride
    for name, value, least, most in (
        ("size", size, 16, LARGEST_SIDE),
        ("frames", frames, 1, MOST_FRAMES),
        ("stride", stride, 1, MOST_FRAMES),
    ):
        if not least <= value <= most:
            raise InputError(f"--{name}: got {value}, expected at least {least} and at most {most}")
    if test_videos is not None and len(test_videos) > LONGEST_PATTERN:
        raise InputError(f"--test-videos: got {len(test_videos)} characters, expected at most {LONGEST_PATTERN}")
    fraction = 0.1 if test_fraction is None else test_fraction
    found = find_dataset(layout, inputs, test_videos) if layout else _find_in_folders(inputs, test_videos)
    origin = {"made_by": "prepare", "test": f"fraction {fraction:g}"}
    if dataset:
        origin |= {"dataset": dataset, "test": "of the data set"}
    if found.list_sha256:
        origin["list_sha256"] = found.list_sha256
    if test_videos is not None:
        origin["test"] = f"videos {test_videos}"
    settings = ClipSetSettings(
        version=2 if dataset else 1,
        size=size,
        frames=frames,
        stride=stride,
        resize=resize or usual_resize,
        optical_flow=optical_flow,
        origin={**origin},
    )
    with ClipWriter(out, settings=settings) as writer:
        before = len(writer.rows)
        jobs, repeated = _jobs(found.videos, writer, settings, fraction, layout.rate_hz if layout else None)
        extracted = extract_in_order(jobs, workers) if ray is None else extract_on_ray(jobs, ray, workers)
        if layout is None and test_videos is None and 0 < fraction < 1:
            extracted = with_both_splits(extracted, writer.rows)
        for count, (row, segments) in enumerate(extracted, start=before + 1):
            writer.add_encoded(row, segments)
            if progress is not None:
                progress(count, before + len(jobs), row.video)
        rows = tuple(writer.rows)
        _refuse_nothing(rows, settings)
    ignored = (*found.ignored, *repeated)
    return PrepareReport(out, settings, rows, added=len(rows) - before, ignored=ignored, missing=found.missing)


def _refuse_nothing(rows: Sequence[SourceRow], settings: ClipSetSettings) -> None:
    """Refuse a set without a clip, and say what is wrong with the first video."""
    if any(row.segments for row in rows):
        return
    why = next((row.note or row.dropped[0].why for row in rows if row.note or row.dropped), "it has no frames")
    raise InputError(
        f"kept no clip of {len(rows)} videos ({rows[0].video}: {why}); give videos in which something moves in "
        f"{settings.window + 1} frames of one shot"
        if rows
        else "kept no clip: there is no video; give other videos"
    )


def _find_in_folders(inputs: Sequence[Path], test_videos: str | None) -> Findings:
    """Find videos of any origin; without a pattern the splits, which depend on all ids, are left open (no parts)."""
    found, ignored = find_videos(inputs)
    if test_videos is None:
        return Findings(tuple(DatasetVideo(video, ()) for video in found), ignored=tuple(ignored))
    check_matches(found, test_videos)
    splits: list[Split] = ["test" if matches(video, test_videos) else "train" for video in found]
    videos = tuple(DatasetVideo(video, (Part(split),)) for video, split in zip(found, splits, strict=True))
    return Findings(videos, ignored=tuple(ignored))


def _jobs(
    found: Sequence[DatasetVideo],
    writer: ClipWriter,
    settings: ClipSetSettings,
    fraction: float,
    rate_hz: float | None,
) -> tuple[list[VideoJob], list[IgnoredFile]]:
    """Decide id and split of each part of a video that is not in the set yet; the same contents are taken once."""
    names = {row.sha256: row.video for row in writer.rows}
    new: list[tuple[DatasetVideo, str, str]] = []
    repeated: list[IgnoredFile] = []
    ids = [row.id for row in writer.rows]
    for each in found:
        sha256 = content_sha256(each.video.path)
        identity = source_id(each.video.name, sha256)
        part_ids = _part_ids(identity, each.parts)
        if sha256 in names and not writer.done.intersection(part_ids):
            repeated.append(IgnoredFile(each.video.path, f"same contents as {names[sha256]}"))
            continue
        names[sha256] = each.video.name
        if not writer.done.issuperset(part_ids):
            ids.append(identity)
            new.append((each, identity, sha256))
    held_out = held_out_ids(ids, fraction, [row.id for row in writer.rows if row.split == "test"])
    jobs = []
    for each, identity, sha256 in new:
        parts = each.parts or (Part("test" if identity in held_out else "train"),)
        jobs += [
            VideoJob(each.video, part_id, sha256, part, settings, each.object, rate_hz)
            for part_id, part in zip(_part_ids(identity, parts), parts, strict=True)
            if part_id not in writer.done
        ]
    return jobs, repeated


def _part_ids(identity: str, parts: Sequence[Part]) -> list[str]:
    """Give the ids of the parts of a video: its own, unless there are several."""
    return [identity] if len(parts) < 2 else [f"{identity}-{part.split}" for part in parts]
