"""Models that show more than their networks look at."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ipoke.core.errors import InputError
from ipoke.core.settings import load_recipe
from ipoke.engine.engine import CpuEngine
from ipoke.engine.library import find_compiler
from ipoke.networks.autoencoder import detail
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.autoencoder.heads import Heads
from ipoke.networks.autoencoder.warp_decoder import WarpDecoder
from ipoke.sampling.model import PokeModel
from tiny import tiny_model, tiny_recipe

FRAMES = 3
CHANNELS = tiny_recipe().latent_channels
LARGE = ("clip.size=128", "clip_decoder.detail_widths=[6]")


def large_model() -> PokeModel:
    """Make a model of 128 px with the weights of the tiny one, of 64 px."""
    torch.manual_seed(3)
    model = PokeModel(tiny_recipe(*LARGE))
    missing, unexpected = model.load_state_dict(tiny_model().state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("autoencoder.decoder.detail") for name in missing)
    return model.eval().requires_grad_(False)


def enlarged(x: torch.Tensor) -> torch.Tensor:
    """Repeat every pixel."""
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def the_networks_see_what_they_saw_at_half_the_size() -> None:
    small, large = tiny_model(), large_model()
    clip, tracks = noise(2, 1 + small.frames, 3, 64, 64), 5 * noise(2, small.frames, 2, 64, 64, seed=1)
    for mine, theirs in zip(
        large.encode(enlarged(clip), 2 * enlarged(tracks)), small.encode(clip, tracks), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    pokes = torch.zeros(2, 2, 64, 64)
    pokes[:, :, 20:25, 30:35] = torch.tensor([3.0, -4.0])[:, None, None]
    torch.testing.assert_close(
        large.condition(enlarged(clip[:, 0]), 2 * enlarged(pokes)),
        small.condition(clip[:, 0], pokes),
        atol=1e-5,
        rtol=1e-5,
    )


def test_the_networks_see_what_they_saw_at_half_the_size():
    the_networks_see_what_they_saw_at_half_the_size()


@pytest.mark.parametrize(
    "name", ["ipoke.networks.autoencoder.clip_encoder.shrunk_field", "ipoke.networks.conditions.condition.shrunk"]
)
def test_networks_that_see_something_else_are_caught(name, monkeypatch):
    monkeypatch.setattr(name, lambda x, factor: x if factor == 1 else 0.9 * x[..., ::factor, ::factor])
    with pytest.raises(AssertionError):
        the_networks_see_what_they_saw_at_half_the_size()


def what_is_predicted_is_predicted_at_twice_the_side() -> None:
    """Compare what a large decoder that has learned nothing says with what the small one does."""
    small, large = tiny_model().autoencoder.decoder, large_model().autoencoder.decoder
    assert isinstance(small, WarpDecoder)
    assert isinstance(large, WarpDecoder)
    states, source = (
        noise(2, FRAMES, CHANNELS, 8, 8, seed=2),
        noise(2, 3, 64, 64),
    )
    heads, coarse = small.predict(states, small.source_features(source))
    finer, motion = large.predict(states, large.source_features(enlarged(source)))
    moves = F.interpolate(coarse, scale_factor=2, mode="bilinear") + Heads.split(heads).motion
    torch.testing.assert_close(motion, torch.cat([2 * moves[:, :2], moves[:, 2:]], 1), atol=1e-4, rtol=1e-4)
    assert Heads.split(finer).motion.abs().max() == 0
    for part in ("retouch", "visibility", "foreground"):
        wanted = F.interpolate(getattr(Heads.split(heads), part), scale_factor=2, mode="bilinear")
        torch.testing.assert_close(getattr(Heads.split(finer), part), wanted, atol=1e-4, rtol=1e-4)


def test_what_is_predicted_is_predicted_at_twice_the_side():
    what_is_predicted_is_predicted_at_twice_the_side()


def test_pixels_that_are_counted_as_the_larger_ones_are_caught(monkeypatch):
    monkeypatch.setattr(detail, "PIXELS", 1)
    with pytest.raises(AssertionError):
        what_is_predicted_is_predicted_at_twice_the_side()


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
def test_the_prepared_decoder_has_details_too():
    autoencoder = large_model().autoencoder
    generator = torch.Generator().manual_seed(4)
    for parameter in autoencoder.decoder.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    z, source = noise(2, CHANNELS, 8, 8, seed=5), noise(2, 3, 128, 128)
    wanted = autoencoder.decode(z, source, FRAMES)
    engine = CpuEngine(autoencoder)
    found = engine.decode(engine.rollout(z, FRAMES), source)
    assert wanted.motion is not None
    assert found.motion is not None
    assert wanted.motion.abs().max() > 1
    torch.testing.assert_close(found.motion, wanted.motion, atol=1e-3, rtol=0)
    assert ((found.clip - wanted.clip).abs() > 2e-3).float().mean() < 1e-3


def test_details_are_learned():
    autoencoder: Any = ClipAutoencoder(tiny_recipe(*LARGE))
    z, source = noise(1, CHANNELS, 8, 8), noise(1, 3, 128, 128)
    autoencoder.decode(z, source, FRAMES).clip.square().sum().backward()
    assert autoencoder.decoder.details[0].last.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([], "clip_encoder.strides: end on a 16 x 16 grid at 128 px"),
        (["clip_decoder.detail_widths=[8,8]"], "got 2 entries at 128 px, expected 1 at most"),
        (["clip_decoder.detail_widths=[8]", "clip_decoder.kind=spade"], 'it is one of kind = "warp"'),
    ],
)
def test_sizes_that_do_not_agree_are_refused(changes, said):
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        tiny_recipe("clip.size=128", *changes)


def test_lean_128_is_lean_64_with_details():
    small, large = load_recipe("lean-64"), load_recipe("lean-128")
    assert (large.clip.size, large.seen_size, large.shrink) == (128, 64, 2)
    for section in ("clip_encoder", "image_encoder", "poke_encoder", "latent_flow"):
        assert getattr(small, section) == getattr(large, section)
