"""Write simulated clips as a prepared set: every clip a new scene with one poke, exact optical flow and known truth."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ipoke.core.errors import InputError
from ipoke.data.clip_rows import LARGEST_SIDE, MOST_FRAMES, Split
from ipoke.data.clips import ClipSetSettings, ClipWriter, EncodedSegment, Segment, SourceRow, encode_segments
from ipoke.data.poke import Poke
from ipoke.data.workers import in_order
from ipoke.scenes.scene import Kind, Scene, SceneClip, draw_scene
from ipoke.scenes.simulation import FRAME_S

MOST_CLIPS = 10**6
"""The ids of their sources have six digits."""
POKE_STREAM, SPLIT_STREAM = 0x90CE, 0x5917


def scene_clip(seed: int, index: int, *, size: int, frames: int = 10) -> tuple[Kind, SceneClip]:
    """Simulate clip ``index`` of the set with this seed; plants and puppets take turns."""
    scene, poke = scene_of_clip(seed, index, size)
    _, future_seed = _seeds(seed, index)
    return _kind(index), scene.play(poke, future_seed=future_seed, frames=frames)


def scene_of_clip(seed: int, index: int, size: int) -> tuple[Scene, Poke]:
    """Give the scene that clip ``index`` of the set with this seed plays in, and its poke, px at ``size``."""
    scene_seed, _ = _seeds(seed, index)
    scene = draw_scene(scene_seed, size=size, kind=_kind(index))
    return scene, scene.draw_poke(np.random.default_rng([POKE_STREAM, seed, index]))


def index_of_source(source: str) -> int:
    """Read the number of a clip off its source's id.

    Raises:
        ValueError: The id is not one of a simulated clip.

    >>> index_of_source("plant-000124")
    124
    """
    _, _, number = source.rpartition("-")
    if not number.isdecimal() or _id(int(number)) != source:
        raise ValueError(f"source: got {source}, expected an id such as plant-000124")
    return int(number)


def write_scenes(
    out: Path,
    *,
    clips: int,
    size: int,
    seed: int,
    workers: int,
    frames: int = 10,
    test_fraction: float = 0.1,
    progress: Callable[[int, int], None],
) -> int:
    """Write simulated clips as a prepared set, or carry on with one that was begun; give how many it holds.

    What clip i shows depends on ``seed`` and i alone, so that neither the number of workers nor an interruption changes
    it, and a set can be made longer later. So does its split, but for one: where a split of two or more clips would be
    empty, the clip whose draw is nearest to the threshold moves to it, and stays there when the set is made longer.
    Beside frames and optical flow, each clip keeps the arrays ``keypoints``, ``keypoint_names``, ``part_masks``,
    ``poke`` (x, y, dx, dy) and ``redraws``.

    Args:
        out: Folder of the set.
        clips: How many clips the set shall have.
        size: Side of the frames, px; a multiple of 32.
        seed: Any integer from 0.
        workers: Processes that simulate; 1 simulates in this one.
        frames: Frames of a clip after the still.
        test_fraction: Share of the scenes, drawn one by one, that belong to the test split.
        progress: Called with the number of clips written and ``clips``.

    Raises:
        InputError: A count is not positive, the share is not in [0, 1], or the folder holds something else.
    """
    for name, value in (("clips", clips), ("workers", workers), ("frames", frames)):
        if value < 1:
            raise InputError(f"scenes: got {value} {name}, expected at least 1")
    if seed < 0 or not 0 <= test_fraction <= 1:
        raise InputError(
            f"scenes: got seed {seed} and test fraction {test_fraction:g}, expected a seed from 0 and a share in [0, 1]"
        )
    if not 0 < size <= LARGEST_SIDE or size % 32:
        raise InputError(
            f"scenes: got size {size}, expected a positive multiple of 32 px such as 64 or 128, up to {LARGEST_SIDE}"
        )
    if clips > MOST_CLIPS or frames > MOST_FRAMES:
        raise InputError(
            f"scenes: got {clips} clips of {frames} frames, expected at most {MOST_CLIPS:,} of {MOST_FRAMES}"
        )
    settings = ClipSetSettings(
        size=size,
        frames=frames,
        optical_flow="exact",
        origin={"simulator": "scenes", "seed": seed, "test_fraction": test_fraction},
    )
    with ClipWriter(out, settings=settings) as writer:
        missing = [index for index in range(clips) if _id(index) not in writer.done]
        tests = _test_clips(missing, {row.split for row in writer.rows}, seed, test_fraction)
        written = clips - len(missing)
        progress(written, clips)
        encode = functools.partial(_encode, settings=settings, seed=seed, tests=tests)
        results = map(encode, missing) if workers == 1 else in_order(encode, missing, workers)
        for source, segments in results:
            writer.add_encoded(source, segments)
            written += 1
            progress(written, clips)
        return len(writer.done)


def _kind(index: int) -> Kind:
    return "plant" if index % 2 == 0 else "puppet"


def _id(index: int) -> str:
    return f"{_kind(index)}-{index:06d}"


def _seeds(seed: int, index: int) -> tuple[int, int]:
    """Give the seeds of a clip's scene and of its future."""
    scene_seed, future_seed = np.random.SeedSequence([seed, index]).generate_state(2, np.uint32)
    return int(scene_seed), int(future_seed)


def _test_clips(missing: Sequence[int], known: set[Split], seed: int, test_fraction: float) -> frozenset[int]:
    """Choose those of the missing clips that belong to the test split.

    Args:
        missing: Clips that are not written yet.
        known: Splits of those that are.
        seed: Of the set.
        test_fraction: Probability of each clip. Between 0 and 1, neither split of two or more clips is empty.
    """
    draws = {index: np.random.default_rng([SPLIT_STREAM, seed, index]).random() for index in missing}
    tests = {index for index, draw in draws.items() if draw < test_fraction}
    found = known | {"test" if index in tests else "train" for index in missing}
    if len(found) == 1 and 0 < test_fraction < 1 and missing and len(missing) + len(known) > 1:
        nearest = min if "train" in found else max
        tests ^= {nearest(draws, key=lambda index: draws[index])}
    return frozenset(tests)


def _encode(
    index: int, *, settings: ClipSetSettings, seed: int, tests: frozenset[int]
) -> tuple[SourceRow, list[EncodedSegment]]:
    """Simulate and encode one clip."""
    _, clip = scene_clip(seed, index, size=settings.size, frames=settings.frames)
    source = SourceRow(
        id=_id(index),
        video=f"scenes seed {seed} clip {index}",
        split="test" if index in tests else "train",
        frames=len(clip.frames),
        size=(settings.size, settings.size),
        fps=1 / FRAME_S,
        sha256=hashlib.sha256(clip.frames.tobytes()).hexdigest(),
    )
    segment = Segment(
        frames=clip.frames,
        optical_flow=clip.optical_flow[None],
        arrays={
            "keypoints": clip.keypoints,
            "keypoint_names": np.array(clip.keypoint_names),
            "part_masks": clip.part_masks,
            "poke": np.array([clip.poke.x, clip.poke.y, clip.poke.dx, clip.poke.dy], np.float64),
            "redraws": np.array(clip.redraws),
        },
    )
    return source, encode_segments(settings, source, [segment])
