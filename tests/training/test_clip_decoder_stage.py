import pytest
import torch

from ipoke.autoencoder.affine_motion import MOTION_UNIT_PX, fitted
from ipoke.data.batches import training_batch
from ipoke.errors import InputError
from ipoke.model import PokeModel
from ipoke.runs import Run, read_tensors
from ipoke.settings import DECODER_STAGE, STAGES, stage_stream, stages_of
from ipoke.training.clip_decoder_stage import ClipDecoderStage
from ipoke.training.loop import TrainingStopped
from ipoke.training.stage import Moment
from ipoke.training.train import train
from tiny import MovingSquares, Silent, clip_set, stop_after, tiny_recipe, training

MAPS = ("clip_encoder.sums_up=true", "clip_decoder.maps=true", "autoencoder_losses.going=2.0")
ALONE = tuple(f"train.clip_decoder.{word}" for word in ("clips=8", "batch=2", "learning_rate=2e-3"))


def moment(seed=0):
    return Moment(0, 0.0, torch.Generator().manual_seed(seed))


def make(*overrides):
    recipe = tiny_recipe(*MAPS, *ALONE, *overrides)
    torch.manual_seed(0)
    model = PokeModel(recipe)
    poked = recipe.pokes.model_copy(update={"zero_poke_fraction": 0.0})
    batch = training_batch(MovingSquares(), poked, None, seed=0, first=0, batch=4)
    return ClipDecoderStage(model.autoencoder, recipe, torch.device("cpu")), model, batch


def terms(stage, batch, seed=0):
    (move,) = stage.moves(batch, moment(seed))
    return move.terms


def test_it_comes_first_and_leaves_the_streams_of_the_others_alone():
    recipe = tiny_recipe(*MAPS, *ALONE)
    assert stages_of(recipe) == (DECODER_STAGE, *STAGES)
    assert stages_of(tiny_recipe()) == STAGES
    assert len({stage_stream(name) for name in stages_of(recipe)}) == len(STAGES) + 1


def test_the_latent_is_that_of_an_encoder_that_has_learned_nothing(monkeypatch):
    stage, _, batch = make("clip_encoder.initial_logvar=-2.0")
    seen: list[torch.Tensor] = []
    right = stage.decoder.motion
    monkeypatch.setattr(stage.decoder, "motion", lambda states, known: seen.append(states) or right(states, known))
    for seed in range(30):
        terms(stage, batch, seed)
    latents = torch.stack(seen)[:, :, 0]
    maps = fitted(batch.optical_flow, 8) / MOTION_UNIT_PX
    assert maps.abs().max() > 0.5
    torch.testing.assert_close(latents[:, :, :6].mean(0), maps, atol=0.35, rtol=0)
    assert latents.var(0).mean().sqrt().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.05)


def test_it_learns_what_goes_along():
    stage, _, batch = make()
    optimizer = torch.optim.Adam(stage.decoder.parameters(), lr=3e-3)
    first = last = 0.0
    for step in range(60):
        loss = torch.stack(list(terms(stage, batch, step).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first or loss.item(), loss.item()
    assert last < 0.6 * first


def test_nothing_else_learns():
    stage, model, batch = make()
    torch.stack(list(terms(stage, batch).values())).sum().backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learning
    assert all(name.startswith("autoencoder.decoder.") for name in learning)


def test_a_training_hands_its_decoder_on_and_resumes(tmp_path):
    recipe = tiny_recipe(*MAPS, *ALONE, *training(clips=4))
    once, twice = tmp_path / "once", tmp_path / "twice"
    heard = Silent()
    train(clip_set(), recipe, once, reporter=heard)
    assert list(dict.fromkeys(stage for stage, _ in heard.heard)) == [DECODER_STAGE, *STAGES]
    with pytest.raises(TrainingStopped):
        train(clip_set(), recipe, twice, reporter=Silent(), should_stop=stop_after(2))
    train(clip_set(), recipe, twice, reporter=Silent(), stage=DECODER_STAGE)
    first, second = (read_tensors(Run(out).checkpoint(DECODER_STAGE))[0] for out in (once, twice))
    assert all(torch.equal(first[name], second[name]) for name in first)
    train(clip_set(), recipe, twice, reporter=Silent())
    assert (once / "model.safetensors").read_bytes()[:8] == (twice / "model.safetensors").read_bytes()[:8]
    ours, theirs = (read_tensors(out / "model.safetensors")[0] for out in (once, twice))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_needs_maps():
    with pytest.raises(InputError, match=r"train\.clip_decoder: needs clip_encoder\.sums_up and clip_decoder\.maps"):
        tiny_recipe(*ALONE)
