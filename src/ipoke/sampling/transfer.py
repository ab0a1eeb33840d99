"""Motion of a clip on another picture: the residual of the clip, under the same pokes. Paper: Sec. 4.2 and Fig. 6."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.core.pixels import clip_from_frames
from ipoke.data.poke import Poke
from ipoke.sampling.networks import Networks
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import given


class EncodedClip(NamedTuple):
    """A clip as the latent flow sees it."""

    z: Float[Tensor, "1 c h w"]
    """The posterior mean."""
    cond: Float[Tensor, "1 k h w"]
    """Of its first frame and its pokes."""

    @torch.no_grad()
    def residual(self, networks: Networks) -> Float[Tensor, "1 c h w"]:
        """Map the latent to its residual."""
        return networks.to_residual(self.z, self.cond)[0]

    @torch.no_grad()
    def round_trip_error(self, networks: Networks, r: Float[Tensor, "1 c h w"]) -> float:
        """Measure how exactly a residual gives the latent back: the largest error, in parts of the largest value."""
        return float((networks.to_latent(r, self.cond) - self.z).abs().max() / self.z.abs().max())


@torch.no_grad()
def encode_clip(networks: Networks, clip: UInt8[np.ndarray, "t s s 3"], pokes: Sequence[Poke]) -> EncodedClip:
    """Encode a clip at the model's size, whose frame 0 is its source, and pokes in the model's pixels."""
    z, _ = networks.encode(clip_from_frames(clip)[None].to(networks.device))
    return EncodedClip(z, OpenPicture(clip[0], networks).condition(pokes))


def transfer_request(picture: OpenPicture, r: Float[Tensor, "1 c h w"], pokes: Sequence[Poke]) -> SampleRequest:
    """Request the clip of a picture that has this residual, under pokes in the model's pixels.

    Unguided: the residual is kept, which guidance would change.
    """
    outer = tuple(picture.still.from_model(poke) for poke in pokes)
    return SampleRequest(outer, (given(r[0]),), guidance=False)
