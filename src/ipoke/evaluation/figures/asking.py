"""What the figures ask of samplers: which clips, and the answers as frames."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames, frames_from_clip
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.evaluation.metrics.questions import Question, draw_question, questions_of
from ipoke.sampling.clip_sampler import ClipSampler

BATCH = 16
"""Clips that are sampled in one call."""


def check_fit(sampler: ClipSampler, clips: ClipSet) -> None:
    """See whether clips are of the sampler's size.

    Raises:
        InputError: They are not.
    """
    if (clips.size, clips.frames) != (sampler.size, sampler.frames):
        raise InputError(
            f"{clips.folder}: holds clips of {clips.size} px and {clips.frames} frames, {sampler.name} expects "
            f"{sampler.size} px and {sampler.frames}; prepare again with its --size and --frames"
        )


def choose_questions(clips: ClipSet, *, numbers: Sequence[int] | None, most: int, seed: int) -> list[Question]:
    """Give the questions about some clips by number, or about ``most`` that are spread over the split.

    Raises:
        InputError: There is no such clip, or nothing moves in it.
    """
    if not numbers:
        return questions_of(clips, seed=seed, most=most)[1]
    chosen = []
    for number in numbers:
        if not 0 <= number < len(clips):
            raise InputError(f"--clip: got {number}, expected 0 to {len(clips) - 1}")
        question = draw_question(clips, number, seed)
        if question is None:
            raise InputError(f"--clip: nothing moves in clip {number}, expected motion to poke; take another")
        chosen.append(question)
    return chosen


def sampled_frames(
    sampler: ClipSampler,
    frames: UInt8[np.ndarray, "t s s 3"],
    pokes: Sequence[Sequence[Poke]],
    seeds: Sequence[Sequence[int]],
) -> UInt8[np.ndarray, "b n t s s 3"]:
    """Ask several things of one clip, each with several seeds; frame 0 of every answer is the clip's.

    Where samples do not differ, one is drawn and repeated.
    """
    count = len(seeds[0])
    drawn = count if sampler.is_stochastic else 1
    context = clip_from_frames(frames[: sampler.context])
    rows, columns = max(1, BATCH // drawn), min(BATCH, drawn)
    answered = np.empty((len(pokes), drawn, *frames.shape), np.uint8)
    answered[:, :, 0] = frames[0]
    for row in range(0, len(pokes), rows):
        asked = pokes[row : row + rows]
        for column in range(0, drawn, columns):
            chosen = [of_one[column : min(column + columns, drawn)] for of_one in seeds[row : row + rows]]
            clip = sampler.sample_clips(torch.stack([context] * len(asked)), asked, chosen).cpu().clamp(-1, 1)
            answered[row : row + rows, column : column + columns, 1:] = frames_from_clip(clip)
    return answered if drawn == count else answered.repeat(count, axis=1)
