from typing import Any

import pytest
import torch

from ipoke.core.pixels import clip_from_frames
from ipoke.core.sections import DiscriminatorSettings
from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.tracks import tracks
from ipoke.networks.autoencoder.clip_encoder import MOTION_UNIT_PX, ClipEncoder, sample_posterior
from ipoke.networks.autoencoder.discriminators import TemporalDiscriminator
from tiny import MovingSquares, tiny_model, tiny_recipe


def clip(frames=4, seed=0):
    return torch.rand(2, frames + 1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def unmoved(frames=4):
    return torch.zeros(2, frames, 2, 64, 64)


def test_any_number_of_frames_is_read():
    encoder = tiny_model().autoencoder.encoder
    for frames in (1, 4, 20):
        mean, logvar = encoder(clip(frames), unmoved(frames))
        assert mean.shape == logvar.shape == (2, 8, 8, 8)


def test_every_frame_is_seen_the_source_and_the_last_included():
    encoder = tiny_model().autoencoder.encoder
    x = clip().requires_grad_()
    encoder(x, unmoved())[0].square().sum().backward()
    assert x.grad is not None
    assert (x.grad.square().sum((0, 2, 3, 4)) > 0).all()


def test_clips_of_a_batch_do_not_meet():
    encoder, x = tiny_model().autoencoder.encoder, clip()
    torch.testing.assert_close(encoder(x, unmoved())[0][1:], encoder(x[1:], unmoved()[1:])[0], atol=1e-5, rtol=1e-4)


def test_the_change_since_the_source_is_fed_where_asked():
    torch.manual_seed(0)
    settings = tiny_recipe("clip_encoder.sees_change=true").clip_encoder
    encoder: Any = ClipEncoder(settings, 8)
    x = clip()
    with torch.no_grad():
        encoder.stem[0].weight[:, :3] = 0
        still, moved = x[:, :1].expand_as(x).clone(), x[:, :1].expand_as(x).clone()
        moved[:, -1] = x[:, -1]
        assert not torch.allclose(encoder(moved, unmoved())[0], encoder(still, unmoved())[0])
        torch.testing.assert_close(encoder(still, unmoved())[0], encoder(-still, unmoved())[0])
    blind: Any = ClipEncoder(tiny_recipe("clip_encoder.sees_change=false").clip_encoder, 8)
    assert blind.stem[0].in_channels == 5


def test_tracks_are_seen_where_asked():
    encoder, x = tiny_model().autoencoder.encoder, clip()
    moved = unmoved()
    moved[:, -1, 0, 20:30, 20:30] = 5.0
    assert not torch.allclose(encoder(x, moved)[0], encoder(x, unmoved())[0])
    with pytest.raises(ValueError, match="tracks: got none"):
        encoder(x)
    blind: Any = ClipEncoder(
        tiny_recipe("clip_encoder.sees_tracks=false", "autoencoder_losses.motion_between=0").clip_encoder, 8
    )
    assert blind.stem[0].in_channels == 6
    assert torch.equal(blind(x)[0], blind(x, moved)[0])


def test_tracks_lie_beside_the_frames_they_lead_to():
    encoder: Any = ClipEncoder(tiny_recipe().clip_encoder, 8)
    seen = []
    encoder.stem.register_forward_pre_hook(lambda stem, inputs: seen.append(inputs[0]))
    x, moved = clip(), torch.randn(2, 4, 2, 64, 64, generator=torch.Generator().manual_seed(1))
    encoder(x, moved)
    frames, change, displacements = seen[0].transpose(1, 2).split([3, 3, 2], 2)
    torch.testing.assert_close(frames, x)
    torch.testing.assert_close(change, x - x[:, :1])
    assert not displacements[:, 0].any()
    torch.testing.assert_close(displacements[:, 1:], moved / MOTION_UNIT_PX)


def test_tracks_that_are_not_given_are_found():
    autoencoder = tiny_model().autoencoder
    frames = MovingSquares(2)
    x = torch.stack([clip_from_frames(frames.clip(index)) for index in range(2)])
    given = torch.stack([torch.from_numpy(tracks(frames.clip(index), estimate_with_dis)) for index in range(2)])
    assert given.abs().max() > 1
    for found, wanted in zip(autoencoder.encode(x), autoencoder.encode(x, given), strict=True):
        assert torch.equal(found, wanted)


def test_the_posterior_starts_as_wide_as_asked():
    settings = tiny_recipe("clip_encoder.initial_logvar=-5.0").clip_encoder
    encoder: Any = ClipEncoder(settings, 8)
    assert (encoder.logvar.bias == -5).all()


def test_posterior_samples_have_its_mean_and_variance():
    mean = torch.full((4000, 2, 1, 1), 3.0)
    logvar = torch.tensor([-2.0, 1.0]).view(1, 2, 1, 1).expand_as(mean)
    z = sample_posterior(mean, logvar, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), mean[0], atol=0.1, rtol=0)
    torch.testing.assert_close(z.var(0), logvar[0].exp(), atol=0, rtol=0.1)
    again = sample_posterior(mean, logvar, torch.Generator().manual_seed(0))
    assert torch.equal(z, again)


@pytest.mark.parametrize("widths", [(8, 8, 8, 8, 8)])
def test_the_temporal_discriminator_starts_orthogonal(widths):
    torch.manual_seed(0)
    network: Any = TemporalDiscriminator(DiscriminatorSettings(temporal_widths=widths, groups=4)).eval()
    for convolution in (network.stem[0], *(stage[0].main[0] for stage in network.stages)):
        rows = convolution.parametrizations.weight.original.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-4, rtol=0)
