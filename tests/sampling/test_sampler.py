"""Clips of several pictures drawn in one batch: each is what it would be alone."""

from dataclasses import replace

import pytest
import torch

import ipoke
from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.networks.nn.spade import Modulation
from ipoke.sampling.model import PokeModel, bundled_stills
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Given, Term, plain_terms
from ipoke.sampling.sampler import Job, Sampler, Samples, finite

STILLS = bundled_stills()
REQUESTS = {
    "still": SampleRequest((Poke(38, 137, 0, 34),), tuple(plain_terms(0, 2))),
    "tulips": SampleRequest((Poke(170, 50, 30, 10), Poke(100, 75, 0, 0)), tuple(plain_terms(3, 1)), frames=4),
    "cat": SampleRequest((), tuple(plain_terms(1, 1)), temperature=0.5),
    "bear": SampleRequest((Poke(225, 75, 0, 40),), ((Term(5, 0, 0.3), Term(6, 0, 0.4)),)),
    "dog": SampleRequest((Poke(215, 75, 20, -20),), tuple(plain_terms(2, 3)), guidance=False),
}


@pytest.fixture(scope="module")
def model() -> PokeModel:
    return ipoke.load("scenes-64")


@pytest.fixture(scope="module")
def jobs(model) -> list[Job]:
    return [model.open(STILLS[name]).prepare(request) for name, request in REQUESTS.items()]


def are_close(one: Samples, other: Samples) -> None:
    for name in ("r", "z", "cond", "states"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-2, atol=5e-3)
    assert one.draws == other.draws


def each_is_as_alone(model: PokeModel, jobs: list[Job]) -> None:
    sampler = Sampler(model)
    for job, together in zip(jobs, sampler.draw(jobs), strict=True):
        are_close(finite(together), finite(sampler.draw([job])[0]))


def test_each_is_as_alone(model, jobs):
    each_is_as_alone(model, jobs)
    assert [len(job.r) for job in jobs] == [2, 1, 1, 1, 3]
    assert [job.jacobian is None for job in jobs] == [False, False, True, False, True]


def test_stills_that_are_mixed_up_are_caught(model, jobs, monkeypatch):
    right = Modulation.cat
    monkeypatch.setattr(Modulation, "cat", staticmethod(lambda of_each: right([of_each[0]] * len(of_each))))
    with pytest.raises(AssertionError):
        each_is_as_alone(model, jobs)


def test_one_that_does_not_come_back_spoils_no_other(model, jobs):
    sampler = Sampler(model)
    given = replace(jobs[4].request, residuals=(Given(b""),) * 3)
    good, bad = sampler.draw([jobs[0], replace(jobs[4], request=given, r=jobs[4].r * float("inf"))])
    are_close(finite(good), finite(sampler.draw([jobs[0]])[0]))
    with pytest.raises(InputError, match="sample 0: its residual does not survive"):
        finite(bad)


def test_clips_are_split_and_joined(model, jobs):
    samples = finite(Sampler(model).draw(jobs[4:])[0])
    again = Samples.cat(samples.singles())
    assert torch.equal(again.states, samples.states)
    assert again.draws == samples.draws
    assert [job.first for job in jobs[4].singles()] == [0, 1, 2]
