"""The calls by which an evaluation samples clips: the one place where questions become a sampler's request."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames, frames_from_clip
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.model import PokeModel

BATCH = 16
"""Clips that `sample_frames` samples in one call."""


class Sampled(NamedTuple):
    """Samples of several stills, on the CPU."""

    clips: Float[Tensor, "b n t 3 s s"]
    """Frames after the still, in [-1, 1]."""
    predicted_motion: Float[Tensor, "b n 2 s s"] | None
    """Displacement of the still's pixels in the last frame as the decoder predicts it, px; of warp decoders alone."""


def check_size(sampler: ClipSampler, clips: ClipSet) -> None:
    """Check that a sampler can be measured on a set.

    Raises:
        InputError: The clips have another size or number of frames than the sampler's.
    """
    if (clips.size, clips.frames) != (sampler.size, sampler.frames):
        raise InputError(
            f"{clips.folder}: holds clips of {clips.size} px and {clips.frames} frames, {sampler.name} expects "
            f"{sampler.size} px and {sampler.frames}; prepare again with its --size and --frames"
        )


def sample_seeds(seed: int, clip: int, samples: int) -> list[int]:
    """Derive the seeds of a clip's samples; the first ones do not depend on how many there are."""
    return [int(np.random.SeedSequence([seed, clip, i]).generate_state(1, np.uint64)[0] >> 1) for i in range(samples)]


def sample_batch(
    sampler: ClipSampler,
    context: Float[Tensor, "b k 3 s s"],
    pokes: Sequence[Sequence[Poke]],
    seeds: Sequence[Sequence[int]],
    *,
    guidance: bool,
) -> Sampled:
    """Sample clips of several stills in one call.

    Args:
        sampler: Model or baseline.
        context: True frames from frame 0 on, as many as the sampler's ``context``, in [-1, 1].
        pokes: Pokes of each still, px.
        seeds: Seeds of the n samples of each still.
        guidance: Guide a model's samples to the targets of the pokes; baselines have no guidance.
    """
    if not isinstance(sampler, PokeModel):
        return Sampled(sampler.sample_clips(context, pokes, seeds).cpu().clamp(-1, 1), None)
    clips, motion = sampler.sample_with_motion(context, pokes, seeds, guidance=guidance)
    return Sampled(clips.cpu(), None if motion is None else motion.cpu())


def sample_frames(
    sampler: ClipSampler,
    frames: UInt8[np.ndarray, "t s s 3"],
    pokes: Sequence[Sequence[Poke]],
    seeds: Sequence[Sequence[int]],
    *,
    guidance: bool,
    batch: int = BATCH,
) -> UInt8[np.ndarray, "b n t s s 3"]:
    """Sample clips of one still under several sets of pokes; frame 0 of every clip is the still.

    Args:
        sampler: Model or baseline. One that is not stochastic is called with the first seed of each set alone.
        frames: The true clip.
        pokes: Sets of pokes, px.
        seeds: Seeds of the n samples of each set.
        guidance: As in `sample_batch`.
        batch: Most clips per call; it changes samples by rounding alone.
    """
    count = len(seeds[0])
    drawn = count if sampler.is_stochastic else 1
    context = clip_from_frames(frames[: sampler.context])
    rows, columns = max(1, batch // drawn), min(batch, drawn)
    sampled = np.empty((len(pokes), drawn, *frames.shape), np.uint8)
    sampled[:, :, 0] = frames[0]
    for row in range(0, len(pokes), rows):
        some = pokes[row : row + rows]
        for column in range(0, drawn, columns):
            chosen = [of_one[column : min(column + columns, drawn)] for of_one in seeds[row : row + rows]]
            clips = sample_batch(sampler, torch.stack([context] * len(some)), some, chosen, guidance=guidance).clips
            sampled[row : row + rows, column : column + columns, 1:] = frames_from_clip(clips)
    return sampled if drawn == count else sampled.repeat(count, axis=1)
