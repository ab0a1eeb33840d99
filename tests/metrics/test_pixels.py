import itertools
import math

import pytest
import torch

from ipoke.metrics.pixels import pairwise_mse, psnr


def clips(count, seed=0):
    return torch.rand(count, 3, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def test_psnr_in_closed_form():
    target = torch.zeros(2, 3, 3, 4, 4)
    off = target.clone()
    off[0] += 0.2
    off[1] -= 0.02
    assert psnr(off, target).tolist() == pytest.approx([20 * math.log10(2 / 0.2), 20 * math.log10(2 / 0.02)], rel=1e-5)


def test_psnr_is_averaged_over_frames_in_decibel():
    target = torch.zeros(1, 2, 3, 4, 4)
    off = target.clone()
    off[:, 0], off[:, 1] = 0.2, 0.002
    assert psnr(off, target).item() == pytest.approx(40, rel=1e-5)


def test_equal_clips_have_a_finite_psnr():
    assert torch.isfinite(psnr(clips(2), clips(2))).all()
    assert (psnr(clips(2), clips(2)) > 100).all()


@pytest.mark.parametrize("count", [2, 3, 7])
def test_pairwise_mse_equals_the_explicit_double_loop(count):
    samples = clips(count)
    pairs = [(a - b).square().mean() for a, b in itertools.permutations(samples, 2)]
    assert len(pairs) == count * (count - 1)
    torch.testing.assert_close(pairwise_mse(samples), torch.stack(pairs).mean())


def test_equal_samples_have_no_diversity():
    assert pairwise_mse(clips(1).expand(4, -1, -1, -1, -1)).item() == pytest.approx(0, abs=1e-12)
