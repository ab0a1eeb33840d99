"""Batches of clips with pokes: what each one holds depends on the seed and on the count of clips seen, nothing else.

The n-th clip of a training has its place in the permutation of its epoch, or its object's, and its own generator. So
any number of workers, any split over ranks and any resumption see the same clips with the same pokes and augmentation.
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.core.sections import AugmentSettings, PokeSettings
from ipoke.data.augment import apply, draw
from ipoke.data.balance import Objects, balanced_clip_index, object_of_turn
from ipoke.data.poke import Poke
from ipoke.data.pokes import foreground_mask, poke_map, sample_pins, sample_pokes, zero_poke
from ipoke.data.tracks import tracks_to

TRIES = 50
"""Clips tried in place of one in which nothing moves, as in the original."""


@runtime_checkable
class ClipSource(Protocol):
    """Clips by number, with the optical flow from the first frame to the last."""

    def __len__(self) -> int:
        """Count the clips."""
        ...

    def clip(self, index: int, /) -> UInt8[np.ndarray, "t h w 3"]:
        """Give the frames of a clip."""
        ...

    def optical_flow(self, index: int, /) -> Float32[np.ndarray, "2 h w"]:
        """Give the field from the first frame to the last, px."""
        ...


class Batch(NamedTuple):
    """What a training step reads: pixels in [-1, 1], displacements in px at the size of the clip."""

    clip: Float[Tensor, "b t 3 s s"]
    poke_map: Float[Tensor, "b 2 s s"]
    optical_flow: Float[Tensor, "b 2 s s"]
    is_zero_poke: Bool[Tensor, " b"]
    tracks: Float[Tensor, "b t2 2 s s"]
    """As of `ipoke.data.tracks`, from frame 0 to each later one, the last being ``optical_flow``; of no frame where
    they were not asked for."""


@dataclass(frozen=True)
class Item:
    """One clip of a batch, before it becomes tensors."""

    frames: UInt8[np.ndarray, "t s s 3"]
    optical_flow: Float32[np.ndarray, "2 s s"]
    pokes: tuple[Poke, ...]
    is_zero_poke: bool


@dataclass(frozen=True)
class TrainingClips:
    """Clips as a training sees them: the n-th one depends on n and on these alone."""

    source: ClipSource
    pokes: PokeSettings
    """How pokes are drawn."""
    augment: AugmentSettings | None
    """How clips are augmented; not at all if None."""
    seed: int
    with_tracks: bool = False
    """Whether batches have the clips' tracks."""
    objects: Objects | None = None
    """The clips of each object, where all objects come equally often."""


def clip_index(n: int, length: int, seed: int) -> int:
    """Say which clip comes n-th in a training: every one of ``length`` clips once per epoch, in an order of its own."""
    return int(_permutation(length, n // length, seed)[n % length])


def training_item(training: TrainingClips, n: int) -> Item:
    """Make the n-th clip of a training, augmented and poked; a share of them are stills with a poked background.

    A clip in which nothing moves gives way to another, of the same object if there are any.

    Raises:
        InputError: There are no clips, or nothing moves in this one and in 50 drawn in its place.
    """
    clips, pokes, objects, seed = training.source, training.pokes, training.objects, training.seed
    if len(clips) == 0:
        raise InputError("clips: got none, expected at least one training clip; prepare more videos")
    rng = np.random.default_rng([seed, n])
    if objects is None:
        index, others = clip_index(n, len(clips), seed), range(len(clips))
    else:
        index, others = balanced_clip_index(n, objects, seed), objects[object_of_turn(n, len(objects), seed)]
    is_zero_poke = bool(rng.random() < pokes.zero_poke_fraction)
    for _ in range(1 + TRIES):
        item = _poked_item(clips, index, pokes, training.augment, rng, is_zero_poke)
        if item is not None:
            return item
        index = int(others[rng.integers(len(others))])
    raise InputError(
        f"clips: nothing moves in {TRIES} of {len(others)} clips drawn at random, expected motion to poke; "
        "prepare the videos with a larger stride or drop those without motion"
    )


def training_batch(training: TrainingClips, first: int, batch: int) -> Batch:
    """Make the batch of the clips from the ``first``-th of a training on.

    Raises:
        InputError: As `training_item`.
    """
    items = [training_item(training, n) for n in range(first, first + batch)]
    return _collate(items, training.pokes.patch, with_tracks=training.with_tracks)


def training_batches(
    training: TrainingClips, *, batch: int, start: int, rank: int = 0, world_size: int = 1, workers: int = 1
) -> Generator[Batch, None, None]:
    """Yield batches without end, made ahead in threads.

    Args:
        training: Clips, and how a training sees them; read by several threads at once.
        batch: Clips per batch and rank.
        start: Clips seen before, by all ranks together.
        rank: Which of the processes this is; each takes its ``batch`` of the ``batch * world_size`` clips of a step.
        world_size: How many processes take part.
        workers: Threads, at least 1.

    Raises:
        InputError: As `training_item`, when the batch concerned is due.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    waiting: deque[Future[Batch]] = deque()
    try:
        for first in count(start + rank * batch, batch * world_size):
            waiting.append(pool.submit(training_batch, training, first, batch))
            if len(waiting) > workers:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def evaluation_item(clips: ClipSource, index: int, pokes: PokeSettings, *, seed: int) -> Item:
    """Give a clip as it is with pokes that depend on the seed and the index only; no pokes where nothing moves."""
    frames, optical_flow = clips.clip(index), clips.optical_flow(index)
    foreground = foreground_mask(frames[0], pokes.patch) if pokes.foreground == "grabcut" else None
    drawn = sample_pokes(optical_flow, pokes, np.random.default_rng([seed, index]), foreground)
    return Item(frames, optical_flow, tuple(drawn or ()), is_zero_poke=False)


def evaluation_batch(clips: ClipSource, indices: Sequence[int], pokes: PokeSettings, *, seed: int) -> Batch:
    """Make the batch of the evaluation items with these indices."""
    return _collate(
        [evaluation_item(clips, index, pokes, seed=seed) for index in indices], pokes.patch, with_tracks=False
    )


@lru_cache(maxsize=4)
def _permutation(length: int, epoch: int, seed: int) -> Int64[np.ndarray, " length"]:
    # The third number keeps this stream apart from those of single clips.
    return np.random.default_rng([seed, epoch, 1]).permutation(length)


def _poked_item(
    clips: ClipSource,
    index: int,
    pokes: PokeSettings,
    augment: AugmentSettings | None,
    rng: np.random.Generator,
    is_zero_poke: bool,
) -> Item | None:
    """Augment and poke one clip, or give None where nothing moves."""
    frames, optical_flow = clips.clip(index), clips.optical_flow(index)
    total = len(frames)
    if is_zero_poke:
        frames = frames[:1]
    if augment is not None:
        frames, optical_flow = apply(draw(augment, rng, frames.shape[1]), frames, optical_flow)
    foreground = foreground_mask(frames[0], pokes.patch) if pokes.foreground == "grabcut" else None
    if is_zero_poke:
        poke = zero_poke(optical_flow, pokes, rng, foreground)
        if poke is None:
            return None
        return Item(np.repeat(frames, total, axis=0), np.zeros_like(optical_flow), (poke,), is_zero_poke=True)
    drawn = sample_pokes(optical_flow, pokes, rng, foreground)
    if drawn is None:
        return None
    # Pins first: where a poke overlaps one, the poke is what is seen.
    pins = sample_pins(optical_flow, pokes, rng) if pokes.max_pins else []
    return Item(frames, optical_flow, (*pins, *drawn), is_zero_poke=False)


def _collate(items: list[Item], patch: int, *, with_tracks: bool) -> Batch:
    frames, size = items[0].frames.shape[:2]
    clip = torch.empty(len(items), frames, 3, size, size)
    for row, item in zip(clip, items, strict=True):
        # One clip at a time: temporaries that stay in the cache make this five times faster than the whole batch.
        row.copy_(clip_from_frames(item.frames))
    return Batch(
        clip=clip,
        poke_map=torch.from_numpy(np.stack([poke_map(item.pokes, size, patch) for item in items])),
        optical_flow=torch.from_numpy(np.stack([item.optical_flow for item in items])),
        is_zero_poke=torch.tensor([item.is_zero_poke for item in items]),
        tracks=torch.from_numpy(np.stack([tracks_to(item.frames, item.optical_flow) for item in items]))
        if with_tracks
        else torch.zeros(len(items), 0, 2, size, size),
    )
