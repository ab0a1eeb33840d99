"""Similarity of clips, pixel by pixel."""

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of SSIM's Gaussian window, px."""
K1, K2 = 0.01, 0.03
"""SSIM's stabilising constants, in parts of the data range."""


def psnr(
    clip: Float[Tensor, "b t 3 s s"], target: Float[Tensor, "b t 3 s s"], data_range: float = 2.0
) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio of each clip, at most 106 dB for a range of 2; the mean over its frames.

    Args:
        clip: Clips in [-1, 1].
        target: True clips.
        data_range: Largest minus smallest possible value. Differs from the original, which takes it from the target.
    """
    error = (clip - target).square().flatten(2).mean(2).clamp_min(1e-10)
    return (10 * torch.log10(data_range**2 / error)).mean(1)


def ssim(
    clip: Float[Tensor, "b t 3 s s"],
    target: Float[Tensor, "b t 3 s s"],
    data_range: float = 2.0,
    *,
    mirrored: bool = True,
) -> Float[Tensor, " b"]:
    """Return the structural similarity of each clip, -1 to 1; the mean over frames, channels and pixels.

    Source: Wang et al. 2004, with a Gaussian window of 11 px (sigma 1.5 px) around every pixel and biased variances.

    Args:
        clip: Clips in [-1, 1], of at least 11 px.
        target: True clips.
        data_range: Largest minus smallest possible value. Differs from the original, which takes it from the clips.
        mirrored: Mirror frames at their edges, as torchmetrics does. Otherwise only windows inside the frame count, as
            in libraries of the original's time.
    """
    if clip.shape[-1] < WINDOW:
        raise ValueError(f"ssim: got frames of {clip.shape[-1]} px, expected at least {WINDOW}")
    # Only the sum of both variances is needed: four window averages instead of five.
    planes = torch.stack([clip, target, clip.square() + target.square(), clip * target])
    average = _averages_of_windows(clip.shape[-1]).to(clip)
    if not mirrored:
        average = average[WINDOW // 2 : -(WINDOW // 2)]
    mean, other, power, product = average @ planes @ average.mT
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    means, both = mean * other, mean.square() + other.square()
    similarity = (2 * means + c1) * (2 * (product - means) + c2) / ((both + c1) * (power - both + c2))
    return similarity.flatten(1).mean(1)


def _averages_of_windows(size: int) -> Float[Tensor, "size size"]:
    """Return the matrix of Gaussian averages around every pixel of a row that is mirrored at its ends."""
    offsets = torch.arange(WINDOW) - WINDOW // 2
    gaussian = torch.exp(-(offsets.double() ** 2) / (2 * SIGMA**2))
    pixels = (torch.arange(size)[:, None] + offsets).abs()
    inside = torch.where(pixels < size, pixels, 2 * (size - 1) - pixels)
    weights = (gaussian / gaussian.sum()).expand(size, -1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, inside, weights)


def pairwise_mse(samples: Float[Tensor, "n t 3 s s"]) -> Float[Tensor, ""]:
    """Return the sample diversity: the mean squared difference of all ordered pairs of samples, 0 to 4.

    Source: the diversity score of the original; pixels are in [-1, 1]. It equals twice the unbiased variance over
    samples.
    """
    return 2 * samples.var(0, unbiased=True).mean()
