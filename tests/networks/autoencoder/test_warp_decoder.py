from typing import Any

import pytest
import torch

from decoders import inputs, learned, untrained

SHOW, HIDE = 100.0, -100.0
ALONG, STAY = 100.0, -100.0


def held(dx, dy, shown):
    """Make a decoder that says the same of every pixel, whatever the latent."""
    autoencoder = untrained("warp")
    last: Any = autoencoder.decoder.last
    last.weight[3:] = 0
    last.bias[3:] = torch.tensor([dx, dy, 0.0, shown, ALONG])
    return autoencoder


def known(x):
    assert x is not None
    return x


def test_it_begins_by_showing_the_source_as_it_is():
    z, source = inputs()
    decoded = untrained("warp").decode(z, source, 4)
    assert known(decoded.coverage).mean() > 0.8
    assert not known(decoded.motion).any()
    assert (decoded.clip - source[:, None]).abs().mean() < 0.02


def test_motion_alone_is_the_motion_of_the_frames():
    z, source = inputs()
    autoencoder = learned("warp")
    states = autoencoder.rollout(z, 4)[:, [1, 3]]
    torch.testing.assert_close(
        autoencoder.predict_motion(states, source), known(autoencoder.decode(z, source, 4, only=[1, 3]).motion)
    )
    with pytest.raises(ValueError, match="a SPADE decoder"):
        untrained("spade").predict_motion(states, source)


def test_without_motion_the_shown_source_is_reproduced():
    z, source = inputs()
    decoded = held(0.0, 0.0, SHOW).decode(z, source, 4)
    torch.testing.assert_close(decoded.clip, source[:, None].expand(-1, 4, -1, -1, -1), atol=1e-5, rtol=0)


def test_a_motion_says_where_pixels_go():
    z, source = inputs()
    decoded = held(3.0, -2.0, SHOW).decode(z, source, 1)
    torch.testing.assert_close(decoded.clip[:, 0, :, 1:-4, 5:-1], source[:, :, 3:-2, 2:-4], atol=1e-4, rtol=0)
    assert known(decoded.motion)[0, 0, :, 5, 7].tolist() == [3.0, -2.0]
    torch.testing.assert_close(known(decoded.backward_flow)[0, 0, :, 15, 17], torch.tensor([-3.0, 2.0]))


def test_what_came_to_light_is_painted():
    z, source = inputs()
    decoded = held(6.0, 0.0, SHOW).decode(z, source, 1)
    torch.testing.assert_close(decoded.clip[..., :4], decoded.paint[..., :4])
    torch.testing.assert_close(decoded.clip[:, 0, :, 1:-1, 7:], source[:, :, 1:-1, 1:-6], atol=1e-4, rtol=0)


def test_what_is_not_shown_is_painted():
    z, source = inputs()
    decoded = held(3.0, -2.0, HIDE).decode(z, source, 2)
    torch.testing.assert_close(decoded.clip, decoded.paint)
    half = held(0.0, 0.0, 0.0).decode(z, source, 2)
    torch.testing.assert_close(half.clip, (half.paint + source[:, None]) / 2, atol=1e-5, rtol=0)


def test_motions_of_all_levels_are_summed():
    z, source = inputs()
    autoencoder = held(0.25, 0.0, SHOW)
    heads: Any = autoencoder.decoder.coarse_motion
    assert len(heads) == 3
    for level, head in enumerate(heads):
        head.bias[:2] = torch.tensor([10.0**level, 0.5])
    motion = known(autoencoder.decode(z, source, 2).motion)
    torch.testing.assert_close(motion, torch.tensor([111.25, 1.5]).view(2, 1, 1).expand_as(motion))


def test_what_does_not_go_along_stays():
    z, source = inputs()
    autoencoder = held(3.0, -2.0, SHOW)
    autoencoder.decoder.last.bias[7] = STAY
    assert known(autoencoder.decode(z, source, 1).motion).abs().max() < 1e-6
    autoencoder.decoder.last.bias[7] = 0.0
    torch.testing.assert_close(known(autoencoder.decode(z, source, 1).motion)[0, 0, :, 5, 7], torch.tensor([1.5, -1.0]))


def test_what_moves_passes_in_front_of_what_stands_still():
    z, source = inputs(batch=1)
    autoencoder = held(0.0, 0.0, SHOW)
    source[:] = -1.0
    source[..., 24:40, 8:24] = 1.0
    last: Any = autoencoder.decoder.last
    motion = torch.zeros(1, 1, 8, 64, 64)
    motion[0, 0, 6:] = SHOW
    motion[0, 0, 3, 24:40, 8:24] = 20.0
    last.forward = lambda x: motion.flatten(0, 1).expand(len(x), -1, -1, -1)
    clip = autoencoder.decode(z, source, 1).clip
    assert clip[0, 0, :, 26:38, 30:42].min() > 0.99
    torch.testing.assert_close(clip[0, 0, :, 26:38, 10:22], torch.full((3, 12, 12), -0.98), atol=0.01, rtol=0)


def test_motion_differs_between_frames_and_clips():
    z, source = inputs()
    motion = known(learned("warp").decode(z, source, 3).motion)
    assert (motion[0] - motion[1]).abs().max() > 0.01
    assert (motion[:, 0] - motion[:, 2]).abs().max() > 0.001


def predicting(maps):
    """Make a decoder whose last layer predicts these maps for every frame, whatever the latent."""
    autoencoder = untrained("warp")
    last: Any = autoencoder.decoder.last
    last.forward = lambda x: maps.expand(len(x), -1, -1, -1)
    return autoencoder


def square_before_ground(dx, dy, order):
    """Send a square over a ground that stands still."""
    maps = torch.zeros(1, 8, 64, 64)
    maps[:, 6], maps[:, 7] = SHOW, ALONG
    maps[0, 3:6, 24:40, 8:24] = torch.tensor([dx, dy, order]).view(3, 1, 1)
    return predicting(maps)


def test_a_learned_order_lets_what_moves_pass_behind():
    z, source = inputs(batch=1)
    inside = (slice(20, 32), slice(34, 44))
    origin = known(square_before_ground(24.0, -6.0, 0.0).decode(z, source, 1).backward_flow)[0, 0]
    assert (origin[(0, *inside)] + 24).abs().max() < 0.02
    assert (origin[(1, *inside)] - 6).abs().max() < 0.02
    behind = known(square_before_ground(24.0, -6.0, -100.0).decode(z, source, 1).backward_flow)[0, 0]
    assert behind[(slice(None), *inside)].abs().max() < 0.02


def test_the_part_that_moved_is_seen_where_it_went():
    z, source = inputs(batch=1)
    clip = square_before_ground(24.0, -6.0, 0.0).decode(z, source, 1).clip[0, 0]
    torch.testing.assert_close(clip[:, 20:32, 34:46], source[0, :, 26:38, 10:22], atol=0.02, rtol=0)
    torch.testing.assert_close(clip[:, 50:], source[0, :, 50:], atol=1e-4, rtol=0)


def test_pixels_pull_the_motion_towards_where_they_went():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    source = torch.stack([torch.sin(x / 5), torch.sin(y / 4), torch.cos((x - y) / 6)])[None]
    z, _ = inputs(batch=1)
    for dx, dy in ((1.5, -1.0), (-1.0, 2.0)):
        target = held(dx, dy, SHOW).decode(z, source, 1).clip
        autoencoder = held(dx / 2, dy / 2, SHOW)
        bias: Any = autoencoder.decoder.last.bias
        bias.requires_grad_()
        inside = (slice(None), slice(None), slice(None), slice(8, -8), slice(8, -8))
        (autoencoder.decode(z, source, 1).clip - target)[inside].square().mean().backward()
        assert bias.grad[3] * dx < 0
        assert bias.grad[4] * dy < 0


def test_frames_are_told_in_full_precision():
    z, source = inputs()
    exact = learned("warp").decode(z, source, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoded = learned("warp").decode(z, source, 2)
    for half, full in zip(decoded, exact, strict=True):
        assert known(half).dtype == torch.float32
        assert (known(half) - known(full)).abs().mean() < 0.05


def test_everything_can_be_brought_to_the_cpu():
    z, source = inputs()
    for kind in ("warp", "spade"):
        decoded = learned(kind).decode(z, source, 1)
        for part, same in zip(decoded, decoded.cpu(), strict=True):
            assert (part is None) == (same is None)
            assert part is None or torch.equal(part, same)
