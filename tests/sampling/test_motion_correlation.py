import numpy as np
import pytest
import torch

import tiny
from ipoke.data.poke import Poke
from ipoke.sampling import motion_correlation
from ipoke.sampling.motion_correlation import (
    correlation_map,
    drag_requests,
    measured_displacements,
    predicted_displacements,
    random_drags,
)
from ipoke.sampling.residual_terms import Noise

AT = (3.0, 2.0)


def test_parts_that_move_along_are_told_from_those_that_do_not():
    drags = random_drags(200, 64, 0)
    fields = np.zeros((len(drags), 2, 8, 8), np.float32)
    fields[:, :, :4] = 0.5 * drags[:, :, None, None]
    fields[:, :, 4] = 0.25 * drags[:, :, None]
    fields[:, :, 5] = -0.5 * drags[:, :, None]
    found = correlation_map(fields, AT)
    assert found[:4] == pytest.approx(1)
    assert found[4] == pytest.approx(0.75)
    assert found[5:] == pytest.approx(0)


def test_nothing_moves_along_with_a_place_that_does_not_follow():
    found = correlation_map(np.ones((9, 2, 8, 8), np.float32), AT)
    assert found.dtype == np.float32
    assert not found.any()


def test_drags_go_everywhere_and_the_first_do_not_depend_on_how_many():
    drags = random_drags(4000, 100, 1)
    assert (drags[:7] == random_drags(7, 100, 1)).all()
    lengths = np.hypot(*drags.T)
    assert 10 - 1e-4 <= lengths.min() < lengths.max() <= 20 + 1e-4
    assert np.abs(drags.mean(0)).max() < 0.6


def requests_on(picture, count):
    return drag_requests(picture, (28, 28), random_drags(count, 64, 0), [Noise(5 + i) for i in range(count)])


def test_a_map_of_a_model_does_not_depend_on_the_batch(monkeypatch):
    picture = tiny.tiny_model().open(tiny.MovingSquares(1).clip(0)[0])
    whole = correlation_map(measured_displacements(picture, requests_on(picture, 6)), (28, 28))
    monkeypatch.setattr(motion_correlation, "BATCH", 4)
    assert correlation_map(measured_displacements(picture, requests_on(picture, 6)), (28, 28)) == pytest.approx(
        whole, abs=0.02
    )
    assert whole.shape == (64, 64)
    assert 0 <= whole.min() <= whole.max() <= 1


def clips_of(model, picture):
    pokes = [[Poke(28, 28, float(dx), float(dy))] for dx, dy in random_drags(2, 64, 0)]
    context = picture.still.source[None].expand(2, -1, -1, -1, -1)
    return model.sample_with_motion(context, pokes, [[5], [6]], guidance=False)


def test_the_last_frame_alone_is_what_sampling_the_clip_gives(monkeypatch):
    model = tiny.tiny_model()
    picture, seen = model.open(tiny.MovingSquares(1).clip(0)[0]), []
    monkeypatch.setattr(
        motion_correlation,
        "estimate_with_dis",
        lambda first, last: seen.append(last) or np.zeros((2, 64, 64), np.float32),
    )
    measured_displacements(picture, requests_on(picture, 2))
    clips, _ = clips_of(model, picture)
    wanted = sorted(float(clip.mean()) for clip in (clips[:, 0, -1] + 1) * 127.5)
    assert sorted(float(last.mean()) for last in seen) == pytest.approx(wanted, abs=0.05)


def test_predicted_displacements_are_the_motion_of_the_same_clips():
    model = tiny.tiny_model()
    picture = model.open(tiny.MovingSquares(1).clip(0)[0])
    found = torch.from_numpy(predicted_displacements(picture, requests_on(picture, 2)))
    _, motion = clips_of(model, picture)
    torch.testing.assert_close(found, motion[:, 0], atol=1e-3, rtol=0)
    assert found.abs().max() > 0.1
