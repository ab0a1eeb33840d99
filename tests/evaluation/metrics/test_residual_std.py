"""The energy score chooses the standard deviation of the truth."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ipoke.data.clips import ClipSet
from ipoke.evaluation.metrics import residual_std
from ipoke.evaluation.metrics.residual_std import Trial, best_of, try_residual_stds
from ipoke.sampling.model import PokeModel

TRUE, STDS, POINTS, CLIPS = 1.5, (0.75, 1.5, 3.0), 6, 40


class Gaussians:
    """Truths of one standard deviation, and samples of the model's."""

    def __init__(self, sampler: Any, *_: Any, samples: int, **__: Any) -> None:
        self.sampler, self.samples = sampler, samples

    def truths(self, question: int) -> dict[str, Any]:
        rng = np.random.default_rng([0, question])
        return {"start": np.zeros((POINTS, 2)), "truths": TRUE * rng.standard_normal((self.samples, POINTS, 2))}

    def sampled(self, question: int, start: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([1, question])
        return start + self.sampler.residual_std * rng.standard_normal((self.samples, POINTS, 2))


@pytest.fixture(autouse=True)
def gaussians(monkeypatch):
    monkeypatch.setattr(residual_std, "CloudMaker", Gaussians)
    monkeypatch.setattr(residual_std, "questions_of", lambda *_, most, **__: (None, list(range(most))))


def tried() -> list[Trial]:
    model, told = SimpleNamespace(residual_std=0.5), []
    found = try_residual_stds(
        cast(PokeModel, model),
        cast(ClipSet, None),
        most=CLIPS,
        samples=20,
        seed=0,
        progress=lambda done, total: told.append((done, total)),
        residual_stds=STDS,
    )
    assert model.residual_std == 0.5
    assert told[-1] == (CLIPS * len(STDS), CLIPS * len(STDS))
    return found


def the_true_std_is_found() -> None:
    found = tried()
    assert best_of(found).residual_std == TRUE
    coverages = [one.coverage_90 for one in found]
    assert coverages == sorted(coverages)
    assert coverages[1] == pytest.approx(0.9, abs=0.03)


def test_the_true_std_is_found():
    the_true_std_is_found()


def test_a_score_that_is_not_proper_is_caught(monkeypatch):
    monkeypatch.setattr(
        residual_std, "energy_score", lambda cloud, truths: float(np.linalg.norm(cloud - truths, axis=-1).mean())
    )
    with pytest.raises(AssertionError):
        the_true_std_is_found()
