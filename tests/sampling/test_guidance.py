"""Guided residuals reach their targets: exactly where motion is linear, and still where it is not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import ipoke
from ipoke.core.settings import load_recipe
from ipoke.data.poke import Poke
from ipoke.sampling import guidance
from ipoke.sampling.guidance import LONGEST_STEP, NEAR_ENOUGH_PX, NOISE_PX, guide, poked_motion

DIMENSIONS, POKES = 12, 2


def linear(scale: float = 1.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    jacobian = scale * torch.randn(2 * POKES, DIMENSIONS, generator=generator, dtype=torch.float64)
    return jacobian, torch.randn(2 * POKES, generator=generator, dtype=torch.float64)


def draws(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, DIMENSIONS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def farthest(missing: Tensor) -> Tensor:
    return missing.unflatten(1, (-1, 2)).norm(dim=2).amax(1)


def guide_all(r: Tensor, motion: Callable[[Tensor], Tensor], jacobian: Tensor, targets: Tensor) -> Tensor:
    count = len(r)
    return guide(
        *(r, torch.arange(count), targets.expand(count, -1), jacobian.expand(count, -1, -1)),
        lambda x, _: motion(x),
    )


def kalman_gain(jacobian: Tensor) -> Tensor:
    noise = NOISE_PX**2 * torch.eye(len(jacobian), dtype=torch.float64)
    return jacobian.T @ torch.linalg.inv(jacobian @ jacobian.T + noise)


def one_step_is_matherons_rule() -> None:
    jacobian, asked = linear()
    r = 0.8 * draws(8)
    got = guide_all(r, lambda x: x @ jacobian.T, jacobian, asked)
    wanted = r + (asked - r @ jacobian.T) @ kalman_gain(jacobian).T
    assert ((wanted - r).norm(dim=1) < LONGEST_STEP).all()
    torch.testing.assert_close(got, wanted)


def draws_are_those_of_the_conditional() -> None:
    jacobian, asked = linear(0.5)
    reached = guide_all(draws(40_000), lambda x: x @ jacobian.T, jacobian, asked)
    # A draw that is near enough stays, so what pokes decide is judged up to that, and what they leave open exactly.
    onto = torch.linalg.pinv(jacobian) @ jacobian
    free = torch.eye(DIMENSIONS, dtype=torch.float64) - onto
    assert farthest(reached @ jacobian.T - asked).max() < NEAR_ENOUGH_PX
    torch.testing.assert_close(reached @ free, draws(40_000) @ free)
    wanted = torch.linalg.pinv(jacobian) @ asked
    assert ((reached @ onto).mean(0) - wanted).norm() < 0.15


@pytest.mark.parametrize("law", [one_step_is_matherons_rule, draws_are_those_of_the_conditional])
def test_where_motion_is_linear(law):
    law()


def test_a_step_the_wrong_way_is_caught(monkeypatch):
    right = guidance._matheron
    monkeypatch.setattr(guidance, "_matheron", lambda jacobian, missing: right(jacobian, -missing))
    for law in (one_step_is_matherons_rule, draws_are_those_of_the_conditional):
        with pytest.raises(AssertionError):
            law()


def bent(x: Tensor) -> Tensor:
    jacobian, _ = linear()
    return 3 * (x @ jacobian.T / 3).tanh() + 0.1 * (x[:, :4] ** 2)


def test_a_jacobian_that_is_off_is_corrected_on_the_way():
    jacobian, _ = linear()
    asked = torch.tensor([0.5, -0.5, 1.0, 0.2], dtype=torch.float64)
    r = draws(16)
    before = farthest(bent(r) - asked)
    after = farthest(bent(guide_all(r, bent, jacobian, asked)) - asked)
    assert before.median() > 2
    assert after.median() < NEAR_ENOUGH_PX
    assert (after <= before).all()


def test_a_step_that_leads_nowhere_is_undone():
    jacobian, asked = linear()
    r = draws(4)

    def cliff(x: Tensor) -> Tensor:
        return torch.where((x - r).norm(dim=1, keepdim=True) > 1e-9, float("nan"), x @ jacobian.T) if len(x) == 4 else x

    assert torch.equal(guide_all(r, cliff, jacobian, asked), r)


def flying_beyond(most: float) -> Callable[[Tensor], Tensor]:
    jacobian, _ = linear()
    return lambda x: torch.where(x.norm(dim=1, keepdim=True) > most, float("nan"), x @ jacobian.T)


def test_a_draw_that_flies_off_by_itself_is_shrunk_and_then_guided():
    jacobian, asked = linear()
    r = draws(6)
    r[2] *= 100 / r[2].norm()
    tame = r.clone()
    tame[2] *= 0.85**12
    assert tame[2].norm() > 14
    motion = flying_beyond(16.0)
    got = guide_all(r, motion, jacobian, asked)
    torch.testing.assert_close(got, guide_all(tame, motion, jacobian, asked))
    assert farthest(got @ jacobian.T - asked)[2] < farthest(tame @ jacobian.T - asked)[2] - 1
    assert torch.equal(got[[0, 1, 3, 4, 5]], guide_all(r[[0, 1, 3, 4, 5]], motion, jacobian, asked))


def test_a_draw_that_cannot_be_tamed_stays_as_it_was():
    jacobian, asked = linear()
    r = draws(3)
    assert torch.equal(guide_all(r, flying_beyond(0.01), jacobian, asked), r)


def test_rows_do_not_influence_one_another():
    jacobian, asked = linear()
    r = draws(5)
    together = guide_all(r, bent, jacobian, asked)
    alone = torch.cat([guide_all(r[i : i + 1], bent, jacobian, asked) for i in range(5)])
    torch.testing.assert_close(together, alone)


@pytest.fixture(scope="module")
def asked():
    return [Poke(x=38, y=137, dx=0, dy=34)]


def predicted_error(model, pokes, seeds, *, guidance=True):
    picture = model.open(ipoke.bundled_still())
    inner = [picture.still.to_model(poke) for poke in pokes]
    _, motion = model.sample_with_motion(picture.still.source[None], [inner], [seeds], guidance=guidance)
    ends = np.array([motion[0, :, :, round(poke.y), round(poke.x)].numpy() for poke in inner])
    wanted = np.array([[poke.dx, poke.dy] for poke in inner])[:, None]
    return np.hypot(*np.moveaxis(ends - wanted, -1, 0))


def test_the_bundled_model_does_as_it_is_asked(asked):
    model, seeds = ipoke.load("scenes-64"), list(range(6))
    guided = predicted_error(model, asked, seeds)
    unguided = predicted_error(model, asked, seeds, guidance=False)
    assert guided.max() < 1 < np.median(unguided)
    assert guided.mean() < 0.3 * unguided.mean()


def test_a_pin_holds_while_its_neighbour_is_dragged(asked):
    model = ipoke.load("scenes-64")
    pinned = [*asked, Poke(x=120, y=200, dx=0, dy=0)]
    errors = predicted_error(model, pinned, [0, 1, 2])
    assert errors[0].mean() < 1
    assert errors[1].max() < 0.5


def test_samples_still_differ(asked):
    clips = ipoke.load("scenes-64").poke(ipoke.bundled_still(), asked, samples=3)
    assert np.abs(clips[0].astype(int) - clips[1]).mean() > 0.5


def test_without_pokes_there_is_nothing_to_guide():
    model = ipoke.load("scenes-64")
    free = model.poke(ipoke.bundled_still(), [], samples=2)
    assert (free == model.poke(ipoke.bundled_still(), [], samples=2, guidance=False)).all()


def test_a_spade_decoder_predicts_no_motion_to_guide_by():
    recipe = load_recipe("tiny-64", ["clip_decoder.kind=spade"])
    assert not ipoke.PokeModel(recipe).predicts_motion


def no_pixel_flies_off() -> None:
    side, places = 4, torch.tensor([[2, 2]])

    def motion_field(r: Tensor) -> Tensor:
        # The poked pixel goes with the residual, and the one in the corner three times as far.
        motion = r[:, :, None, None].expand(-1, -1, side, side).clone()
        motion[:, :, 0, 0] *= 3
        return motion

    def motion(r: Tensor) -> Tensor:
        return poked_motion(motion_field(r), places.expand(len(r), -1, -1))

    field = motion_field(guide_all(torch.zeros(3, 2), motion, torch.eye(2), torch.tensor([3.0, 0.0])))
    assert (field[:, 0, 2, 2] > 1).all(), "the poke leads nowhere"
    assert field.abs().max() <= side


def test_no_pixel_flies_off_while_another_is_dragged():
    no_pixel_flies_off()


def test_a_bound_forgotten_is_caught(monkeypatch):
    monkeypatch.setattr(guidance, "WILDEST", 1e12)
    with pytest.raises(AssertionError):
        no_pixel_flies_off()


def test_a_useless_jacobian_leaves_residuals_as_they_were():
    _, asked = linear()
    r = draws(4)
    useless = torch.full((2 * POKES, DIMENSIONS), float("nan"), dtype=torch.float64)
    assert torch.equal(guide_all(r, lambda x: x @ linear()[0].T, useless, asked), r)
