import itertools
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import structural_similarity_index_measure

from ipoke.evaluation.metrics.pixels import pairwise_mse, psnr, ssim


def clips(count, seed=0, frames=3, size=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, frames, 3, size, size, generator=generator, dtype=torch.float64) * 2 - 1


def noisy_pair(strength=0.3, size=32):
    smooth = clips(2, 1, size=size).cumsum(-1).sin()
    return (smooth + strength * clips(2, 2, size=size)).clamp(-1, 1), smooth


def test_psnr_in_closed_form():
    target = torch.zeros(2, 3, 3, 4, 4)
    off = target.clone()
    off[0] += 0.2
    off[1] -= 0.02
    assert psnr(off, target).tolist() == pytest.approx([20 * math.log10(2 / 0.2), 20 * math.log10(2 / 0.02)], rel=1e-5)
    assert psnr(off, target, 1.0).tolist() == pytest.approx([20 * math.log10(1 / 0.2), 20 * math.log10(1 / 0.02)])


def test_psnr_is_averaged_over_frames_in_decibel():
    target = torch.zeros(1, 2, 3, 4, 4)
    off = target.clone()
    off[:, 0], off[:, 1] = 0.2, 0.002
    assert psnr(off, target).item() == pytest.approx(40, rel=1e-5)


def test_equal_clips_have_a_finite_psnr():
    assert torch.isfinite(psnr(clips(2), clips(2))).all()
    assert (psnr(clips(2), clips(2)) > 100).all()


@pytest.mark.parametrize("data_range", [2.0, 1.7])
def test_ssim_is_that_of_torchmetrics(data_range):
    clip, target = noisy_pair()
    per_frame = structural_similarity_index_measure(
        clip.flatten(0, 1), target.flatten(0, 1), reduction="none", data_range=data_range
    )
    assert isinstance(per_frame, torch.Tensor)
    expected = per_frame.unflatten(0, (2, -1)).mean(1)
    torch.testing.assert_close(ssim(clip, target, data_range), expected, rtol=1e-6, atol=1e-8)
    single = ssim(clip.float(), target.float(), data_range)
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-6)


def test_ssim_of_whole_windows_is_the_definition():
    clip, target = noisy_pair(size=20)

    def average(planes):  # a window of 11 px: cut off at 5 px
        return gaussian_filter(planes, (0, 0, 0, 1.5, 1.5), radius=(0, 0, 0, 5, 5))[..., 5:-5, 5:-5]

    x, y = clip.numpy(), target.numpy()
    mx, my = average(x), average(y)
    vx, vy, cov = average(x * x) - mx**2, average(y * y) - my**2, average(x * y) - mx * my
    c1, c2 = 0.02**2, 0.06**2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    np.testing.assert_allclose(ssim(clip, target, mirrored=False), expected.mean((1, 2, 3, 4)), rtol=1e-9)


def test_ssim_of_constant_frames_in_closed_form():
    one, other = (torch.full((1, 2, 3, 12, 12), value, dtype=torch.float64) for value in (0.5, -0.25))
    c1 = 0.02**2
    expected = (2 * 0.5 * -0.25 + c1) / (0.5**2 + 0.25**2 + c1)
    assert ssim(one, other).item() == pytest.approx(expected)


def test_ssim_is_one_for_equal_clips_and_falls_with_noise():
    values = [ssim(*noisy_pair(strength)) for strength in (0.0, 0.1, 0.3, 0.9)]
    torch.testing.assert_close(values[0], torch.ones(2, dtype=torch.float64))
    assert all((more > less).all() for more, less in itertools.pairwise(values))
    clip, target = noisy_pair()
    torch.testing.assert_close(ssim(target, clip), ssim(clip, target))


def test_ssim_does_not_depend_on_the_batch():
    clip, target = noisy_pair()
    apart = [ssim(clip[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(ssim(clip, target), torch.cat(apart))


def test_ssim_needs_frames_of_a_window():
    with pytest.raises(ValueError, match="frames of 10 px, expected at least 11"):
        ssim(clips(1, size=10), clips(1, size=10))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_pairwise_mse_equals_the_explicit_double_loop(count):
    samples = clips(count)
    pairs = [(a - b).square().mean() for a, b in itertools.permutations(samples, 2)]
    assert len(pairs) == count * (count - 1)
    torch.testing.assert_close(pairwise_mse(samples), torch.stack(pairs).mean())


def test_equal_samples_have_no_diversity():
    assert pairwise_mse(clips(1).expand(4, -1, -1, -1, -1)).item() == pytest.approx(0, abs=1e-12)
