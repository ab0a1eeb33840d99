"""What is prepared for sampling computes what is trained."""

import copy

import pytest
import torch
from decoders import inputs, learned

from ipoke.data.poke import Poke
from ipoke.engine.library import find_compiler
from ipoke.evaluation.bench import plain_way
from ipoke.networks.autoencoder import clip_autoencoder, latent_rollout
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.autoencoder.latent_rollout import LatentRollout
from ipoke.networks.autoencoder.warp_decoder import MovingDecoder
from ipoke.sampling.model import PokeModel, bundled_still, load
from tiny import tiny_recipe

FRAMES = 3


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
@pytest.mark.parametrize(("channels", "layers", "batch"), [(6, 1, 1), (5, 3, 2), (32, 2, 3)])
def test_the_prepared_rollout_is_the_rollout(channels, layers, batch):
    torch.manual_seed(0)
    rollout = LatentRollout(channels, layers, update_bias=-1.0)
    z = random(batch, channels, 8, 8)
    wanted = rollout(z, FRAMES)
    with torch.no_grad():
        torch.testing.assert_close(rollout(z, FRAMES), wanted, atol=1e-5, rtol=0)
        assert (wanted[:, 0] - wanted[:, 1]).abs().max() > 0.01
        for parameter in rollout.parameters():
            parameter.mul_(1.5)
        changed = rollout(z, FRAMES)
    assert (changed - wanted).abs().max() > 0.01
    torch.testing.assert_close(changed, rollout(z, FRAMES), atol=1e-5, rtol=0)


@torch.no_grad()
def test_without_a_compiler_the_rollout_is_the_same(monkeypatch):
    torch.manual_seed(0)
    rollout = LatentRollout(4, 2)
    z = random(1, 4, 8, 8)
    wanted = rollout(z, FRAMES)
    monkeypatch.setattr(latent_rollout, "compiled", lambda: None)
    torch.testing.assert_close(copy.deepcopy(rollout)(z, FRAMES), wanted, atol=1e-5, rtol=0)


def papers() -> ClipAutoencoder:
    torch.manual_seed(0)
    recipe = tiny_recipe("clip_decoder.output='paint'", "clip_decoder.spectral_norm=true", "latent_channels=8")
    return ClipAutoencoder(recipe).eval().requires_grad_(False)


def movers() -> ClipAutoencoder:
    """Make a decoder whose motion tears, folds, leaves the picture and hides."""
    autoencoder = learned("move")
    generator = torch.Generator().manual_seed(3)
    decoder = autoencoder.decoder
    assert isinstance(decoder, MovingDecoder)
    for head in decoder.coarse_motion:
        assert isinstance(head, torch.nn.Conv2d)
        head.weight.copy_(2 * torch.randn(head.weight.shape, generator=generator))
    return autoencoder


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
@pytest.mark.parametrize(("threads", "frames"), [(1, FRAMES), (2, FRAMES), (2, 1), (1, 12)])
def test_the_prepared_moving_decoder_is_the_moving_decoder(threads, frames):
    autoencoder = movers()
    z, source = inputs(3)
    wanted = autoencoder.decode(z, source, frames)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            shared = autoencoder.modulations(source)
            found = [autoencoder.decode(z, source, frames, modulations=given) for given in (None, shared)]
            one = autoencoder.modulations(source[:1])
            repeated = [given.expand(3) for given in one]
            of_one = autoencoder.decode(z, source[:1].expand(3, -1, -1, -1), frames, modulations=repeated)
    finally:
        torch.set_num_threads(before)
    assert wanted.motion is not None
    assert wanted.motion.abs().max() > 8
    assert wanted.shown is not None
    assert 0.05 < (wanted.shown < 0.5).float().mean() < 0.9
    with_gradients = autoencoder.decode(z, source[:1].expand(3, -1, -1, -1), frames)
    for got, right in [*((one, wanted) for one in found), (of_one, with_gradients)]:
        for name, mine, theirs in zip(got._fields, got, right, strict=True):
            assert mine is not None
            assert theirs is not None
            # Where an origin jumps from one side of an edge to the other, rounding decides; such places are few.
            off = (mine - theirs).abs() > 2e-3
            assert off.float().mean() < 2e-4, name
            assert (mine - theirs).abs().mean() < 2e-5, name


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
def test_without_a_compiler_the_moving_decoder_is_the_same(monkeypatch):
    autoencoder = movers()
    z, source = inputs(1)
    with torch.no_grad():
        compiled_clip = autoencoder.decode(z, source, FRAMES).clip
        monkeypatch.setattr(clip_autoencoder, "compiled", lambda: None)
        clip = copy.deepcopy(autoencoder).decode(z, source, FRAMES).clip
    assert ((clip - compiled_clip).abs() > 2e-3).float().mean() < 2e-4


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
def test_a_moving_decoder_in_16_bits_is_close():
    """Above 45 dB for the bundled model, on its own still."""
    model, reduced = (load("scenes-64", precision=precision) for precision in ("float32", "bfloat16"))
    drag = [Poke(x=38, y=137, dx=0, dy=34)]
    exact, coarse = (one.open(bundled_still()) for one in (model, reduced))
    z = model.latent_flow.sample(exact.condition(drag).expand(3, -1, -1, -1), seeds=[1, 2, 3])
    clips = [picture._show(picture._autoencoder.rollout(z, 10))[:, 1:].astype(float) for picture in (exact, coarse)]
    error = ((clips[0] - clips[1]) ** 2).mean()
    assert 0 < error < 255**2 / 10**4.5


def test_the_folded_decoder_is_the_decoder():
    autoencoder = papers()
    z, source = random(2, 8, 8, 8), random(2, 3, 64, 64).tanh()
    wanted = autoencoder.decode(z, source, FRAMES).clip
    with torch.no_grad():
        shared = autoencoder.modulations(source)
        for modulations in (None, shared):
            got = autoencoder.decode(z, source, FRAMES, modulations=modulations).clip
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
        autoencoder.sampling_precision = torch.bfloat16
        coarse = copy.deepcopy(autoencoder).decode(z, source, FRAMES).clip
    assert coarse.dtype == torch.float32
    assert 1e-4 < (coarse - wanted).abs().max() < 0.1
    torch.testing.assert_close(autoencoder.decode(z, source, FRAMES).clip, wanted, atol=0, rtol=0)


@torch.no_grad()
def test_a_model_like_the_papers_samples_as_the_plain_way_does(tmp_path):
    torch.manual_seed(0)
    recipe = tiny_recipe("clip_decoder.output='paint'", "clip_decoder.spectral_norm=true", "latent_channels=8")
    changed = {"conditional_couplings": False, "steps": (2, 1), "factor": 4, "logit_bound": None, "seen_bound": None}
    latent_flow = recipe.latent_flow.model_copy(update=changed)
    model = PokeModel(recipe.model_copy(update={"latent_flow": latent_flow})).eval().requires_grad_(False)
    noise = model.latent_flow.base_noise([1, 2])
    x0, asked = random(2, 3, 64, 64).tanh(), 5 * random(2, 2, 64, 64)
    model.latent_flow.initialise(noise, model.condition(x0, asked))
    for name, parameter in model.latent_flow.named_parameters():
        if name.endswith("gain"):
            parameter.add_(0.1 * random(*parameter.shape, seed=len(name)))
    wanted = plain_way.sample(model, x0, asked, noise)
    z = model.to_latent(noise, model.condition(x0, asked))
    got = model.decode(z, x0, model.recipe.clip.frames)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)
    assert (z - noise).abs().max() > 0.1
    model.save(tmp_path / "model.safetensors", {}, precision=torch.float32)
    reduced = load(tmp_path / "model.safetensors", precision="bfloat16")
    coarse = reduced.decode(reduced.to_latent(noise, reduced.condition(x0, asked)), x0, model.recipe.clip.frames)
    assert 1e-4 < (coarse - wanted).abs().max() < 0.2
    assert sum(t.dtype == torch.bfloat16 for t in reduced.state_dict().values()) > 0
    assert len(reduced.sha256) == 64
