import math
from typing import Any

import pytest
import torch
from torch import nn

from ipoke.core.sections import StageSettings
from ipoke.training.schedule import WeightAverage, learning_rate


def settings(**changes: Any):
    given: dict[str, Any] = {"clips": 1000, "batch": 10, "learning_rate": 2e-3} | changes
    return StageSettings(**given)


def test_a_constant_rate():
    assert [learning_rate(settings(), clips) for clips in (0, 500, 999)] == [2e-3] * 3


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "exponential"])
def test_the_warm_up_is_linear_and_starts_at_zero(schedule):
    warming = settings(warmup_clips=200, schedule=schedule, decay_clips=10_000)
    rates = [learning_rate(warming, clips) for clips in (0, 50, 100, 200)]
    assert rates == pytest.approx([0, 0.5e-3, 1e-3, 2e-3])


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("linear", [1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0]),
    ],
)
def test_a_falling_rate_in_closed_form(schedule, shares):
    falling = settings(clips=1200, warmup_clips=200, schedule=schedule)
    rates = [learning_rate(falling, clips) for clips in (200, 450, 700, 950, 1200)]
    assert rates == pytest.approx([2e-3 * share for share in shares], abs=1e-12)
    assert learning_rate(falling, 5000) == pytest.approx(0, abs=1e-12)


def test_an_exponential_rate_falls_in_steps():
    falling = settings(schedule="exponential", decay=0.5, decay_clips=100)
    assert [learning_rate(falling, clips) for clips in (0, 99, 100, 250)] == pytest.approx([2e-3, 2e-3, 1e-3, 5e-4])


def test_a_warm_up_as_long_as_the_stage_is_allowed():
    assert learning_rate(settings(warmup_clips=1000, schedule="linear"), 999) == pytest.approx(2e-3 * 0.999)


class Module(nn.Module):
    count: torch.Tensor

    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([float(value)], dtype=torch.float64))
        self.register_buffer("count", torch.tensor(int(value)))


def test_after_a_half_life_half_of_the_old_weights_is_left():
    average = WeightAverage(Module(0), half_life_clips=40)
    for step in range(4):
        average.update(Module(8), clips=10_000 + 10 * step, batch=10)
    assert average.state()["weight"].item() == pytest.approx(4)


def test_early_on_the_half_life_is_a_twentieth_of_what_was_seen():
    average = WeightAverage(Module(0), half_life_clips=1000)
    average.update(Module(8), clips=200, batch=10)
    assert average.state()["weight"].item() == pytest.approx(4)
    average.update(Module(8), clips=400, batch=20)
    assert average.state()["weight"].item() == pytest.approx(6)


def test_a_half_life_of_zero_keeps_the_last_weights():
    average = WeightAverage(Module(0), half_life_clips=0)
    for value in (3, 7):
        average.update(Module(value), clips=10, batch=10)
    assert average.state()["weight"].item() == 7


def test_buffers_are_copied_and_the_module_is_left_alone():
    module = Module(2)
    average = WeightAverage(Module(0), half_life_clips=1000)
    average.update(module, clips=100_000, batch=10)
    assert average.state()["count"].item() == 2
    assert 0 < average.state()["weight"].item() < 0.1
    assert module.weight.item() == 2
    with torch.no_grad():
        module.weight.fill_(100)
    assert average.state()["weight"].item() < 0.1
