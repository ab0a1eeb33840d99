import torch

from decoders import inputs, learned
from ipoke.networks.autoencoder.spade_decoder import SpadeDecoder


def test_every_pixel_is_painted():
    autoencoder, (z, source) = learned("spade"), inputs()
    assert isinstance(autoencoder.decoder, SpadeDecoder)
    decoded = autoencoder.decode(z, source, 3)
    assert torch.equal(decoded.clip, decoded.paint)
    assert decoded.motion is None
    assert decoded.backward_flow is None
    assert decoded.coverage is None
