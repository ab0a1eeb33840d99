import torch
from answers import context, perturbed

from ipoke.data.poke import Poke
from ipoke.training.baselines.methods import make_baseline
from tiny import FRAMES, tiny_recipe


def test_frame_t_is_told_a_share_of_the_poke_and_always_where_it_is(monkeypatch):
    baseline, seen = perturbed("sparse_warping").requires_grad_(False), []
    say = baseline._estimate
    monkeypatch.setattr(baseline, "_estimate", lambda x: seen.append(x) or say(x))
    still = context(0)
    baseline.sample_clips(still, [[Poke(x=30, y=20, dx=8, dy=-4), Poke(x=10, y=50, dx=0, dy=0)]], [[0]])
    (told,) = seen
    assert told.shape == (FRAMES, 6, 64, 64)
    torch.testing.assert_close(told[:, 0, 20, 30], torch.tensor([2.0, 4.0, 6.0, 8.0]))
    torch.testing.assert_close(told[:, 1, 20, 30], torch.tensor([-1.0, -2.0, -3.0, -4.0]))
    assert (told[:, 2, 20, 30] == 1).all()
    assert (told[:, 2, 50, 10] == 1).all()
    assert told[:, 2].sum() == FRAMES * 50
    assert (told[:, 3:] == still[0]).all()


def test_what_is_said_moves_the_still(monkeypatch):
    baseline, still = make_baseline(tiny_recipe("method=sparse_warping")).requires_grad_(False), context(0)
    said = torch.zeros(FRAMES, 6, 64, 64)
    said[:, 0], said[:, 2] = -3.0, 40.0
    monkeypatch.setattr(baseline, "_estimate", lambda x: said)
    clips = baseline.sample_clips(still, [[]], [[0]])
    torch.testing.assert_close(clips[0, 0, :, :, :, 3:], still.expand(1, FRAMES, -1, -1, -1)[0, ..., :-3])
    said[:, 2] = -40.0
    assert baseline.sample_clips(still, [[]], [[0]]).abs().max() < 1e-5
