"""The two ways of measuring: as the paper says it, and as the released code does it."""

from typing import Literal, NamedTuple, TypeAlias

ProtocolName: TypeAlias = Literal["paper", "official"]


class Protocol(NamedTuple):
    """Where paper and released code differ, what is done.

    Both ask one poke, average over 10 frames, 5 samples and 1,000 clips, leave frame 0 out of framewise distances, and
    compare all ordered pairs of samples for diversity. Figures differ in two more points: control errors keep their
    outliers unless asked, and directions of a control sensitivity cover the whole circle, not half of it.
    """

    name: ProtocolName
    with_source: bool
    """Whether clips enter a Frechet distance with their frame 0, which is the true one: 11 frames instead of 10."""
    range_of_data: bool
    """Whether SSIM and PSNR take the range of pixels from the data (largest minus smallest value) instead of the 2 of
    [-1, 1]. Differs from the original, which took it from a batch of 20 clips: it is taken from each clip."""
    whole_windows: bool
    """Whether SSIM counts windows inside the frame alone, as libraries of the original's time did, instead of mirroring
    frames at their edges, as torchmetrics does."""
    truncates: bool
    """Whether pixels are truncated to uint8 before a Frechet distance instead of rounded."""


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol("paper", *[False] * 4),
    "official": Protocol("official", *[True] * 4),
}
