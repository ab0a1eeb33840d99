from typing import Any

import numpy as np
import pytest
import torch
from answers import context

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.poke import Poke
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.training.baselines.copy_source import CopySource
from ipoke.training.baselines.nearest_clip import NearestClip
from tiny import FRAMES, clip_set


def own_poke(clips, index):
    x, y = clips.corners[index] + 8
    dx, dy = clips.optical_flow(index)[:, y, x].tolist()
    return Poke(x=float(x), y=float(y), dx=dx, dy=dy)


@pytest.fixture
def twins():
    """Moving squares of which 1 begins exactly like 0, and then goes the other way."""
    clips: Any = clip_set()
    for name in ("corners", "grounds", "squares"):
        getattr(clips, name)[1] = getattr(clips, name)[0]
    clips.displacements[1] = -clips.displacements[0]
    return clips


def test_a_copy_stands_still():
    baseline, given = CopySource(64, FRAMES), context(0, 1)
    clips = baseline.sample_clips(given, [[], [Poke(3, 3, 9, 9)]], [[0, 1], [2, 3]])
    assert isinstance(baseline, ClipSampler)
    assert clips.shape == (2, 2, FRAMES, 3, 64, 64)
    assert (clips == given[:, None]).all()


def test_a_training_clip_is_found_by_its_own_still_and_poke(twins):
    baseline = NearestClip(twins)
    assert isinstance(baseline, ClipSampler)
    for index in range(len(twins)):
        clips = baseline.sample_clips(context_of(twins, index), [[own_poke(twins, index)]], [[0, 1]])
        assert torch.equal(clips[0, 0], clip_from_frames(twins.clip(index)[1:])), index
        assert not torch.equal(clips[0, 0], clips[0, 1])


def context_of(clips, index):
    return clip_from_frames(clips.clip(index)[:1])[None]


def test_without_pokes_the_still_decides_and_the_number_breaks_ties(twins):
    found = NearestClip(twins).sample_clips(context_of(twins, 1), [[]], [[0, 1, 2, 3, 4, 5]])[0]
    assert torch.equal(found[0], clip_from_frames(twins.clip(0)[1:]))
    assert torch.equal(found[1], clip_from_frames(twins.clip(1)[1:]))
    assert len({clip.numpy().tobytes() for clip in found}) == len(twins)


def test_clips_that_begin_otherwise_are_no_candidates(monkeypatch, twins):
    monkeypatch.setattr("ipoke.training.baselines.nearest_clip.CANDIDATES", 2)
    baseline, asked = NearestClip(twins), [own_poke(twins, 3)]
    found = baseline.sample_clips(context_of(twins, 0), [asked], [[0, 1]])[0]
    wanted = {clip_from_frames(twins.clip(index)[1:]).numpy().tobytes() for index in (0, 1)}
    assert {clip.numpy().tobytes() for clip in found} == wanted
    with pytest.raises(InputError, match="samples: got 3, expected at most 2"):
        baseline.sample_clips(context_of(twins, 0), [asked], [[0, 1, 2]])


def test_neither_the_seed_nor_the_batch_matters(twins):
    baseline = NearestClip(twins)
    given = torch.cat([context_of(twins, index) for index in (0, 3)])
    asked = [[own_poke(twins, index)] for index in (0, 3)]
    together = baseline.sample_clips(given, asked, [[0, 1], [2, 3]])
    for row in range(2):
        assert torch.equal(
            together[row], baseline.sample_clips(given[row : row + 1], asked[row : row + 1], [[9, 8]])[0]
        )


def test_hashes_tell_answers_apart(twins):
    other = clip_set()
    other.sha256 = "1" * 64
    hashes = {CopySource(64, 4).sha256, NearestClip(twins).sha256, NearestClip(other).sha256}
    assert len(hashes) == 3
    assert np.all([len(each) == 64 for each in hashes])
