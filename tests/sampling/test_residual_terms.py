import math

import pytest
import torch

from ipoke.sampling.residual_terms import Given, Noise, Term, draw_residuals, plain_terms, redrawn, sample_seed
from tiny import tiny_model

LATENT_FLOW = tiny_model().latent_flow


def drawn(*residuals):
    return draw_residuals(LATENT_FLOW, residuals)


def test_a_plain_residual_is_the_draw_of_its_seed():
    assert torch.equal(drawn(*plain_terms(7, 3)), LATENT_FLOW.base_noise([sample_seed(7, i) for i in range(3)]))


def test_any_mix_is_standard_normal():
    mixes = [tuple(Term(seed, i, weight) for i, weight in enumerate((3.0, -1.0, 0.5))) for seed in range(60)]
    r = drawn(*mixes)
    assert r.mean().item() == pytest.approx(0, abs=0.02)
    assert r.std().item() == pytest.approx(1, abs=0.02)


def test_a_step_turns_by_its_angle():
    steps = [(Term(1, 0, math.cos(angle)), Term(2, 0, math.sin(angle))) for angle in (0.0, 0.35, math.pi / 2)]
    first, middle, last = drawn(*steps)
    torch.testing.assert_close(first, drawn((Term(1, 0),))[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(last, drawn((Term(2, 0),))[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(middle, math.cos(0.35) * first + math.sin(0.35) * last, atol=1e-5, rtol=0)


def test_noise_is_the_draw_of_its_generator_seed_and_so_are_its_next_draws():
    assert torch.equal(drawn(Noise(9)), LATENT_FLOW.base_noise([9]))
    again = redrawn(Noise(9), 2)
    assert again is not None
    assert torch.equal(drawn(again), LATENT_FLOW.base_noise([sample_seed(9, 0, 2)]))


def test_a_residual_is_redrawn_term_by_term_unless_it_is_given():
    assert redrawn((Term(1, 2, 0.5, 1), Term(3, 4)), 2) == (Term(1, 2, 0.5, 3), Term(3, 4, 1.0, 2))
    assert redrawn(Given(b""), 1) is None


@pytest.mark.parametrize("terms", [(), (Term(0, 0, 0.0),)])
def test_nothing_is_no_residual(terms):
    with pytest.raises(ValueError, match="no term with a weight other than 0"):
        drawn(terms)
