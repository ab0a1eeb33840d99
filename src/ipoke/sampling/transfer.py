"""Transfer: the residual of a clip on another picture, under the same pokes. Paper: Sec. 4.2 and Fig. 6."""

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


class RoundTrip(NamedTuple):
    """Errors of a latent that is mapped to its residual and back, relative to the latent."""

    largest: float
    """Largest error over largest value."""
    rms: float
    """Root mean square error over root mean square."""


@torch.no_grad()
def encode_clip(networks: Networks, clip: UInt8[np.ndarray, "t s s 3"], pokes: Sequence[Poke]) -> EncodedClip:
    """Encode a clip at the model's size, whose frame 0 is its source, and pokes in the model's pixels."""
    z, _ = networks.encode(clip_from_frames(clip)[None].to(networks.device))
    return EncodedClip(z, OpenPicture(clip[0], networks).condition(pokes))


@torch.no_grad()
def residual_of(networks: Networks, clip: EncodedClip) -> Float[Tensor, "1 c h w"]:
    """Map the latent of a clip to its residual."""
    r, _ = networks.to_residual(clip.z, clip.cond)
    return r


@torch.no_grad()
def round_trip(networks: Networks, clip: EncodedClip, r: Float[Tensor, "1 c h w"]) -> RoundTrip:
    """Measure how exactly the residual of a clip gives its latent back."""
    z, error = clip.z, networks.to_latent(r, clip.cond) - clip.z
    return RoundTrip(
        largest=float(error.abs().max() / z.abs().max()),
        rms=float(error.square().mean().sqrt() / z.square().mean().sqrt()),
    )


def transfer_request(picture: OpenPicture, r: Float[Tensor, "1 c h w"], pokes: Sequence[Poke]) -> SampleRequest:
    """Request the clip of a picture that has this residual, under pokes in the model's pixels.

    Without guidance, which would change the residual.
    """
    outer = tuple(picture.still.from_model(poke) for poke in pokes)
    return SampleRequest(outer, (given(r[0]),), guidance=False)
