import pytest
import torch
from answers import DRAG, batch, context, frozen

from ipoke.training.baselines.recurrent import Gaussian, kl_divergence
from tiny import FRAMES


def test_the_second_frame_is_given_back_as_it_is():
    given = context(0, 1, frames=2)
    clips = frozen("recurrent").sample_clips(given, [[], []], [[1, 2], [3, 4]])
    for sample in range(2):
        assert torch.equal(clips[:, sample, 0], given[:, 1])
    assert (clips[:, :, 1] - given[:, None, 1]).abs().max() > 1e-3


def test_both_given_frames_are_seen():
    given = context(0, frames=2)
    still = given[:, 1:].expand(-1, 2, -1, -1, -1)
    moving, resting = (frozen("recurrent").sample_clips(frames, [DRAG], [[1]]) for frames in (given, still))
    assert (moving[:, :, 1:] - resting[:, :, 1:]).abs().max() > 1e-3


def test_later_frames_do_not_reach_what_came_before_them():
    few = batch()
    changed = few._replace(clip=torch.cat([few.clip[:, :-1], -few.clip[:, -1:]], 1))
    both = [
        frozen("recurrent").generate(part, [1, 2, FRAMES - 1], torch.Generator().manual_seed(0), 0.0)[0].clip
        for part in (few, changed)
    ]
    torch.testing.assert_close(both[0][:, :2], both[1][:, :2], atol=1e-5, rtol=0)
    assert (both[0][:, 2] - both[1][:, 2]).abs().max() > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_the_kl_divergence_is_that_of_normal_distributions(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (Gaussian(*torch.randn(2, 2, 3, 4, 4, generator=generator)) for _ in range(2))
    laws = [torch.distributions.Normal(law.mean, (0.5 * law.logvar).exp()) for law in (first, second)]
    exact = torch.distributions.kl_divergence(*laws).sum(1).mean()
    torch.testing.assert_close(kl_divergence(first, second), exact)
    assert kl_divergence(first, first) == 0
    assert kl_divergence(first, second) != kl_divergence(second, first)
