import numpy as np
import pytest
import torch

import tiny
from ipoke.core.pixels import clip_from_frames
from ipoke.data.poke import Poke
from ipoke.sampling import motion_correlation as motion_affinity
from ipoke.sampling.motion_correlation import affinity_map, affinity_of, draw_pulls

AT = (3.0, 2.0)


def seeds(count):
    return list(range(count))


def test_parts_that_move_along_are_told_from_those_that_do_not():
    def sample(pulls, of_one):
        fields = np.zeros((len(pulls), 2, 8, 8), np.float32)
        fields[:, :, :4] = 0.5 * pulls[:, :, None, None]
        fields[:, :, 4] = 0.25 * pulls[:, :, None]
        fields[:, :, 5] = -0.5 * pulls[:, :, None]
        return fields

    pulls = draw_pulls(200, 64, 0)
    found = affinity_of(sample, AT, pulls, seeds(200))
    assert found[:4] == pytest.approx(1)
    assert found[4] == pytest.approx(0.75)
    assert found[5:] == pytest.approx(0)


def test_nothing_moves_along_with_a_place_that_does_not_follow():
    found = affinity_of(lambda pulls, _: np.ones((len(pulls), 2, 8, 8), np.float32), AT, draw_pulls(9, 64, 0), seeds(9))
    assert found.dtype == np.float32
    assert not found.any()


def test_pulls_go_everywhere_and_the_first_do_not_depend_on_how_many():
    pulls = draw_pulls(4000, 100, 1)
    assert (pulls[:7] == draw_pulls(7, 100, 1)).all()
    lengths = np.hypot(*pulls.T)
    assert 10 - 1e-4 <= lengths.min() < lengths.max() <= 20 + 1e-4
    assert np.abs(pulls.mean(0)).max() < 0.6


def test_a_map_of_a_model_does_not_depend_on_the_batch(monkeypatch):
    model = tiny.tiny_model()
    source = clip_from_frames(tiny.MovingSquares(1).clip(0)[:1])
    networks = motion_affinity.Networks(model.conditions, model.latent_flow, model.engine)
    patch = model.recipe.pokes.patch

    def found():
        return affinity_map(networks, source, (28, 28), draw_pulls(6, 64, 0), seeds(6), frames=tiny.FRAMES, patch=patch)

    with torch.no_grad():
        whole = found()
        monkeypatch.setattr(motion_affinity, "BATCH", 4)
        assert found() == pytest.approx(whole, abs=0.02)
    assert whole.shape == (64, 64)
    assert 0 <= whole.min() <= whole.max() <= 1


def test_the_last_frame_alone_is_what_sampling_the_clip_gives(monkeypatch):
    model = tiny.tiny_model()
    source = clip_from_frames(tiny.MovingSquares(1).clip(0)[:1])
    networks = motion_affinity.Networks(model.conditions, model.latent_flow, model.engine)
    pulls, seen = draw_pulls(2, 64, 0), []
    monkeypatch.setattr(
        motion_affinity,
        "estimate_with_dis",
        lambda first, last: seen.append(last) or np.zeros((2, 64, 64), np.float32),
    )
    with torch.no_grad():
        affinity_map(networks, source, (28, 28), pulls, [5, 6], frames=tiny.FRAMES, patch=model.recipe.pokes.patch)
    pokes = [[Poke(28, 28, float(dx), float(dy))] for dx, dy in pulls]
    monkeypatch.setattr(model, "reaches", False)
    clips = model.sample_clips(source[None].expand(2, -1, -1, -1, -1), pokes, [[5], [6]])
    wanted = sorted(float(clip.mean()) for clip in (clips[:, 0, -1] + 1) * 127.5)
    assert sorted(float(last.mean()) for last in seen) == pytest.approx(wanted, abs=0.05)
