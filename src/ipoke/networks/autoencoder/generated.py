"""What a model in training made of a batch."""

from typing import NamedTuple

from torch import Tensor

from ipoke.networks.autoencoder.decoded_frames import DecodedFrames


class Generated(NamedTuple):
    """The chosen frames of the clips of a batch, and what they cost beside the losses of frames."""

    decoded: DecodedFrames
    """With motion, if the motion losses shall teach it."""
    terms: dict[str, Tensor]
    """Weighted losses, such as a KL divergence."""
