"""The CPU engine computes what the modules' own code computes, and is given up when weights change."""

import copy
import threading

import pytest
import torch

import plain_way
from decoders import inputs, learned
from ipoke.data.poke import Poke
from ipoke.engine import engine as choosing
from ipoke.engine import rollout as rolling
from ipoke.engine.engine import CpuEngine, PlainEngine, choose_engine
from ipoke.engine.library import compiled, find_compiler
from ipoke.engine.rollout import PreparedRollout, unroll
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.latent_rollout import LatentRollout
from ipoke.networks.autoencoder.warp_decoder import WarpDecoder
from ipoke.sampling.model import PokeModel, bundled_still, load
from tiny import tiny_model, tiny_recipe

FRAMES = 3
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def decoded_by(engine, z, source, frames, features=None) -> DecodedFrames:
    return engine.decode(engine.rollout(z, frames), source, features)


@needs_compiler
@pytest.mark.parametrize(("channels", "layers", "batch"), [(6, 1, 1), (5, 3, 2), (32, 2, 3)])
def test_the_prepared_rollout_is_the_rollout(channels, layers, batch):
    torch.manual_seed(0)
    rollout = LatentRollout(channels, layers, update_bias=-1.0)
    z = random(batch, channels, 8, 8)
    wanted = rollout(z, FRAMES)
    functions = compiled()
    assert functions is not None
    fed = rollout.motion_bias.expand_as(z)
    prepared = PreparedRollout(rollout.gru, functions)(fed, z, FRAMES)
    torch.testing.assert_close(prepared, wanted, atol=1e-5, rtol=0)
    assert (wanted[:, 0] - wanted[:, 1]).abs().max() > 0.01
    with torch.no_grad():
        assert torch.equal(unroll(rollout, fed, z, FRAMES), prepared)
    assert torch.equal(unroll(rollout, fed, z, FRAMES), wanted)


@torch.no_grad()
def test_without_a_compiler_the_rollout_is_the_same(monkeypatch):
    autoencoder, (z, _) = learned("warp"), inputs(1)
    wanted = CpuEngine(autoencoder).rollout(z, FRAMES)
    for module in (choosing, rolling):
        monkeypatch.setattr(module, "compiled", lambda: None)
    torch.testing.assert_close(CpuEngine(autoencoder).rollout(z, FRAMES), wanted, atol=1e-5, rtol=0)
    rollout = autoencoder.rollout
    again = unroll(rollout, rollout.motion_bias.expand_as(z), z, FRAMES)
    torch.testing.assert_close(again, wanted, atol=1e-5, rtol=0)


def papers() -> ClipAutoencoder:
    torch.manual_seed(0)
    recipe = tiny_recipe("clip_decoder.kind=spade", "clip_decoder.spectral_norm=true", "latent_channels=8")
    return ClipAutoencoder(recipe).eval().requires_grad_(False)


def movers() -> ClipAutoencoder:
    """Make a decoder whose motion tears, folds, leaves the picture and hides."""
    autoencoder = learned("warp")
    generator = torch.Generator().manual_seed(3)
    decoder = autoencoder.decoder
    assert isinstance(decoder, WarpDecoder)
    for head in decoder.coarse_motion:
        assert isinstance(head, torch.nn.Conv2d)
        head.weight.copy_(2 * torch.randn(head.weight.shape, generator=generator))
    return autoencoder


@needs_compiler
@pytest.mark.parametrize(("threads", "frames"), [(1, FRAMES), (2, FRAMES), (2, 1), (1, 12)])
def test_the_prepared_warp_decoder_is_the_warp_decoder(threads, frames):
    autoencoder = movers()
    z, source = inputs(3)
    engine = CpuEngine(autoencoder)
    wanted = autoencoder.decode(z, source, frames)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shared = engine.source_features(source)
        found = [decoded_by(engine, z, source, frames, given) for given in (None, shared)]
        repeated = [given.expand(3) for given in engine.source_features(source[:1])]
        of_one = decoded_by(engine, z, source[:1].expand(3, -1, -1, -1), frames, repeated)
    finally:
        torch.set_num_threads(before)
    assert wanted.motion is not None
    assert wanted.motion.abs().max() > 8
    assert wanted.coverage is not None
    assert 0.05 < (wanted.coverage < 0.5).float().mean() < 0.9
    plain_of_one = autoencoder.decode(z, source[:1].expand(3, -1, -1, -1), frames)
    for got, right in [*((one, wanted) for one in found), (of_one, plain_of_one)]:
        for name, mine, theirs in zip(got._fields, got, right, strict=True):
            assert mine is not None
            assert theirs is not None
            # Where an origin jumps from one side of an edge to the other, rounding decides; such places are few.
            off = (mine - theirs).abs() > 2e-3
            assert off.float().mean() < 2e-4, name
            assert (mine - theirs).abs().mean() < 2e-5, name


@needs_compiler
def test_without_a_compiler_the_warp_decoder_is_the_same(monkeypatch):
    autoencoder = movers()
    z, source = inputs(1)
    compiled_clip = decoded_by(CpuEngine(autoencoder), z, source, FRAMES).clip
    monkeypatch.setattr(choosing, "compiled", lambda: None)
    clip = decoded_by(CpuEngine(autoencoder), z, source, FRAMES).clip
    assert ((clip - compiled_clip).abs() > 2e-3).float().mean() < 2e-4


@needs_compiler
def test_a_warp_decoder_in_16_bits_is_close():
    """Above 45 dB for the bundled model, on its own still."""
    model, reduced = (load("scenes-64", precision=precision) for precision in ("float32", "bfloat16"))
    drag = [Poke(x=38, y=137, dx=0, dy=34)]
    exact, coarse = (one.open(bundled_still()) for one in (model, reduced))
    z = model.latent_flow.sample(exact.condition(drag).expand(3, -1, -1, -1), seeds=[1, 2, 3])
    clips = [picture._show(picture.sampler.engine.rollout(z, 10))[:, 1:].astype(float) for picture in (exact, coarse)]
    error = ((clips[0] - clips[1]) ** 2).mean()
    assert 0 < error < 255**2 / 10**4.5


def test_the_folded_decoder_is_the_decoder():
    autoencoder = papers()
    z, source = random(2, 8, 8, 8), random(2, 3, 64, 64).tanh()
    wanted = autoencoder.decode(z, source, FRAMES).clip
    engine = CpuEngine(autoencoder)
    for features in (None, engine.source_features(source)):
        got = decoded_by(engine, z, source, FRAMES, features).clip
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    coarse = decoded_by(CpuEngine(autoencoder, precision=torch.bfloat16), z, source, FRAMES).clip
    assert coarse.dtype == torch.float32
    assert 1e-4 < (coarse - wanted).abs().max() < 0.1
    torch.testing.assert_close(autoencoder.decode(z, source, FRAMES).clip, wanted, atol=0, rtol=0)


@torch.no_grad()
def test_a_model_like_the_papers_samples_as_the_plain_way_does(tmp_path):
    torch.manual_seed(0)
    recipe = tiny_recipe("clip_decoder.kind=spade", "clip_decoder.spectral_norm=true", "latent_channels=8")
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


def test_an_engine_is_chosen_by_where_and_how_the_weights_are():
    autoencoder = learned("warp")
    assert isinstance(choose_engine(autoencoder), CpuEngine)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert isinstance(choose_engine(autoencoder), PlainEngine)
    assert isinstance(choose_engine(autoencoder.double()), PlainEngine)


@torch.no_grad()
def test_the_plain_engine_is_the_modules_own_code():
    model = tiny_model()
    engine = PlainEngine(model.autoencoder, model.latent_flow)
    source, r = random(2, 3, 64, 64).tanh(), model.latent_flow.base_noise([1, 2])
    cond = model.condition(source, torch.zeros(2, 2, 64, 64))
    z = engine.to_latent(r, cond)
    assert torch.equal(z, model.latent_flow.bijection.inverse(r, cond)[0])
    states = engine.rollout(z, FRAMES)
    clip = engine.decode(states, source, engine.source_features(source)).clip
    assert torch.equal(clip, model.autoencoder.decode(z, source, FRAMES).clip)
    motion = engine.predict_motion(z, source, FRAMES, only=[1])
    assert torch.equal(motion, model.autoencoder.predict_motion(states[:, [1]], source))


@torch.no_grad()
def test_both_engines_lead_to_the_same_frames():
    model = tiny_model()
    source, r = random(2, 3, 64, 64).tanh(), model.latent_flow.base_noise([1, 2])
    cond = model.condition(source, torch.zeros(2, 2, 64, 64))
    clips = []
    for make in (PlainEngine, CpuEngine):
        engine = make(model.autoencoder, model.latent_flow)
        clips.append(decoded_by(engine, engine.to_latent(r, cond), source, FRAMES).clip)
    assert (clips[0] - clips[1]).abs().mean() < 1e-4


def test_motion_is_predicted_with_gradients_where_they_are_enabled():
    model = tiny_model()
    z = model.latent_flow.base_noise([1]).requires_grad_()
    source = random(1, 3, 64, 64).tanh()
    motion = model.engine.predict_motion(z, source, FRAMES, only=[FRAMES - 1])
    (gradient,) = torch.autograd.grad(motion.sum(), z)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        torch.testing.assert_close(
            model.engine.predict_motion(z, source, FRAMES, only=[FRAMES - 1]), motion, atol=1e-4, rtol=0
        )


def test_frames_can_be_decoded_with_gradients():
    model, source = tiny_model(), random(1, 3, 64, 64).tanh()
    z = model.latent_flow.base_noise([1]).requires_grad_()
    model.decode(z, source, FRAMES).square().sum().backward()
    assert z.grad is not None
    assert z.grad.abs().max() > 0


def test_an_engine_that_only_decodes_says_so():
    for make in (PlainEngine, CpuEngine):
        with pytest.raises(ValueError, match="latent flow: got none"):
            make(learned("warp")).to_latent(random(1, 8, 8, 8), random(1, 8, 8, 8))


def test_shapes_are_checked_before_compiled_code_sees_them():
    model = tiny_model()
    with pytest.raises(ValueError, match="residual: height: got 4, expected 8"):
        model.engine.to_latent(torch.zeros(1, 8, 4, 8), torch.zeros(1, 8, 4, 8))


def scaled(model: PokeModel) -> dict[str, torch.Tensor]:
    return {name: 1.1 * t if t.is_floating_point() else t for name, t in model.state_dict().items()}


def in_place(model: PokeModel) -> None:
    for parameter in model.latent_flow.parameters():
        parameter.mul_(1.1)
    model.weights_changed()


CHANGES = {
    "in place, and told": in_place,
    "loaded": lambda model: model.load_state_dict(scaled(model)),
    "loaded by assignment": lambda model: model.load_state_dict(scaled(model), assign=True),
    "cast": lambda model: [in_place(model), model.double(), model.float()],
    "trained on": lambda model: [model.train(), in_place(model), model.eval()],
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_an_engine_is_chosen_anew_when_weights_change(change):
    model = copy.deepcopy(tiny_model())
    r = model.latent_flow.base_noise([1])
    cond = model.condition(random(1, 3, 64, 64).tanh(), torch.zeros(1, 2, 64, 64))
    before = model.engine.to_latent(r, cond)
    assert model.engine is model.engine
    CHANGES[change](model)
    after = model.engine.to_latent(r, cond)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after, model.latent_flow.bijection.inverse(r, cond)[0], atol=1e-4, rtol=1e-4)


def test_in_training_no_engine_is_kept():
    model = copy.deepcopy(tiny_model()).train()
    assert model.engine is not model.engine


@torch.no_grad()
def test_a_copy_of_a_model_has_an_engine_of_its_own():
    model = tiny_model()
    r = model.latent_flow.base_noise([1])
    cond = model.condition(random(1, 3, 64, 64).tanh(), torch.zeros(1, 2, 64, 64))
    before = model.engine.to_latent(r, cond)
    other = copy.deepcopy(model)
    assert other.engine is not model.engine
    in_place(other)
    assert (other.engine.to_latent(r, cond) - before).abs().max() > 0.01
    assert torch.equal(model.engine.to_latent(r, cond), before)


def test_threads_share_an_engine():
    model = tiny_model()
    engine, r = choose_engine(model.autoencoder, model.latent_flow), model.latent_flow.base_noise([1, 2])
    source = random(2, 3, 64, 64).tanh()
    with torch.no_grad():
        cond = model.condition(source, torch.zeros(2, 2, 64, 64))
    clips: list[torch.Tensor] = []
    work = lambda: clips.append(decoded_by(engine, engine.to_latent(r, cond), source, FRAMES).clip)  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clips) == 6
    assert all(torch.equal(clip, clips[0]) for clip in clips)
