"""How near clips are to each other, pixel by pixel."""

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(clip: Float[Tensor, "b t 3 s s"], target: Float[Tensor, "b t 3 s s"]) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio of each clip, dB, for a range of 2; the mean over its frames."""
    error = (clip - target).square().flatten(2).mean(2).clamp_min(1e-10)
    return (10 * torch.log10(4 / error)).mean(1)


def pairwise_mse(samples: Float[Tensor, "n t 3 s s"]) -> Float[Tensor, ""]:
    """Return the mean squared difference of all ordered pairs of different samples, pixels in [-1, 1].

    Source: the original's diversity score. It is twice the variance over samples, with n - 1 in its denominator.
    """
    return 2 * samples.var(0, unbiased=True).mean()
