"""The autoencoder learns: from an untrained start it comes to reproduce two clips better than their sources do."""

import torch
import torch.nn.functional as F

from ipoke.core.pixels import clip_from_frames
from ipoke.data.tracks import tracks
from ipoke.evaluation.metrics.pixels import psnr
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.autoencoder.losses import motion_error, pyramid_l1
from tiny import MovingSquares, tiny_recipe

STEPS, GAIN_DB = 60, 2.0


def test_two_clips_are_overfitted():
    clips = MovingSquares(2)
    clip = torch.stack([clip_from_frames(clips.clip(index)) for index in range(2)])
    optical_flow = torch.stack([torch.from_numpy(clips.optical_flow(index)) for index in range(2)])
    followed = torch.stack([torch.from_numpy(tracks(clips.clip(index))) for index in range(2)])
    source, target = clip[:, 0], clip[:, 1:]
    torch.manual_seed(0)
    autoencoder = ClipAutoencoder(tiny_recipe())
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-3)
    for step in range(STEPS):
        only = [step % (clips.frames - 1), clips.frames - 1]
        mean, _ = autoencoder.encode(clip, followed)
        decoded = autoencoder.decode(mean, source, clips.frames, only=only)
        loss = 10 * F.l1_loss(decoded.clip, target[:, only]) + 10 * pyramid_l1(decoded.clip, target[:, only])
        assert decoded.motion is not None
        loss = loss + motion_error(decoded.motion[:, -1], optical_flow, source, clip[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        rebuilt = autoencoder.decode(autoencoder.encode(clip, followed)[0], source, clips.frames).clip
    copied = psnr(source[:, None].expand_as(target), target)
    assert (psnr(rebuilt, target) > copied + GAIN_DB).all()
