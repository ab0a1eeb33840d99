import math

import numpy as np
import pytest
import torch
from torch import nn

from ipoke.core.model_files import read_tensors
from ipoke.core.runs import Run
from ipoke.core.sections import StageSettings
from ipoke.data.batches import TrainingClips, training_batches
from ipoke.training.loop import TrainingStopped
from ipoke.training.outliers import FIRST_STEPS, Outliers
from ipoke.training.stage import LossStep, Stage
from tiny import clip_set, loop_of, stop_after, tiny_recipe


def left_out(norms, bound=10.0):
    outliers = Outliers(bound)
    return [step for step, norm in enumerate(norms) if outliers.has(torch.tensor(float(norm)))]


def test_what_is_far_larger_than_usual_is_left_out():
    norms = [700 + 300 * math.sin(step) for step in range(200)]
    assert left_out(norms) == []
    norms[150] = 6.8e14
    assert left_out(norms) == [150]
    assert left_out(norms, bound=0.0) == []


def test_gradients_that_shrink_are_all_taken():
    assert left_out([30_000 * 0.9**step + 500 for step in range(300)]) == []


def test_the_first_steps_are_taken_whatever_they_are():
    norms = [1.0, 1e9, 1.0] * 6
    assert len(norms) <= FIRST_STEPS
    assert left_out(norms) == []


def test_gradients_that_stay_large_become_usual():
    found = left_out([1.0] * 100 + [1e6] * 100)
    assert found == list(range(100, 100 + len(found)))
    assert 20 < len(found) < 60


def test_a_row_of_outliers_is_left_out_whole():
    assert left_out([1.0] * 100 + [1e12] * 5 + [1.0] * 20) == list(range(100, 105))


class Slope(Stage):
    """Climb down a slope that is a cliff to the side at a few clips."""

    name = "latent_flow"

    def __init__(self, bound, cliffs):
        settings = StageSettings(clips=200, batch=2, learning_rate=0.1, gradient_clip=1.0, gradient_skip=bound)
        torch.manual_seed(0)
        self.place, self.cliffs = nn.Linear(2, 1, bias=False), cliffs
        super().__init__(settings, {"latent_flow": self.place}, torch.device("cpu"))

    def loss_steps(self, batch, context):
        ahead, aside = self.place.weight[0]
        slope = 1 + 0.1 * torch.rand((), generator=context.generator)
        side = -1e12 if context.clips in self.cliffs else 1e-3
        yield LossStep("latent_flow", {"height": slope * ahead + side * aside}, {})

    def picture(self, batch, context):
        return np.zeros((1, 1, 3), np.uint8)


def trained(out, stage, steps):
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    (out / "samples").mkdir(exist_ok=True)
    loop = loop_of(stage, out, stop_after(steps))
    recipe = tiny_recipe()
    with pytest.raises(TrainingStopped):
        loop.train(
            lambda start: training_batches(
                TrainingClips(clip_set(), recipe.pokes, None, seed=0, with_tracks=False), batch=2, start=start
            )
        )
    return read_tensors(Run(out).checkpoint("latent_flow"))[0]


WEIGHT = "module/latent_flow/weight"


def test_a_cliff_is_passed_by(tmp_path):
    """Adam's step is no longer for a longer gradient, but it goes aside as far as nothing ever did, for many steps."""
    smooth = trained(tmp_path / "smooth", Slope(20.0, cliffs=()), 39)
    with_cliff = trained(tmp_path / "cliff", Slope(20.0, cliffs=(60,)), 40)
    unprotected = trained(tmp_path / "unprotected", Slope(0.0, cliffs=(60,)), 40)
    assert with_cliff["outliers/latent_flow"][2] == 1
    assert smooth["outliers/latent_flow"][2] == 0
    assert (with_cliff[WEIGHT] - smooth[WEIGHT]).abs().max() < 0.01
    assert (unprotected[WEIGHT] - smooth[WEIGHT]).abs().max() > 0.5


def test_what_is_usual_is_remembered_over_a_stop(tmp_path):
    cliffs = (60, 62, 90)
    once = trained(tmp_path / "once", Slope(20.0, cliffs), 50)
    for steps in (30, 1, 19):
        twice = trained(tmp_path / "twice", Slope(20.0, cliffs), steps)
    assert once["outliers/latent_flow"][2] == 3
    assert all(torch.equal(once[name], twice[name]) for name in once)
