"""Every bijection against every law: one table of cases, fresh and with perturbed weights."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ipoke.networks.bijections import masked_conv
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.affine import bounded, log_scale
from ipoke.networks.bijections.bijection import Bijection
from ipoke.networks.bijections.chain import Chain, masked_step, masked_unit
from ipoke.networks.bijections.coupling import AffineCoupling, Part
from ipoke.networks.bijections.masked_conv import MaskedConv, Sweep
from ipoke.networks.bijections.multiscale import LastChannels, Multiscale, factor_out
from ipoke.networks.bijections.permutation import Permutation
from laws import bijection_laws as laws

SWEEPS: tuple[Sweep, ...] = ("down", "up", "right", "left")
PARTS: tuple[Part | int, ...] = ("first half", "second half", "even", "odd", 1)


BOUND = 2.0


def small_step(channels: int, cond: int | None, *, couplings: bool, bound: float | None = None) -> Chain:
    return masked_step(
        channels,
        units=1,
        masked_width=2,
        coupling_width=6,
        cond_channels=cond,
        coupling_cond_channels=cond if couplings else None,
        logit_bound=bound,
    )


def small_multiscale(cond: int | None, *, couplings: bool, bound: float | None = None) -> Multiscale:
    given = cond if couplings else None
    wide = Chain([small_step(3, cond, couplings=couplings, bound=bound), factor_out(3, 1, 6, given, bound)])
    narrow = Chain([small_step(2, cond, couplings=couplings, bound=bound), factor_out(2, 1, 6, given, bound)])
    return Multiscale([wide, narrow], 1)


@dataclass
class Case:
    build: Callable[[], Bijection]
    height: int = 3
    width: int = 4


CASES = {
    "actnorm": Case(lambda: ActNorm(3)),
    "permutation": Case(lambda: Permutation(5)),
    **{f"masked conv {s}": Case(lambda s=s: MaskedConv(2, s, 2)) for s in SWEEPS},
    **{f"conditional masked conv {s}": Case(lambda s=s: MaskedConv(2, s, 2, 3)) for s in SWEEPS},
    **{f"coupling {p}": Case(lambda p=p: AffineCoupling(3, p, 5)) for p in PARTS},
    **{f"conditional coupling {p}": Case(lambda p=p: AffineCoupling(3, p, 5, 2)) for p in PARTS},
    **{f"bounded masked conv {s}": Case(lambda s=s: MaskedConv(2, s, 2, 3, BOUND)) for s in SWEEPS},
    **{
        f"masked conv {s} that sees within bounds": Case(lambda s=s: MaskedConv(2, s, 2, 3, BOUND, 0.7)) for s in SWEEPS
    },
    "coupling that sees within bounds": Case(lambda: AffineCoupling(3, "odd", 5, 2, BOUND, 0.7)),
    "bounded coupling": Case(lambda: AffineCoupling(3, "odd", 5, 2, BOUND)),
    "bounded multiscale": Case(lambda: small_multiscale(2, couplings=True, bound=BOUND), 2, 2),
    "last channels": Case(lambda: LastChannels(3, MaskedConv(2, "down", 2, 3))),
    "unit": Case(lambda: masked_unit(2, 2, None)),
    "conditional unit": Case(lambda: masked_unit(2, 2, 3)),
    "step": Case(lambda: small_step(3, None, couplings=False), 2, 3),
    "conditional step": Case(lambda: small_step(3, 2, couplings=False), 2, 3),
    "step, condition in every layer": Case(lambda: small_step(3, 2, couplings=True), 3, 2),
    "factor out": Case(lambda: factor_out(4, 2, 5, 2)),
    "multiscale": Case(lambda: small_multiscale(None, couplings=False), 2, 3),
    "conditional multiscale": Case(lambda: small_multiscale(2, couplings=True), 2, 2),
}

POINTWISE = [
    laws.round_trip,
    laws.log_det_antisymmetry,
    laws.log_det_is_slogdet,
    laws.batch_independence,
    laws.gradient_is_finite_difference,
    laws.the_vector_jacobian_product_is_that_of_the_inverse,
    laws.finite_and_invertible_far_out,
    laws.evaluation_leaves_state,
    laws.shape_errors_name_the_axis,
]


def fresh(case: Case) -> Bijection:
    torch.manual_seed(0)
    return case.build().double()


def inputs(bijection: Bijection, batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, bijection.channels, height, width, generator=generator, dtype=torch.float64)
    if bijection.cond_channels is None:
        return x, None
    return x, torch.randn(batch, bijection.cond_channels, height, width, generator=generator, dtype=torch.float64)


def single(x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return x.float(), None if cond is None else cond.float()


@pytest.mark.parametrize("law", POINTWISE, ids=lambda law: law.__name__)
@pytest.mark.parametrize("weights", ["fresh", "perturbed"])
@pytest.mark.parametrize("name", CASES)
def test_law(name: str, weights: str, law: Callable[[Bijection, Tensor, Tensor | None], None]) -> None:
    bijection = fresh(CASES[name])
    if weights == "perturbed":
        laws.perturb(bijection)
    law(bijection, *inputs(bijection, 3, CASES[name].height, CASES[name].width))


@pytest.mark.parametrize("name", CASES)
def test_each_layer_heeds_its_condition(name: str) -> None:
    bijection = laws.perturb(fresh(CASES[name]))
    laws.each_layer_heeds_its_condition(bijection, *inputs(bijection, 3, CASES[name].height, CASES[name].width))


@pytest.mark.parametrize("name", CASES)
def test_initialises_exactly_once(name: str) -> None:
    bijection = fresh(CASES[name])
    laws.initialises_exactly_once(CASES[name].build, *inputs(bijection, 8, CASES[name].height, CASES[name].width))


@pytest.mark.parametrize("name", ["conditional step", "step, condition in every layer", "conditional multiscale"])
def test_float32_keeps_five_digits(name: str) -> None:
    bijection = laws.perturb(fresh(CASES[name]).float())
    x, cond = single(*inputs(bijection, 3, 8, 8))
    laws.round_trip(bijection, x, cond, 1e-5)
    laws.log_det_antisymmetry(bijection, x, cond, 1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if "actnorm" not in name])
def test_starts_as_the_identity_up_to_permutations(name: str) -> None:
    bijection = fresh(CASES[name])
    x, cond = inputs(bijection, 2, 4, 4)
    y, log_det = bijection(x, cond)
    laws.close(log_det, torch.zeros(2, dtype=torch.float64))
    laws.close(y.flatten(1).sort().values, x.flatten(1).sort().values)


def inverse_of_a_far_residual(bound: float | None) -> Tensor:
    torch.manual_seed(0)
    bijection = laws.perturb(small_multiscale(2, couplings=True, bound=bound))
    with torch.no_grad():
        for name, parameter in bijection.named_parameters():
            if name.endswith("gain"):
                parameter.mul_(20)
    y, cond = single(*inputs(bijection, 16, 8, 8))
    return bijection.inverse(8 * y, cond)[0]


def test_a_bound_keeps_strong_weights_and_rare_residuals_from_overflowing() -> None:
    assert torch.isfinite(inverse_of_a_far_residual(BOUND)).all()
    assert not torch.isfinite(inverse_of_a_far_residual(None)).all()


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_a_bound_holds_the_scales_between_its_ends(bound: float) -> None:
    logits = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    scales = log_scale(bounded(logits, bound)).exp()
    ends = 2 / (1 + torch.tensor([bound, -bound], dtype=torch.float64).exp())
    assert ((scales >= ends[0] - 1e-12) & (scales <= ends[1] + 1e-12)).all()
    assert (scales.diff() >= 0).all()
    small = torch.linspace(-0.01, 0.01, 11, dtype=torch.float64)
    laws.close(bounded(small, bound), small, 1e-5)


def test_a_bound_forgotten_in_the_inverse_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    bijection = laws.perturb(MaskedConv(2, "down", 2, 3, 0.5).double())
    monkeypatch.setattr(masked_conv, "bounded", lambda logit, bound: logit)
    with pytest.raises(AssertionError):
        laws.round_trip(bijection, *inputs(bijection, 2, 4, 4))


@pytest.mark.parametrize("sweep", SWEEPS)
def test_masked_conv_sees_the_two_lines_before(sweep: Sweep) -> None:
    size = 5
    bijection = laws.perturb(MaskedConv(2, sweep, 2).double())
    x, cond = inputs(bijection, 1, size, size)
    jacobian = laws.jacobian(bijection.forward, x, cond).view(2, size, size, 2, size, size)
    step = 1 if sweep in ("down", "right") else -1
    for row, column, from_row, from_column in torch.cartesian_prod(*4 * [torch.arange(size)]).tolist():
        block = jacobian[:, row, column, :, from_row, from_column]
        lines, across = row - from_row, column - from_column
        if sweep in ("right", "left"):
            lines, across = across, lines
        if step * lines in (1, 2) and abs(across) <= 1:
            assert (block != 0).all()
        elif lines == across == 0:
            assert (block.diagonal() > 0).all()
            assert (block - block.diagonal().diag() == 0).all()
        else:
            assert (block == 0).all(), (row, column, from_row, from_column)


@pytest.mark.parametrize("part", PARTS)
def test_coupling_leaves_one_part_and_scales_the_other(part: Part | int) -> None:
    bijection = laws.perturb(AffineCoupling(5, part, 4).double())
    x, cond = inputs(bijection, 1, 2, 3)
    jacobian = laws.jacobian(bijection.forward, x, cond).view(5, 6, 5, 6)
    expected = {"first half": {0, 1}, "second half": {2, 3, 4}, "even": {0, 2, 4}, "odd": {1, 3}, 1: {4}}[part]
    transformed, kept = sorted(expected), sorted(set(range(5)) - expected)
    identity = torch.eye(len(kept) * 6, dtype=torch.float64)
    assert torch.equal(jacobian[kept][:, :, kept].reshape(len(kept) * 6, -1), identity)
    assert (jacobian[kept][:, :, transformed] == 0).all()
    scale = jacobian[transformed][:, :, transformed].reshape(len(transformed) * 6, -1)
    assert torch.equal(scale, scale.diagonal().diag())
    assert ((scale.diagonal() > 0) & (scale.diagonal() < 2)).all()
    assert (jacobian[transformed][:, :, kept] != 0).any()


def oracle_inverse(bijection: MaskedConv, y: Tensor, cond: Tensor | None) -> Tensor:
    """Invert line by line with the whole forward pass alone: a line's t and s are its images of 0 and of 1."""
    x = torch.zeros_like(y)
    axis = 2 if bijection.sweep in ("down", "up") else 3
    lines = range(y.shape[axis])
    for line in lines if bijection.sweep in ("down", "right") else reversed(lines):
        images = []
        for value in (0, 1):
            x.select(axis, line).fill_(value)
            images.append(bijection(x, cond)[0].select(axis, line))
        shift, scale = images[0], images[1] - images[0]
        x.select(axis, line).copy_((y.select(axis, line) - shift) / scale)
    return x


SIDES = st.integers(1, 5)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(SWEEPS), st.integers(1, 3), st.sampled_from([None, 1, 3]), st.integers(1, 3), SIDES, SIDES, SIDES
)
def test_masked_conv_of_any_shape(
    sweep: Sweep, channels: int, cond_channels: int | None, batch: int, height: int, width: int, seed: int
) -> None:
    bijection = laws.perturb(MaskedConv(channels, sweep, 2, cond_channels).double(), seed)
    x, cond = inputs(bijection, batch, height, width, seed)
    laws.round_trip(bijection, x, cond)
    laws.log_det_antisymmetry(bijection, x, cond)
    laws.batch_independence(bijection, x, cond)
    with torch.no_grad():
        laws.close(bijection.inverse(x, cond)[0], oracle_inverse(bijection, x, cond))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.integers(2, 5), st.sampled_from([None, 2]), st.booleans(), st.integers(1, 2), SIDES, SIDES, SIDES)
def test_step_of_any_shape(
    channels: int, cond_channels: int | None, couplings: bool, batch: int, height: int, width: int, seed: int
) -> None:
    bijection = laws.perturb(small_step(channels, cond_channels, couplings=couplings).double(), seed)
    x, cond = inputs(bijection, batch, height, width, seed)
    laws.round_trip(bijection, x, cond)
    laws.log_det_antisymmetry(bijection, x, cond)
    laws.batch_independence(bijection, x, cond)


def test_multiscale_ends_with_what_left_first() -> None:
    levels = [ActNorm(4), ActNorm(3), ActNorm(2)]
    for level in levels:
        level.shift.data.fill_(1.0)
    y, _ = Multiscale(levels, 1)(torch.zeros(1, 4, 1, 1))
    assert y.flatten().tolist() == [3.0, 3.0, 2.0, 1.0]


def test_actnorm_survives_a_constant_channel() -> None:
    layer = ActNorm(2)
    x = torch.stack([torch.full((4, 2, 2), 5.0), torch.randn(4, 2, 2)], dim=1)
    y = layer.initialise(x)
    assert torch.isfinite(y).all()
    assert (y[:, 0] == 0).all()


def test_an_unconditional_layer_ignores_a_condition() -> None:
    layer = laws.perturb(MaskedConv(2, "down", 2))
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(layer(x, torch.randn(1, 7, 3, 3))[0], layer(x)[0])
    assert masked_unit(2, 1, None).cond_channels is None
    assert small_step(2, 4, couplings=False).cond_channels == 4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AffineCoupling(1, "odd", 4), "channels: got 1, expected at least 2"),
        (lambda: AffineCoupling(3, 3, 4), "transformed channels: got 3, expected 1 to 2"),
        (lambda: Chain([]), "layers: got 0, expected at least 1"),
        (lambda: Chain([ActNorm(2), ActNorm(3)]), "channels: got 3 after 2"),
        (lambda: Chain([MaskedConv(2, "down", 1, 3), MaskedConv(2, "up", 1, 4)]), "they must agree"),
        (lambda: LastChannels(2, ActNorm(3)), "got 2, expected at least 3"),
        (lambda: Multiscale([ActNorm(3), ActNorm(3)], 1), r"got \[3, 3, 1\], expected falling numbers"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(build: Callable[[], Bijection], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_the_mathematics_stays_in_full_precision_under_autocast() -> None:
    bijection = laws.perturb(fresh(CASES["step, condition in every layer"]).float())
    x, cond = single(*inputs(bijection, 2, 8, 8))
    exact, exact_log_det = bijection(x, cond)
    with torch.autocast("cpu", torch.bfloat16):
        assert bijection.get_submodule("layers.3.conv")(torch.zeros(1, 1, 8, 8)).dtype == torch.bfloat16
        for call in (bijection.forward, bijection.inverse):
            y, log_det = call(x.bfloat16(), cond)
            assert y.dtype == log_det.dtype == torch.float32
        y, log_det = bijection(x, cond)
    torch.testing.assert_close(y, exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(log_det, exact_log_det, rtol=0.02, atol=0.5)
