import math

import pytest
import torch

from ipoke.core.recipe import Recipe
from ipoke.data.batches import TrainingClips, training_batch
from ipoke.sampling.model import PokeModel
from ipoke.training.condition_stages import PokeEncoderStage
from ipoke.training.stage import StepContext
from tiny import MovingSquares, tiny_recipe


def moment():
    return StepContext(0, 0.0, torch.Generator().manual_seed(0))


def batch(recipe: Recipe, count=4):
    clips, poked = MovingSquares(), recipe.pokes.model_copy(update={"zero_poke_fraction": 0.0})
    return training_batch(TrainingClips(clips, poked, None, seed=0), first=0, batch=count)


def stage(error):
    torch.manual_seed(0)
    recipe = tiny_recipe(f"poke_encoder.error={error}")
    return PokeEncoderStage(PokeModel(recipe).conditions, recipe, None, torch.device("cpu")), batch(recipe)


def the_loss_step(of, seen):
    (loss_step,) = of.loss_steps(seen, moment())
    return loss_step


@pytest.mark.parametrize(("error", "power"), [("absolute", 1), ("squared", 2)])
def test_the_poke_encoder_descends_the_error_it_was_asked_for(error, power, monkeypatch):
    encoder, seen = stage(error)
    monkeypatch.setattr(encoder, "_predict", lambda batch: batch.optical_flow - 0.5)
    with torch.no_grad():
        encoder.scaled_error.log_scale.fill_(0.7)
    places = 2 * 64 * 64
    expected = places * (0.5**power / math.exp(0.7) + 0.7)
    loss_step = the_loss_step(encoder, seen)
    assert loss_step.player == "poke_encoder"
    assert set(loss_step.terms) == {"optical_flow_nll"}
    assert loss_step.terms["optical_flow_nll"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("error", ["absolute", "squared"])
@pytest.mark.parametrize(("share", "unexplained"), [(1.0, 0.0), (0.75, 0.0625), (0.0, 1.0), (-1.0, 4.0)])
def test_the_variance_left_unexplained_in_closed_form(error, share, unexplained, monkeypatch):
    encoder, seen = stage(error)
    monkeypatch.setattr(encoder, "_predict", lambda batch: share * batch.optical_flow)
    figures = the_loss_step(encoder, seen).figures
    still = figures["endpoint_error_of_no_motion_px"].item()
    assert still > 0
    assert figures["unexplained_variance"].item() == pytest.approx(unexplained, abs=1e-6)
    assert figures["endpoint_error_px"].item() == pytest.approx(abs(1 - share) * still, abs=1e-6)


def test_the_squared_error_asks_for_the_mean_and_the_absolute_one_for_the_median():
    wanted = torch.tensor([0.0, 0.0, 8.0])
    found = {}
    for error, seen in ((name, stage(name)) for name in ("absolute", "squared")):
        encoder, given = seen
        given = given._replace(optical_flow=wanted.view(3, 1, 1, 1).expand(3, 2, 64, 64), clip=given.clip[:3])
        losses = []
        for guess in torch.linspace(0, 8, 25):
            encoder._predict = lambda batch, guess=guess: guess.expand_as(batch.optical_flow)
            losses.append(the_loss_step(encoder, given).terms["optical_flow_nll"].item())
        found[error] = 8 * losses.index(min(losses)) / 24
    assert found["absolute"] == 0
    assert found["squared"] == pytest.approx(8 / 3, abs=0.2)


@pytest.mark.parametrize("error", ["absolute", "squared"])
def test_only_the_poke_encoder_learns_from_it(error):
    encoder, seen = stage(error)
    the_loss_step(encoder, seen).terms["optical_flow_nll"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.conditions.poke.parameters())
    assert all(p.grad is None for p in encoder.conditions.image.parameters())


def test_pictures_of_pokes_are_drawn():
    encoder, seen = stage("squared")
    with torch.no_grad():
        assert encoder.picture(seen, moment()).shape == (3 * 64, 4 * 64, 3)
