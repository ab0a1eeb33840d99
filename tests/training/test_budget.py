import itertools
import json
import time

import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.core.recipe import Recipe, stages_of
from ipoke.core.settings import load_recipe
from ipoke.sampling.model import load
from ipoke.training import budget
from ipoke.training.budget import LONG, NARROW, SHORT, WIDE, make_plan, read_plan, write_plan
from ipoke.training.loop import TrainingStopped
from ipoke.training.train import train
from tiny import Silent, clip_set, stop_after, tiny_recipe

pytestmark = pytest.mark.slow

SPEEDS = {
    **{"autoencoder": 10.0, "image_encoder": 100.0, "poke_encoder": 100.0},
    **{"latent_flow": 20.0, "baseline": 10.0},
}
STAGES = stages_of(load_recipe("lean-64"))


@pytest.fixture(autouse=True)
def standing_clock(monkeypatch):
    monkeypatch.setattr(budget.time, "monotonic", lambda: 0.0)


def lean(hours, *overrides):
    return load_recipe("lean-64", [f"budget.hours={hours}", *overrides])


def width_of(recipe: Recipe) -> float:
    return recipe.clip_encoder.widths[0] / load_recipe("lean-64").clip_encoder.widths[0]


def speed(recipe, name):
    """Say that the cost of a clip grows with the width of the networks, as a line."""
    return SPEEDS[name] / width_of(recipe)


def plan(hours, *overrides, on_gpu=False, processes=1):
    return make_plan(lean(hours, *overrides), on_gpu=on_gpu, processes=processes, speed=speed)


def own_hours():
    """How long the recipe takes as it is."""
    recipe = load_recipe("lean-64")
    return sum(getattr(recipe.train, name).clips / SPEEDS[name] for name in STAGES) / 3600


@pytest.mark.parametrize("times", [0.01, 0.3, 1.0, 1.4, 3.0, 20.0])
def test_a_plan_fills_its_hours_and_no_more(times):
    hours = times * own_hours()
    made = plan(hours)
    seconds = sum(one.seconds for one in made.stages)
    assert 0.9 * 3600 * hours < seconds <= 3600 * hours
    assert [one.stage for one in made.stages] == list(STAGES)
    for one in made.stages:
        settings = getattr(made.recipe.train, one.stage)
        assert settings.clips == one.clips
        assert one.clips % settings.batch == 0
        assert one.seconds == pytest.approx(one.clips / one.clips_per_s)
        assert settings.schedule in ("linear", "cosine")
        assert settings.warmup_clips <= one.clips / 10
        assert settings.ema_half_life_clips <= max(1, one.clips / 20)
    assert Recipe.model_validate(made.recipe.model_dump()) == made.recipe


@pytest.mark.parametrize(
    ("times", "width"), [(0.9 * SHORT, NARROW), (1.1 * SHORT, 1), (1.0, 1), (1.1 * LONG, 1), (2.5 * LONG, WIDE)]
)
def test_the_time_decides_how_wide_networks_are(times, width):
    made = plan(times * own_hours())
    assert made.width == width
    assert width_of(made.recipe) == width
    assert made.recipe.latent_channels == made.asked.latent_channels


def test_stages_share_the_time_as_the_recipe_does():
    made = plan(own_hours())
    recipe = load_recipe("lean-64")
    shares = [one.clips / getattr(recipe.train, one.stage).clips for one in made.stages]
    assert max(shares) < 1.02 * min(shares)


def test_batches_are_larger_on_a_gpu():
    on_cpu, on_gpu = (plan(own_hours(), on_gpu=gpu).recipe.train.autoencoder for gpu in (False, True))
    assert on_gpu.batch == 4 * on_cpu.batch
    assert on_gpu.learning_rate == 2 * on_cpu.learning_rate


def test_a_baseline_has_a_budget_too():
    made = plan(0.5, "method=cvae")
    assert [one.stage for one in made.stages] == ["baseline"]
    assert made.recipe.train.autoencoder.clips == made.stages[0].clips
    assert made.stages[0].seconds <= 1800


def test_too_little_time_is_refused():
    with pytest.raises(InputError, match=r"budget\.hours: got 1e-06, too little for a step of stage autoencoder"):
        plan(1e-6)


def test_what_measuring_takes_is_taken_off(monkeypatch):
    clock = itertools.count(0, 60)
    monkeypatch.setattr(budget.time, "monotonic", lambda: float(next(clock)))
    made = plan(own_hours())
    assert sum(one.seconds for one in made.stages) <= 3600 * own_hours() - 60


@pytest.mark.parametrize("hours", [SHORT / 2, 4 * LONG])
def test_what_starts_from_a_model_keeps_its_width(hours):
    assert plan(hours * own_hours()).width != 1
    made = make_plan(lean(hours * own_hours(), "train.start=scenes-64"), on_gpu=False, processes=1, speed=speed)
    assert made.width == 1


def test_people_are_told(tmp_path):
    made = plan(own_hours())
    first, *others = made.lines()
    assert first.startswith(f"budget of {own_hours():g} h: networks 1 times as wide as in lean-64, ")
    assert len(others) == len(STAGES)
    assert "clips at 10 a second" in others[STAGES.index("autoencoder")]
    write_plan(tmp_path, made)
    assert read_plan(tmp_path, made.asked) == made


def test_broken_and_foreign_plans_are_refused(tmp_path):
    made = plan(own_hours())
    assert read_plan(tmp_path, made.asked) is None
    write_plan(tmp_path, made)
    with pytest.raises(InputError, match="a plan for other settings"):
        read_plan(tmp_path, lean(2.0))
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(InputError, match="not a plan"):
        read_plan(tmp_path, made.asked)


def test_hours_must_be_positive():
    with pytest.raises(InputError, match=r"budget\.hours"):
        lean(0)


@pytest.fixture
def moving_clock(monkeypatch):
    monkeypatch.undo()


@pytest.mark.usefixtures("moving_clock")
def test_a_budget_ends_in_time_with_a_model_and_goes_on_after_a_stop(tmp_path):
    asked = tiny_recipe("budget.hours=0.004", "autoencoder_losses.perceptual=0.0")
    begun = time.monotonic()
    with pytest.raises(TrainingStopped):
        train(clip_set(), asked, tmp_path / "run", reporter=Silent(), should_stop=stop_after(2))
    first = read_plan(tmp_path / "run", asked)
    assert first is not None
    reporter = Silent()
    train(clip_set(), asked, tmp_path / "run", reporter=reporter)
    took = time.monotonic() - begun
    assert read_plan(tmp_path / "run", asked) == first
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for one in first.stages:
        last = [row for row in rows if row["stage"] == one.stage][-1]
        assert last["learning_rate"] == pytest.approx(0, abs=1e-4)
        assert last["clips"] <= one.clips
    model = load(tmp_path / "run")
    assert model.recipe == first.recipe
    assert float(model.facts["trained_s"]) <= 1.5 * sum(one.seconds for one in first.stages) + 5
    assert took < 120
    assert torch.isfinite(torch.cat([p.flatten() for p in model.parameters()])).all()
