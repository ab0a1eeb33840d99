from collections import Counter

import pytest
import torch

from ipoke.data.batches import training_batch
from ipoke.errors import InputError
from ipoke.model import PokeModel
from ipoke.training.latent_flow_stage import LatentFlowStage
from ipoke.training.stage import Moment
from tiny import MovingSquares, tiny_recipe

FRAMES = 4


def moment(seed=0):
    return Moment(0, 0.0, torch.Generator().manual_seed(seed))


def make(*overrides):
    recipe = tiny_recipe(*overrides)
    torch.manual_seed(0)
    model = PokeModel(recipe)
    stage = LatentFlowStage(model, torch.device("cpu"))
    poked = recipe.pokes.model_copy(update={"zero_poke_fraction": 0.0})
    batch = training_batch(MovingSquares(), poked, None, seed=0, first=0, batch=2, with_tracks=True)
    stage.begin(batch, moment())
    return stage, model, batch


def terms(stage, batch, seed=0):
    (move,) = stage.moves(batch, moment(seed))
    return move.terms


def say(model, monkeypatch, motion_of):
    """Let samples move as told: by a function of the numbers of the frames asked for."""
    asked: list[list[int]] = []

    def motion(z, source, frames, *, only):
        assert len(z) == len(source) == 4
        assert frames == FRAMES
        asked.append(only)
        return motion_of(only).repeat(2, 1, 1, 1, 1).requires_grad_()

    monkeypatch.setattr(model.autoencoder, "motion", motion)
    return asked


def test_the_likelihood_alone_where_the_recipe_says_so():
    stage, _, batch = make()
    assert terms(stage, batch).keys() == {"nll_nats"}


def test_the_score_teaches_flow_and_conditions_and_nothing_else():
    moves_at_once = ("clip_decoder.maps=true", "clip_decoder.rollout_straight=true")
    stage, model, batch = make("latent_flow.motion_score=10.0", *moves_at_once)
    with torch.no_grad():  # as it is made, what depends on the condition is multiplied by zero
        for parameter in model.latent_flow.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    found = terms(stage, batch)
    assert found.keys() == {"nll_nats", "motion_score"}
    found["motion_score"].backward()
    for part in (model.latent_flow, model.conditions):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())
    assert all(p.grad is None for p in model.autoencoder.parameters())


def test_samples_that_move_as_the_clip_does_score_zero(monkeypatch):
    stage, model, batch = make("latent_flow.motion_score=10.0")
    say(model, monkeypatch, lambda only: batch.tracks[:, only])
    assert terms(stage, batch)["motion_score"].item() == pytest.approx(0, abs=1e-4)


def test_samples_that_are_off_score_how_far_times_the_weight(monkeypatch):
    stage, model, batch = make("latent_flow.motion_score=10.0")
    say(model, monkeypatch, lambda only: batch.tracks[:, only] + torch.tensor([3.0, 4.0]).view(2, 1, 1))
    # Both samples are 5 px off and alike; distances are rounded off at 0.1 px.
    assert terms(stage, batch)["motion_score"].item() == pytest.approx(10 * (25.01**0.5 - 0.1), rel=1e-4)


def test_poked_pixels_count_more(monkeypatch):
    stage, model, batch = make("latent_flow.motion_score=1.0", "latent_flow.motion_score_poked=3.0")
    poked = (batch.poke_map != 0).any(1)[:, None, None]
    say(model, monkeypatch, lambda only: batch.tracks[:, only] + 5.0 * poked)
    wanted = 4 * poked.float().mean() * (50.01**0.5 - 0.1)
    assert terms(stage, batch)["motion_score"].item() == pytest.approx(wanted.item(), rel=1e-3)


def test_the_last_frame_is_scored_in_half_of_the_steps(monkeypatch):
    stage, model, batch = make("latent_flow.motion_score=1.0")
    asked = say(model, monkeypatch, lambda only: batch.tracks[:, only])
    for seed in range(60):
        terms(stage, batch, seed)
    counts = Counter(frame for (frame,) in asked)
    assert set(counts) == set(range(FRAMES))
    assert 30 < counts[FRAMES - 1] < 50


def test_it_needs_a_decoder_that_moves_and_tracks():
    with pytest.raises(InputError, match=r'needs clip_decoder\.output = "move"'):
        tiny_recipe("latent_flow.motion_score=1.0", "clip_decoder.output=paint")
    with pytest.raises(InputError, match=r"needs clip_encoder\.sees_tracks"):
        tiny_recipe(
            "latent_flow.motion_score=1.0",
            "clip_encoder.sees_tracks=false",
            "autoencoder_losses.motion_between=0",
        )
