"""Figures of one question's answers, where their values are known."""

import pytest
import torch

from ipoke.core.pixels import clip_from_frames
from ipoke.evaluation.metrics.answer import Answer
from ipoke.evaluation.metrics.measure import measure_lpips
from ipoke.evaluation.metrics.questions import Question
from ipoke.networks.autoencoder.lpips import Lpips

FRAMES = torch.randint(0, 256, (4, 64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
TRUTH = clip_from_frames(FRAMES)[1:]
OTHER, THIRD = TRUTH.flip(-1), TRUTH.flip(-2)


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    torch.manual_seed(0)
    network = Lpips("squeeze").requires_grad_(False)
    for weight in network.weights:
        weight.uniform_()
    return network


def score_of(lpips: Lpips, *samples: torch.Tensor) -> float:
    question = Question(clip=0, video="random", pokes=((1, 1, 1, 1),), pin=None)
    answer = Answer(question, question.first_pokes(), FRAMES, torch.stack(samples), None)
    return measure_lpips(answer, lpips, "lpips")["energy_score_lpips"]


def distance(lpips: Lpips, one: torch.Tensor, other: torch.Tensor) -> float:
    return float(lpips(one, other).mean().sqrt())


def test_samples_that_do_not_differ_score_their_distance(lpips):
    assert score_of(lpips, OTHER, OTHER) == pytest.approx(distance(lpips, OTHER, TRUTH), rel=1e-4)


def test_the_truth_among_two_samples_takes_the_other_one_back(lpips):
    assert score_of(lpips, TRUTH, OTHER) == pytest.approx(0, abs=1e-4)


def test_three_samples_by_hand(lpips):
    to_truth = [distance(lpips, one, TRUTH) for one in (OTHER, THIRD)]
    pairs = [*to_truth, distance(lpips, OTHER, THIRD)]
    assert score_of(lpips, TRUTH, OTHER, THIRD) == pytest.approx(sum(to_truth) / 3 - sum(pairs) / 6, abs=1e-4)
