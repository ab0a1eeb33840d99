from typing import Any

import pytest
import torch

from ipoke.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.autoencoder.clip_decoder import DISPLACEMENT_UNIT_PX
from ipoke.settings import LATENT_SIDE
from tiny import tiny_model, tiny_recipe


def inputs(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, 8, LATENT_SIDE, LATENT_SIDE, generator=generator)
    return z, torch.rand(batch, 3, 64, 64, generator=generator) * 2 - 1


def untrained(output):
    torch.manual_seed(0)
    return ClipAutoencoder(tiny_recipe(f"clip_decoder.output={output}")).eval().requires_grad_(False)


def make(output):
    """Make an autoencoder whose decoder moves and hides, as it does after training."""
    autoencoder = untrained(output)
    generator = torch.Generator().manual_seed(2)
    for parameter in autoencoder.decoder.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return autoencoder


def held(displacement, shown):
    """Make a warping decoder that says the same of every pixel."""
    autoencoder = untrained("warp")
    last: Any = autoencoder.decoder.last
    last.weight[3:] = 0
    last.bias[3:5] = torch.tensor(displacement) / DISPLACEMENT_UNIT_PX
    last.bias[5] = shown
    return autoencoder


def test_without_displacement_the_shown_source_is_reproduced():
    z, source = inputs()
    decoded = held([0.0, 0.0], 100.0).decode(z, source, 4)
    torch.testing.assert_close(decoded.clip, source[:, None].expand(-1, 4, -1, -1, -1), atol=1e-5, rtol=0)
    assert decoded.displacement is not None
    assert not decoded.displacement.any()


def test_a_displacement_says_where_pixels_come_from():
    z, source = inputs()
    decoded = held([3.0, -2.0], 100.0).decode(z, source, 1)
    torch.testing.assert_close(decoded.clip[:, 0, :, 2:, :-3], source[:, :, :-2, 3:], atol=1e-4, rtol=0)
    assert decoded.displacement is not None
    assert decoded.displacement[0, 0, :, 5, 7].tolist() == [3.0, -2.0]


def test_displacements_of_all_levels_are_summed():
    z, source = inputs()
    autoencoder = held([0.25, 0.0], 100.0)
    heads: Any = autoencoder.decoder.coarse_displacements
    assert len(heads) == 3
    for level, head in enumerate(heads):
        head.bias[:] = torch.tensor([10.0**level, 0.5]) / DISPLACEMENT_UNIT_PX
    displacement = autoencoder.decode(z, source, 2).displacement
    assert displacement is not None
    expected = torch.tensor([111.25, 1.5]).view(2, 1, 1).expand_as(displacement)
    torch.testing.assert_close(displacement, expected)


def test_coarse_displacements_follow_each_frame():
    z, source = inputs()
    autoencoder = held([0.0, 0.0], 100.0)
    heads: Any = autoencoder.decoder.coarse_displacements
    for head in heads:
        head.weight.normal_(generator=torch.Generator().manual_seed(3))
    displacement = autoencoder.decode(z, source, 3).displacement
    alone = autoencoder.decode(z[1:], source[1:], 3, only=[2]).displacement
    assert displacement is not None
    assert alone is not None
    torch.testing.assert_close(displacement[1:, 2:], alone, atol=1e-4, rtol=1e-4)
    assert (displacement[0] - displacement[1]).abs().max() > 0.1
    assert (displacement[:, 0] - displacement[:, 2]).abs().max() > 0.01


def test_what_is_not_shown_is_painted():
    z, source = inputs()
    decoded = held([3.0, -2.0], -100.0).decode(z, source, 2)
    torch.testing.assert_close(decoded.clip, decoded.paint)
    half = held([0.0, 0.0], 0.0).decode(z, source, 2)
    torch.testing.assert_close(half.clip, (half.paint + source[:, None]) / 2, atol=1e-5, rtol=0)


@pytest.mark.parametrize("output", ["paint", "warp"])
def test_a_subset_of_frames_equals_the_subset_of_all(output):
    autoencoder, (z, source) = make(output), inputs()
    everything, some = autoencoder.decode(z, source, 6), autoencoder.decode(z, source, 6, only=[1, 4])
    for whole, part in zip(everything, some, strict=True):
        assert (whole is None) == (part is None) == (output == "paint" and whole is None)
        if whole is not None and part is not None:
            torch.testing.assert_close(part, whole[:, [1, 4]], atol=1e-5, rtol=1e-4)
    assert (some.clip[:, 0] - some.clip[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("output", ["paint", "warp"])
def test_a_longer_roll_out_begins_like_a_shorter_one(output):
    autoencoder, (z, source) = make(output), inputs()
    longer = autoencoder.decode(z, source, 20).clip
    assert longer.shape == (2, 20, 3, 64, 64)
    torch.testing.assert_close(longer[:, :3], autoencoder.decode(z, source, 3).clip, atol=1e-5, rtol=1e-4)
    assert longer.abs().max() <= 1


def test_later_source_frames_do_not_reach_the_decoder():
    z, _ = inputs()
    clip = torch.rand(2, 5, 3, 64, 64).mul(2).sub(1).requires_grad_()
    make("warp").decode(z, clip[:, 0], 4).clip.square().sum().backward()
    assert clip.grad is not None
    assert clip.grad[:, 0].abs().max() > 0
    assert not clip.grad[:, 1:].any()


def test_clips_of_a_batch_do_not_meet():
    autoencoder, (z, source) = tiny_model().autoencoder, inputs()
    both = autoencoder.decode(z, source, 3).clip
    torch.testing.assert_close(both[1:], autoencoder.decode(z[1:], source[1:], 3).clip, atol=1e-5, rtol=1e-4)


def test_modulations_computed_before_give_the_same_frames():
    autoencoder, (z, source) = make("warp"), inputs()
    modulations = autoencoder.decoder.modulations(source)
    given = autoencoder.decode(z, source, 3, modulations=modulations).clip
    assert torch.equal(given, autoencoder.decode(z, source, 3).clip)


def test_the_roll_out_starts_every_state_at_the_latent():
    rollout, (z, _) = make("warp").rollout, inputs()
    states = [z, z]
    for step in rollout(z, 3).unbind(1):
        states = rollout.gru(rollout.motion_bias.expand_as(z), states)
        torch.testing.assert_close(step, states[-1])


def test_a_warping_decoder_begins_by_showing_the_source():
    z, source = inputs()
    decoded = untrained("warp").decode(z, source, 2)
    assert decoded.shown is not None
    assert decoded.displacement is not None
    assert decoded.shown.mean() > 0.8
    assert decoded.displacement.abs().mean() < 0.5
