"""What a warp decoder predicts of each pixel, as named parts of one tensor."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

WIDTHS = (3, 3, 1, 1)
"""Channels of each part of `Heads`."""
CHANNELS = sum(WIDTHS)


class Heads(NamedTuple):
    """Channels of a warp decoder's last convolution, in this order; ``engine/pictures.c`` names them too."""

    retouch: Float[Tensor, "n 3 h w"]
    """Added to the colours that fill a disoccluded pixel, before tanh."""
    motion: Float[Tensor, "n 3 h w"]
    """Displacement (x, y), px, and its order in depth, nats; added to the coarse motion."""
    visibility: Float[Tensor, "n 1 h w"]
    """Logit: whether a pixel of the frame shows the warped source rather than paint."""
    foreground: Float[Tensor, "n 1 h w"]
    """Logit of the foreground gate, by which the motion is multiplied."""

    @classmethod
    def split(cls, channels: Float[Tensor, "n 8 h w"]) -> "Heads":
        """Name the parts of a tensor; they share its memory."""
        return cls(*channels.split(WIDTHS, dim=1))

    def cat(self) -> Float[Tensor, "n 8 h w"]:
        """Join the parts again."""
        return torch.cat(self, 1)
