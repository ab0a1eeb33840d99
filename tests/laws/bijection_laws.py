"""What every bijection must obey. Each law raises AssertionError; none skips itself.

A law takes a bijection, an input and a condition (None for an unconditional one), all in float64 unless it says
otherwise. The laws about densities take a density: something with ``log_prob(z, cond)`` and ``sample(cond, n)``.
"""

import copy
import io
import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from checked_shapes import unchecked
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.bijection import Bijection

AnyBijection = TypeVar("AnyBijection", bound=Bijection)
EXACT = 1e-9
"""Tolerance of identities in float64."""


class Density(Protocol):
    """A conditional density over ``shape``-shaped tensors."""

    shape: tuple[int, int, int]
    bijection: Bijection

    def log_prob(self, z: Tensor, cond: Tensor | None) -> Tensor: ...

    def sample(self, cond: Tensor | None, count: int) -> Tensor: ...


def close(got: Tensor, expected: Tensor, tolerance: float = EXACT) -> None:
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def round_trip(bijection: Bijection, x: Tensor, cond: Tensor | None, tolerance: float = EXACT) -> None:
    """inverse(forward(x)) = x and forward(inverse(y)) = y."""
    close(bijection.inverse(bijection(x, cond)[0], cond)[0], x, tolerance)
    close(bijection(bijection.inverse(x, cond)[0], cond)[0], x, tolerance)


def log_det_antisymmetry(bijection: Bijection, x: Tensor, cond: Tensor | None, tolerance: float = EXACT) -> None:
    """The two directions' log-determinants cancel, whichever comes first."""
    y, forward = bijection(x, cond)
    close(bijection.inverse(y, cond)[1], -forward, tolerance)
    z, inverse = bijection.inverse(x, cond)
    close(bijection(z, cond)[1], -inverse, tolerance)


def log_det_is_slogdet(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """log_det = log|det J| of the whole Jacobian, in both directions, one number per sample."""
    for call in (bijection.forward, bijection.inverse):
        log_det = call(x, cond)[1]
        assert log_det.shape == (len(x),)
        expected = [torch.linalg.slogdet(jacobian(call, one, given))[1] for one, given in samples(x, cond)]
        close(log_det, torch.stack(expected))


def batch_independence(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """A sample's result is the same alone and in company."""
    for call in (bijection.forward, bijection.inverse):
        y, log_det = call(x, cond)
        for index, (one, given) in enumerate(samples(x, cond)):
            alone, alone_log_det = call(one, given)
            close(y[index : index + 1], alone)
            close(log_det[index : index + 1], alone_log_det)


def each_layer_heeds_its_condition(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """Every layer that declares condition channels changes with the condition, in both directions; no other does.

    A condition at one place reaches every layer of a whole bijection through the others, so each is asked alone.
    """
    for layer in leaves(bijection):
        generator = torch.Generator().manual_seed(1)
        shape = (len(x), layer.channels, *x.shape[2:])
        point = torch.randn(shape, generator=generator, dtype=x.dtype)
        channels = layer.cond_channels or (cond.shape[1] if cond is not None else 3)
        first, second = torch.randn(2, len(x), channels, *x.shape[2:], generator=generator, dtype=x.dtype)
        for call in (layer.forward, layer.inverse):
            changed = (call(point, first)[0] - call(point, second)[0]).abs().max() > 1e-6
            assert bool(changed) == (layer.cond_channels is not None), f"{layer} and its condition"


def gradient_is_finite_difference(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """The gradient of the loss along a random direction of all weights and inputs is its central difference."""
    bijection = copy.deepcopy(bijection).train()
    x = x.clone().requires_grad_()
    variables = [x, *(parameter for parameter in bijection.parameters())]

    def loss() -> Tensor:
        y, log_det = bijection(x, cond)
        return (0.5 * y.square().flatten(1).sum(1) - log_det).mean()

    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in variables]
    gradients = torch.autograd.grad(loss(), variables, allow_unused=True, materialize_grads=True)
    analytic = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    step, values = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            for variable, direction in zip(variables, directions, strict=True):
                variable.add_(sign * step * direction)
            values.append(loss())
    torch.testing.assert_close(analytic, (values[0] - values[1]) / (2 * step), rtol=1e-5, atol=1e-5)


def the_vector_jacobian_product_is_that_of_the_inverse(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """The product computed going forward is that of differentiating the inverse, and the point is mapped."""
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(6), dtype=x.dtype)
    y, product = bijection.inverse_vjp(x, cond, gradient)
    close(y, bijection(x, cond)[0])
    at = y.detach().requires_grad_()
    (expected,) = torch.autograd.grad(bijection.inverse(at, cond)[0], at, gradient)
    close(product, expected)


def finite_and_invertible_far_out(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """Inputs a hundred times too large stay finite, and come back; ten thousand times too large, they stay finite.

    A scale in (0, 2) bounds the map towards the residual but not its inverse, so coming back is asked of weights like
    those of a trained flow: conditioners a tenth as strong as the perturbed ones, log-scales within a few units.
    """
    far = 100 * x
    for value in (*bijection(far, cond), *bijection(1e4 * x, cond)):
        assert torch.isfinite(value).all()
    mild = copy.deepcopy(bijection)
    with torch.no_grad():
        for name, parameter in mild.named_parameters():
            parameter.mul_(0.1 if name.endswith("gain") else 1)
    close(mild.inverse(mild(far, cond)[0], cond)[0], far, 1e-6)


def evaluation_leaves_state(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """No call changes a weight or a buffer, in training and in evaluation; equal calls give equal results."""
    before = {name: value.clone() for name, value in bijection.state_dict().items()}
    for training in (True, False):
        bijection.train(training)
        first = bijection(x, cond)
        bijection(x + 1, cond)
        bijection.inverse(x, cond)
        second = bijection(x, cond)
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
    for name, value in bijection.state_dict().items():
        assert torch.equal(before[name], value), name


def initialises_exactly_once(build: Callable[[], Bijection], x: Tensor, cond: Tensor | None) -> None:
    """The first batch whitens the output of every ActNorm; later batches change nothing, nor after save and load."""
    bijection = build().to(x.dtype)
    assert not any(bool(layer.initialised) for layer in actnorms(bijection))
    outputs: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda _m, _i, out: outputs.append(out[0])) for layer in actnorms(bijection)]
    bijection.initialise(3 + 2 * x, cond)
    for hook in hooks:
        hook.remove()
    assert len(outputs) == len(hooks)
    for output in outputs:
        std, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
        close(mean, torch.zeros_like(mean))
        close(std, torch.ones_like(std))
    file = io.BytesIO()
    torch.save(bijection.state_dict(), file)
    file.seek(0)
    loaded = build().to(x.dtype)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for model in (bijection, loaded):
        expected = {name: value.clone() for name, value in bijection.state_dict().items()}
        model.initialise(7 - x, cond)
        for name, value in model.state_dict().items():
            assert torch.equal(expected[name], value), name


@unchecked()
def shape_errors_name_the_axis(bijection: Bijection, x: Tensor, cond: Tensor | None) -> None:
    """A wrong shape is refused with the axis, what was got and what was expected."""
    channels = x.shape[1]
    for call in (bijection.forward, bijection.inverse):
        with pytest.raises(ValueError, match=rf"channels: got {channels + 1}, expected {channels}"):
            call(torch.cat([x, x[:, :1]], dim=1), cond)
        with pytest.raises(ValueError, match="got 3 axes, expected 4"):
            call(x[0], cond)
        if cond is None:
            continue
        batch, k, height, width = cond.shape
        for axis, got, wrong in (
            ("batch", batch + 1, torch.cat([cond, cond[:1]])),
            ("channels", k + 1, torch.cat([cond, cond[:, :1]], dim=1)),
            ("height", height + 1, torch.cat([cond, cond[:, :, :1]], dim=2)),
            ("width", width + 1, torch.cat([cond, cond[..., :1]], dim=3)),
        ):
            with pytest.raises(ValueError, match=rf"condition {axis}: got {got}, expected {got - 1}"):
                call(x, wrong)
        with pytest.raises(ValueError, match=f"condition: got none, expected {k} channels"):
            call(x, None)


def total_mass_is_one_by_quadrature(density: Density, cond: Tensor | None) -> None:
    """The density of two channels on a single pixel integrates to 1 (trapezium rule)."""
    assert density.shape == (2, 1, 1)
    axis = torch.linspace(-40, 40, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).view(-1, 2, 1, 1)
    given = None if cond is None else cond[:1].expand(len(grid), -1, -1, -1)
    with torch.no_grad():
        values = density.log_prob(grid, given).exp().view(501, 501)
    mass = torch.trapezoid(torch.trapezoid(values, axis), axis)
    close(mass, torch.ones_like(mass), 1e-4)


def total_mass_is_one_by_importance(density: Density, cond: Tensor | None) -> None:
    """The mean weight of draws from a wide Gaussian is 1; the grid has two pixels or more.

    On one pixel a log-determinant that is averaged over pixels equals the sum, so quadrature cannot see it.
    """
    assert density.shape[1] * density.shape[2] >= 2
    count = 50_000
    given = None if cond is None else cond[:1].expand(count, -1, -1, -1)
    with torch.no_grad():
        guide = density.sample(None if given is None else given[:4096], 4096)
        covariance = 1.4 * guide.flatten(1).T.cov()
        proposal = torch.distributions.MultivariateNormal(guide.flatten(1).mean(0), covariance)
        generator_state = torch.get_rng_state()
        torch.manual_seed(3)
        draws = proposal.sample((count,))
        torch.set_rng_state(generator_state)
        weights = (density.log_prob(draws.view(count, *density.shape), given) - proposal.log_prob(draws)).exp()
    error = weights.std() / math.sqrt(count)
    assert error < 0.02, f"too few draws for a verdict: {error:.3f}"
    assert abs(weights.mean() - 1) < 5 * error + 1e-6, f"mass {weights.mean():.4f} +- {error:.4f}"


def samples_pushed_back_are_standard_normal(density: Density, cond: Tensor | None) -> None:
    """What `sample` draws, seen through the bijection, has mean 0, variance 1 and a Gaussian's distribution."""
    count = 4096
    given = None if cond is None else cond[:1].expand(count, -1, -1, -1)
    with torch.no_grad():
        residual = density.bijection(density.sample(given, count), given)[0].flatten()
    assert abs(residual.mean()) < 5 / math.sqrt(len(residual))
    assert abs(residual.var() - 1) < 5 * math.sqrt(2 / len(residual))
    assert stats.kstest(residual.numpy(), "norm").pvalue > 1e-4


def jacobian(call: Callable[..., tuple[Tensor, Tensor]], x: Tensor, cond: Tensor | None) -> Tensor:
    """Give d call(x) / d x of one sample as a square matrix over flattened (channel, row, column)."""
    square = torch.autograd.functional.jacobian(lambda value: call(value, cond)[0], x)
    return square.reshape(x.numel(), x.numel())


def samples(x: Tensor, cond: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """Give the samples of a batch as batches of one."""
    return [(x[i : i + 1], None if cond is None else cond[i : i + 1]) for i in range(len(x))]


def leaves(bijection: Bijection) -> list[Bijection]:
    """Give the bijections that hold no other."""
    return [m for m in bijection.modules() if isinstance(m, Bijection) and not holds_bijections(m)]


def actnorms(bijection: Bijection) -> list[ActNorm]:
    """Give the layers that start from data."""
    return [module for module in bijection.modules() if isinstance(module, ActNorm)]


def holds_bijections(module: nn.Module) -> bool:
    """Whether another bijection lies inside."""
    return any(isinstance(child, Bijection) for child in module.modules() if child is not module)


def perturb(bijection: AnyBijection, seed: int = 0) -> AnyBijection:
    """Move every weight away from the identity start, and count the layers as initialised."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in bijection.named_parameters():
            ends = name.rpartition(".")[2]
            spread = {"gain": 0.05, "bias": 0.3, "shift": 0.3, "log_scale": 0.3}.get(ends, parameter[0].numel() ** -0.5)
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        for layer in actnorms(bijection):
            layer.initialised.fill_(True)
    return bijection
