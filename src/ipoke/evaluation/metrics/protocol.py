"""The two protocols: as the paper describes the evaluation, and as the released code performs it."""

from typing import Literal, NamedTuple, TypeAlias

ProtocolName: TypeAlias = Literal["paper", "official"]


class Protocol(NamedTuple):
    """Choices where the paper and the released code differ.

    Both use one poke, average over 10 frames, 5 samples and 1,000 clips, skip frame 0 in framewise distances, and
    compare all ordered pairs of samples for diversity. Values differ from the released code in two more points:
    control errors keep outliers by default, and control sensitivity covers the full circle instead of half of it.
    """

    name: ProtocolName
    with_source: bool
    """Include frame 0, which is the true one, in Frechet distances: 11 frames instead of 10."""
    range_of_data: bool
    """Take the data range of SSIM and PSNR from the data (largest minus smallest value) instead of the 2 of [-1, 1].
    Differs from the original: from each clip, not from a batch of 20 clips."""
    whole_windows: bool
    """Restrict SSIM to windows inside the frame, as libraries of the original's time, instead of mirroring frames at
    their edges, as torchmetrics does."""
    truncates: bool
    """Truncate pixels to uint8 before a Frechet distance instead of rounding them."""


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol("paper", *[False] * 4),
    "official": Protocol("official", *[True] * 4),
}
