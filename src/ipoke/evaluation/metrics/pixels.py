"""How near clips are to each other, pixel by pixel."""

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
    """Return the peak signal-to-noise ratio of each clip, dB; the mean over its frames.

    Args:
        clip: Clips in [-1, 1].
        target: What they should be.
        data_range: From the smallest to the largest possible value. The original takes it from the target's values.
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
    """Return the structural similarity of each clip, at most 1; the mean over frames, colours and pixels.

    Source: Wang et al. 2004, with a Gaussian window of 11 px (sigma 1.5 px) around every pixel and variances that are
    not corrected for its size.

    Args:
        clip: Clips in [-1, 1], of at least 11 px.
        target: What they should be.
        data_range: From the smallest to the largest possible value. The original takes it from the values at hand.
        mirrored: Mirror frames at their edges, as torchmetrics does today. Otherwise only windows wholly inside the
            frame count, as in the libraries of the original's time.
    """
    if clip.shape[-1] < WINDOW:
        raise ValueError(f"ssim: got frames of {clip.shape[-1]} px, expected at least {WINDOW}")
    # Only the sum of both variances is needed: four averages of a window instead of five.
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
    """Give the matrix that takes the Gaussian average around every pixel of a row, which is mirrored at its ends."""
    offsets = torch.arange(WINDOW) - WINDOW // 2
    gaussian = torch.exp(-(offsets.double() ** 2) / (2 * SIGMA**2))
    pixels = (torch.arange(size)[:, None] + offsets).abs()
    inside = torch.where(pixels < size, pixels, 2 * (size - 1) - pixels)
    weights = (gaussian / gaussian.sum()).expand(size, -1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, inside, weights)


def pairwise_mse(samples: Float[Tensor, "n t 3 s s"]) -> Float[Tensor, ""]:
    """Return the mean squared difference of all ordered pairs of different samples, pixels in [-1, 1].

    Source: the original's diversity score. It is twice the variance over samples, with n - 1 in its denominator.
    """
    return 2 * samples.var(0, unbiased=True).mean()
