"""What holds of both decoders."""

import pytest
import torch

from decoders import inputs, learned

BOTH = pytest.mark.parametrize("kind", ["spade", "warp"])


@BOTH
def test_a_subset_of_frames_equals_the_subset_of_all(kind):
    autoencoder, (z, source) = learned(kind), inputs()
    everything, some = autoencoder.decode(z, source, 6), autoencoder.decode(z, source, 6, only=[1, 4])
    for whole, part in zip(everything, some, strict=True):
        assert (whole is None) == (part is None)
        if whole is not None and part is not None:
            torch.testing.assert_close(part, whole[:, [1, 4]], atol=1e-4, rtol=1e-3)
    assert (some.clip[:, 0] - some.clip[:, 1]).abs().max() > 1e-4


@BOTH
def test_a_longer_roll_out_begins_like_a_shorter_one(kind):
    autoencoder, (z, source) = learned(kind), inputs()
    longer = autoencoder.decode(z, source, 20).clip
    assert longer.shape == (2, 20, 3, 64, 64)
    torch.testing.assert_close(longer[:, :3], autoencoder.decode(z, source, 3).clip, atol=1e-4, rtol=1e-3)
    assert longer.abs().max() <= 1


@BOTH
def test_clips_of_a_batch_do_not_meet(kind):
    autoencoder, (z, source) = learned(kind), inputs()
    both = autoencoder.decode(z, source, 3).clip
    # Sums of another batch end in other last bits, which what is shown of an edge may amplify.
    torch.testing.assert_close(both[1:], autoencoder.decode(z[1:], source[1:], 3).clip, atol=2e-3, rtol=1e-3)


@BOTH
def test_source_features_computed_before_give_the_same_frames(kind):
    autoencoder, (z, source) = learned(kind), inputs()
    features = autoencoder.decoder.source_features(source)
    given = autoencoder.decode(z, source, 3, features=features).clip
    assert torch.equal(given, autoencoder.decode(z, source, 3).clip)


@BOTH
def test_later_source_frames_do_not_reach_the_decoder(kind):
    z, _ = inputs()
    clip = torch.rand(2, 5, 3, 64, 64).mul(2).sub(1).requires_grad_()
    learned(kind).decode(z, clip[:, 0], 4).clip.square().sum().backward()
    assert clip.grad is not None
    assert clip.grad[:, 0].abs().max() > 0
    assert not clip.grad[:, 1:].any()


@BOTH
def test_the_latent_reaches_every_frame(kind):
    z, source = inputs(batch=1)
    z.requires_grad_()
    autoencoder = learned(kind)
    for frame in range(3):
        z.grad = None
        autoencoder.decode(z, source, 3).clip[:, frame].square().sum().backward()
        assert z.grad is not None
        assert z.grad.abs().max() > 0
