"""Clips of several pictures drawn in one batch: each is what it would be alone."""

import pytest
import torch

import ipoke
from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.sampling import drawing
from ipoke.sampling.drawing import Wanted, finite
from ipoke.sampling.model import PokeModel, bundled_stills
from ipoke.sampling.open_picture import Asked
from ipoke.sampling.residual_terms import Term, plain_terms

STILLS = bundled_stills()
ASKED = {
    "still": Asked((Poke(38, 137, 0, 34),), tuple(plain_terms(0, 2))),
    "tulips": Asked((Poke(170, 50, 30, 10), Poke(100, 75, 0, 0)), tuple(plain_terms(3, 1)), frames=4),
    "cat": Asked((), tuple(plain_terms(1, 1)), temperature=0.5),
    "bear": Asked((Poke(225, 75, 0, 40),), ((Term(5, 0, 0.3), Term(6, 0, 0.4)),)),
    "dog": Asked((Poke(215, 75, 20, -20),), tuple(plain_terms(2, 3)), reaches=False),
}


@pytest.fixture(scope="module")
def model() -> PokeModel:
    return ipoke.load("scenes-64")


@pytest.fixture(scope="module")
def wanted(model) -> list[Wanted]:
    return [model.open(STILLS[name]).wanted(asked) for name, asked in ASKED.items()]


def each_is_as_alone(model: PokeModel, wanted: list[Wanted]) -> None:
    networks = model.open(STILLS["still"]).drawing
    for one, together in zip(wanted, networks.together(wanted), strict=True):
        (alone,) = networks.together([one])
        torch.testing.assert_close(finite(together), finite(alone), rtol=1e-2, atol=5e-3)


def test_each_is_as_alone(model, wanted):
    each_is_as_alone(model, wanted)
    assert [len(one.r) for one in wanted] == [2, 1, 1, 1, 3]
    assert [one.gain is None for one in wanted] == [False, False, True, False, True]


def test_stills_that_are_mixed_up_are_caught(model, wanted, monkeypatch):
    right = drawing.stacked
    monkeypatch.setattr(drawing, "stacked", lambda of_each: right([of_each[0]] * len(of_each)))
    with pytest.raises(AssertionError):
        each_is_as_alone(model, wanted)


def test_one_that_does_not_come_back_spoils_no_other(model, wanted):
    networks = model.open(STILLS["still"]).drawing
    spoilt = wanted[4]._replace(r=wanted[4].r * float("inf"), redraw=lambda row, times: None)
    good, bad = networks.together([wanted[0], spoilt])
    torch.testing.assert_close(finite(good), finite(networks.together([wanted[0]])[0]), rtol=1e-2, atol=5e-3)
    with pytest.raises(InputError, match="sample 0: its residual is too far off"):
        finite(bad)
