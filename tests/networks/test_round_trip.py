"""A residual that does not come back from its latent is drawn again or refused, and never shown."""

import warnings

import numpy as np
import pytest
import torch

import ipoke
from ipoke.core.errors import InputError
from ipoke.core.sections import LatentFlowSettings
from ipoke.core.settings import load_recipe
from ipoke.data.poke import Poke
from ipoke.evaluation.metrics.round_trips import measure_round_trips
from ipoke.networks import round_trip
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.latent_flow import LatentFlow
from ipoke.networks.round_trip import comes_back, round_trip_errors
from ipoke.sampling import sampler
from ipoke.sampling.model import PokeModel, bundled_still
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Term, given, plain_terms, redrawn

BOUND = 1e-5
"""What the lean recipes promise of every residual up to three standard deviations."""
WILD = 2.0
SEED, SAMPLES = 4, 6
"""Of which the third and the sixth do not come back at that temperature."""


def lean(seen_bound: float | None) -> LatentFlow:
    """Build the latent flow of lean-64 with weights far from where training starts."""
    settings = load_recipe("lean-64").latent_flow.model_copy(update={"seen_bound": seen_bound})
    latent_flow = LatentFlow(LatentFlowSettings(**settings.model_dump()), channels=16, cond_channels=8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in latent_flow.named_parameters():
            if name.endswith(("gain", "bias")):
                parameter += 0.25 * torch.randn(parameter.shape, generator=generator)
    z, cond = (torch.randn(4, channels, 8, 8, generator=generator) for channels in (16, 8))
    latent_flow.initialise(z, cond)
    return latent_flow.eval()


def unbound() -> PokeModel:
    """Give the bundled model as it was trained, without a bound on what conditioners see."""
    model = ipoke.load("scenes-64")
    for module in model.latent_flow.modules():
        if isinstance(module, MaskedConv | AffineCoupling):
            module.seen_bound = None
    return model


@pytest.fixture(scope="module")
def wild() -> PokeModel:
    return unbound()


def request(temperature: float = 1.0) -> SampleRequest:
    return SampleRequest.of_seed([], samples=SAMPLES, seed=SEED, temperature=temperature)


@pytest.mark.parametrize("scale", [1, 3])
def test_lean_flows_bring_residuals_back(scale):
    conds = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    assert round_trip_errors(lean(8.0), conds, scale, range(16)).max() < BOUND


def test_the_bound_is_what_does_it():
    conds = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    assert round_trip_errors(lean(None), conds, 3, range(16)).max() > BOUND


def test_what_comes_back_is_told_from_what_does_not(wild):
    latent_flow, cond = wild.latent_flow, wild.open(bundled_still()).condition([]).expand(40, -1, -1, -1)
    r = WILD * latent_flow.base_noise(list(range(40)))
    with torch.no_grad():
        z = latent_flow.approximate_latent(r, cond)
        error = (latent_flow.bijection(z, cond)[0] - r).abs().flatten(1).amax(1) / r.abs().flatten(1).amax(1)
    good = comes_back(latent_flow, r, z, cond)
    assert 0 < good.sum() < len(good)
    assert error[good].max() < round_trip.TOLERANCE
    assert z[good].abs().max() <= round_trip.FARTHEST
    assert not good[(error > round_trip.TOLERANCE) | (z.abs().flatten(1).amax(1) > round_trip.FARTHEST)].any()
    z[0] = torch.nan
    assert not comes_back(latent_flow, r[:1], z[:1], cond[:1]).any()


def test_samples_are_drawn_again_one_by_one_and_it_is_said(wild):
    picture = wild.open(bundled_still())
    drawn = picture.draw(request(WILD))
    (again,) = (torch.tensor(drawn.draws) > 1).nonzero(as_tuple=True)
    assert again.tolist() == [2, 5]
    assert drawn.z.abs().max() <= round_trip.FARTHEST
    first = int(again[0])
    with pytest.warns(UserWarning, match=f"^sample {first}: .* draw {drawn.draws[first]} is shown$"):
        clips = wild.poke(bundled_still(), [], samples=first + 1, seed=SEED, temperature=WILD)
    assert np.array_equal(clips, picture.show(drawn)[: first + 1])
    named = redrawn(plain_terms(SEED, SAMPLES)[first], drawn.draws[first] - 1)
    assert named is not None
    alone = wild.open(bundled_still()).draw(SampleRequest((), (named,), temperature=WILD))
    assert torch.equal(alone.r[0], drawn.r[first])
    assert alone.draws == (1,)


def test_nothing_is_drawn_again_at_the_temperature_of_training(wild):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(wild.open(bundled_still()).draw(request()).draws) == {1}


def test_without_the_check_it_would_be_shown(wild, monkeypatch):
    monkeypatch.setattr(sampler, "comes_back", lambda latent_flow, r, *_: torch.ones(len(r), dtype=torch.bool))
    drawn = wild.open(bundled_still()).draw(request(WILD))
    assert set(drawn.draws) == {1}
    assert not drawn.z.abs().max() <= round_trip.FARTHEST


def test_a_residual_that_was_given_is_refused(wild):
    residual = given(5 * wild.latent_flow.base_noise([0])[0])
    assert redrawn(residual, 1) is None
    with pytest.raises(InputError, match=r"^sample 1: its residual does not survive .* take another seed"):
        wild.open(bundled_still()).draw(SampleRequest((), ((Term(0, 0),), residual)))


def test_a_sample_that_never_comes_back_is_given_up(wild, monkeypatch):
    seen = []

    def never(latent_flow, r, *_):
        seen.append(r.clone())
        return torch.zeros(len(r), dtype=torch.bool)

    monkeypatch.setattr(sampler, "comes_back", never)
    with pytest.raises(InputError, match=r"^sample 0: its residual does not survive"):
        wild.poke(bundled_still(), [])
    assert len(seen) == sampler.MOST_DRAWS
    assert len({float(r.sum()) for r in seen}) == sampler.MOST_DRAWS


def test_evaluation_draws_again_too(wild):
    context = wild.open(bundled_still()).still.source[:, None]
    seeds = [list(range(100, 112))]
    wild.residual_std = WILD
    try:
        clips = wild.sample_clips(context, [[]], seeds)
    finally:
        wild.residual_std = 1.0
    assert clips.isfinite().all()


def test_a_motion_that_does_not_come_back_is_not_carried_over(wild, monkeypatch):
    monkeypatch.setattr(LatentFlow, "to_residual", lambda self, z, cond: (6 * self.base_noise([0]), torch.zeros(1)))
    clip = _still_clip(wild)
    with pytest.raises(InputError, match="does not survive"):
        wild.transfer(clip, bundled_still(), [Poke(32, 32, 4, 0)])


def _still_clip(model: PokeModel) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (model.frames + 1, model.size, model.size, 3), dtype=np.uint8)


def test_a_report_says_where_nothing_comes_back(wild):
    conds = wild.open(bundled_still()).condition([])
    found = measure_round_trips(wild, conds)
    assert found["residual_round_trip_1x"].value is not None
    assert found["residual_round_trip_1x"].value < BOUND
    worst = found["residual_round_trip_10x"]
    assert worst.value is None or worst.value > 1e3
    bounded = measure_round_trips(ipoke.load("scenes-64"), conds)
    assert all(one.value is not None and one.value < BOUND for one in bounded.values())
