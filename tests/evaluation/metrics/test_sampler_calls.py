"""Samplers are called in one way, whatever is measured."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
import torch

import tiny
from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.evaluation.metrics.sampler_calls import check_size, sample_batch, sample_frames, sample_seeds
from ipoke.training.baselines.copy_source import CopySource

FRAMES = tiny.MovingSquares(1).clip(0)
POKES = [[Poke(28, 28, 5, 2)], [Poke(28, 28, -3, 4)]]


class Counted(CopySource):
    """Counts the samples that it is asked for."""

    def __init__(self) -> None:
        super().__init__(tiny.SIZE, tiny.FRAMES)
        self.asked: list[int] = []

    def sample_clips(self, context, pokes: Sequence[Sequence[Poke]], seeds: Sequence[Sequence[int]]):
        self.asked.append(len(seeds[0]))
        return super().sample_clips(context, pokes, seeds)


def test_samples_do_not_depend_on_the_batch():
    model, seeds = tiny.tiny_model(), [[1, 2, 3], [4, 5, 6]]
    whole, again = (sample_frames(model, FRAMES, POKES, seeds, guidance=True, batch=batch) for batch in (16, 2))
    assert whole.shape == (2, 3, tiny.FRAMES + 1, 64, 64, 3)
    assert (whole[:, :, 0] == FRAMES[0]).all()
    assert np.abs(whole.astype(int) - again).max() <= 1


def test_equal_samples_are_sampled_once():
    sampler = Counted()
    clips = sample_frames(sampler, FRAMES, POKES, [[1, 2, 3], [4, 5, 6]], guidance=True)
    assert sampler.asked == [1]
    assert clips.shape[:2] == (2, 3)
    assert (clips == FRAMES[0]).all()


def test_a_model_predicts_motion_and_a_baseline_does_not():
    still, seeds = clip_from_frames(FRAMES[:1])[None], [[1, 2]]
    of_model = sample_batch(tiny.tiny_model(), still, POKES[:1], seeds, guidance=True)
    assert of_model.predicted_motion is not None
    assert of_model.predicted_motion.shape == (1, 2, 2, 64, 64)
    assert sample_batch(Counted(), still, POKES[:1], seeds, guidance=True).predicted_motion is None


def test_guidance_is_a_choice_of_the_call():
    model, still = tiny.tiny_model(), clip_from_frames(FRAMES[:1])[None]
    guided, unguided, again = (
        sample_batch(model, still, POKES[:1], [[1]], guidance=guidance).clips for guidance in (True, False, True)
    )
    assert torch.equal(guided, again)
    assert not torch.equal(guided, unguided)


def test_seeds_of_the_first_samples_do_not_depend_on_how_many_there_are():
    assert sample_seeds(3, 5, 4)[:2] == sample_seeds(3, 5, 2)
    assert sample_seeds(3, 5, 1) != sample_seeds(3, 6, 1)


def test_clips_of_another_size_are_refused():
    longer = cast(ClipSet, tiny.MovingSquares(1, frames=5))
    with pytest.raises(InputError, match="5 frames"):
        check_size(Counted(), longer)
