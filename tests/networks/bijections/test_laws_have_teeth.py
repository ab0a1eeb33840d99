"""The laws themselves are tested: sixteen planted defects, each of which a named law must catch."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ipoke.core.sections import LatentFlowSettings
from ipoke.networks.bijections import coupling, masked_conv
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.bijection import Bijection, Transformed
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.latent_flow import LatentFlow
from laws import bijection_laws as laws


class Draws:
    """A latent flow as the density that the laws ask for."""

    def __init__(self, latent_flow: LatentFlow) -> None:
        self.latent_flow = latent_flow
        self.bijection = latent_flow.bijection
        self.shape = (latent_flow.channels, latent_flow.side, latent_flow.side)

    def log_prob(self, z: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        return self.latent_flow.log_prob(z, cond)

    def sample(self, cond: Tensor | None, count: int) -> Tensor:
        assert cond is not None
        return self.latent_flow.sample(cond, seeds=list(range(count)))


def conditional(side: int, channels: int) -> LatentFlow:
    torch.manual_seed(0)
    settings = LatentFlowSettings(steps=(1,), units=1, masked_width=2, coupling_width=4, conditional_couplings=True)
    latent_flow = LatentFlow(settings, channels=channels, cond_channels=2, side=side).double()
    laws.perturb(latent_flow.bijection)
    return latent_flow


def condition(side: int, batch: int = 3) -> Tensor:
    return torch.randn(batch, 2, side, side, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def pointwise(law: Callable[[Bijection, Tensor, Tensor | None], None]) -> Callable[[], None]:
    def check() -> None:
        x = torch.randn(3, 3, 2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        law(conditional(2, 3).bijection, x, condition(2))

    return check


LAWS: dict[str, Callable[[], None]] = {
    "round trip": pointwise(laws.round_trip),
    "antisymmetry": pointwise(laws.log_det_antisymmetry),
    "Jacobian": pointwise(laws.log_det_is_slogdet),
    "batch": pointwise(laws.batch_independence),
    "condition": pointwise(laws.each_layer_heeds_its_condition),
    "gradient": pointwise(laws.gradient_is_finite_difference),
    "carried gradient": pointwise(laws.the_vector_jacobian_product_is_that_of_the_inverse),
    "far out": pointwise(laws.finite_and_invertible_far_out),
    "state": pointwise(laws.evaluation_leaves_state),
    "mass, one pixel": lambda: laws.total_mass_is_one_by_quadrature(Draws(conditional(1, 2)), condition(1)),
    "mass, four pixels": lambda: laws.total_mass_is_one_by_importance(Draws(conditional(2, 2)), condition(2)),
    "moments": lambda: laws.samples_pushed_back_are_standard_normal(Draws(conditional(2, 2)), condition(2)),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_latent_flow_obeys(name: str) -> None:
    LAWS[name]()


@dataclass
class Mutant:
    plant: Callable[[pytest.MonkeyPatch], None]
    caught_by: str


def wrong_sign_in_inverse(patch: pytest.MonkeyPatch) -> None:
    right = ActNorm.inverse
    patch.setattr(ActNorm, "inverse", lambda self, y, cond=None: (right(self, y, cond)[0], -right(self, y, cond)[1]))


def inverse_slightly_off(patch: pytest.MonkeyPatch) -> None:
    right = AffineCoupling.inverse

    def inverse(self: AffineCoupling, y: Tensor, cond: Tensor | None = None) -> Transformed:
        x, log_det = right(self, y, cond)
        return x + 1e-5, log_det

    patch.setattr(AffineCoupling, "inverse", inverse)


def log_det_averaged(patch: pytest.MonkeyPatch) -> None:
    for module in (coupling, masked_conv):
        patch.setattr(module, "total", lambda log_scale: log_scale.sum(1).mean((1, 2)))


def log_det_over_half_the_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(coupling, "total", lambda log_scale: log_scale[:, :, : log_scale.shape[2] // 2].sum((1, 2, 3)))


def actnorm_forgets_the_pixels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ActNorm, "_log_det", lambda self, x: self.log_scale.sum().expand(x.shape[0]))


def log_det_detached(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(masked_conv, "total", lambda log_scale: log_scale.detach().flatten(1).sum(1))


def condition_dropped_in_inverse(patch: pytest.MonkeyPatch) -> None:
    right = MaskedConv.inverse
    patch.setattr(MaskedConv, "inverse", lambda self, y, cond: right(self, y, torch.zeros_like(cond)))


def condition_dropped_by_one_layer(patch: pytest.MonkeyPatch) -> None:
    for name in ("forward", "inverse"):
        right = getattr(MaskedConv, name)

        def deaf(self: MaskedConv, x: Tensor, cond: Tensor, right: Callable[..., Transformed] = right) -> Transformed:
            return right(self, x, torch.zeros_like(cond) if self.sweep == "left" else cond)

        patch.setattr(MaskedConv, name, deaf)


def batch_statistics_leak(patch: pytest.MonkeyPatch) -> None:
    right = ActNorm.forward
    patch.setattr(ActNorm, "forward", lambda self, x, cond=None: right(self, x - 0.01 * x.mean(0, keepdim=True), cond))


def mask_sees_its_own_row(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(masked_conv.PADDING, "down", (1, 1, 1, 0))


def constant_forgotten(patch: pytest.MonkeyPatch) -> None:
    def log_prob(self: LatentFlow, z: Tensor, cond: Tensor) -> Tensor:
        r, log_det = self.to_residual(z, cond)
        return log_det - 0.5 * r.square().flatten(1).sum(1)

    patch.setattr(LatentFlow, "log_prob", log_prob)


def temperature_left_on(patch: pytest.MonkeyPatch) -> None:
    right = LatentFlow.sample
    patch.setattr(LatentFlow, "sample", lambda self, cond, *, seeds: right(self, cond, seeds=seeds, temperature=0.9))


def scale_unbounded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        coupling, "split_parameters", lambda parameters, like, bound: parameters.to(like.dtype).chunk(2, dim=1)
    )


def actnorm_initialises_again(patch: pytest.MonkeyPatch) -> None:
    right = ActNorm.forward

    def forward(self: ActNorm, x: Tensor, cond: Tensor | None = None) -> Transformed:
        with torch.no_grad():
            self.shift.copy_(-(x * self.log_scale.exp()).mean((0, 2, 3), keepdim=True)[0])
        return right(self, x, cond)

    patch.setattr(ActNorm, "forward", forward)


def vjp_forgets_the_lines_before(patch: pytest.MonkeyPatch) -> None:
    right = masked_conv.F.conv_transpose2d
    patch.setattr(masked_conv.F, "conv_transpose2d", lambda x, weight: 0 * right(x, weight))


def vjp_forgets_what_decides(patch: pytest.MonkeyPatch) -> None:
    right = AffineCoupling.inverse_vjp

    def inverse_vjp(
        self: AffineCoupling, x: Tensor, cond: Tensor | None, gradient: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        y, product = right(self, x, cond, gradient, tolerance)
        product[:, self.kept] = gradient[:, self.kept]
        return y, product

    patch.setattr(AffineCoupling, "inverse_vjp", inverse_vjp)


MUTANTS = {
    "sign of the inverse's log-determinant": Mutant(wrong_sign_in_inverse, "antisymmetry"),
    "inverse off by 1e-5": Mutant(inverse_slightly_off, "round trip"),
    "log-determinant averaged": Mutant(log_det_averaged, "Jacobian"),
    "log-determinant averaged, seen by mass": Mutant(log_det_averaged, "mass, four pixels"),
    "log-determinant over half the rows": Mutant(log_det_over_half_the_rows, "Jacobian"),
    "ActNorm forgets the pixels": Mutant(actnorm_forgets_the_pixels, "Jacobian"),
    "log-determinant detached": Mutant(log_det_detached, "gradient"),
    "condition dropped in the inverse": Mutant(condition_dropped_in_inverse, "round trip"),
    "condition dropped by one layer": Mutant(condition_dropped_by_one_layer, "condition"),
    "batch statistics leak": Mutant(batch_statistics_leak, "batch"),
    "mask sees its own row": Mutant(mask_sees_its_own_row, "Jacobian"),
    "constant forgotten": Mutant(constant_forgotten, "mass, one pixel"),
    "temperature left on": Mutant(temperature_left_on, "moments"),
    "a carried gradient stops at the first term": Mutant(vjp_forgets_the_lines_before, "carried gradient"),
    "a carried gradient leaves out what decides": Mutant(vjp_forgets_what_decides, "carried gradient"),
    "scale unbounded": Mutant(scale_unbounded, "far out"),
    "ActNorm initialises again": Mutant(actnorm_initialises_again, "state"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_defect_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name].plant(monkeypatch)
    with pytest.raises(AssertionError):
        LAWS[MUTANTS[name].caught_by]()
