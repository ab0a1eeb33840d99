"""The conditional density: sizes, seeds, initialisation, and how close it comes to a density that is known."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from checked_shapes import unchecked
from ipoke.core.sections import LatentFlowSettings
from ipoke.networks.bijections.chain import Chain
from ipoke.networks.bijections.multiscale import Multiscale
from ipoke.networks.latent_flow import LatentFlow
from laws import bijection_laws as laws

SMALL = LatentFlowSettings(steps=(1, 1), units=1, masked_width=2, coupling_width=8, conditional_couplings=True)


def build(settings: LatentFlowSettings = SMALL, *, channels: int = 3, side: int = 4, seed: int = 0) -> LatentFlow:
    torch.manual_seed(seed)
    return LatentFlow(settings, channels=channels, cond_channels=2, side=side)


def batch(latent_flow: LatentFlow, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    side = latent_flow.side
    z = torch.randn(size, latent_flow.channels, side, side, generator=generator)
    return z, torch.randn(size, latent_flow.cond_channels, side, side, generator=generator)


def perturbed() -> LatentFlow:
    latent_flow = build()
    laws.perturb(latent_flow.bijection)
    return latent_flow


def test_latents_come_back_from_residuals() -> None:
    latent_flow = perturbed().double()
    z, cond = (t.double() for t in batch(latent_flow, 3))
    r, log_det = latent_flow.to_residual(z, cond)
    assert (r - z).abs().max() > 0.1
    laws.close(latent_flow.to_latent(r, cond), z)
    constant = 0.5 * r[0].numel() * math.log(2 * math.pi)
    laws.close(latent_flow.log_prob(z, cond), log_det - 0.5 * (r**2).sum((1, 2, 3)) - constant)
    laws.close(latent_flow.nll(z, cond), -latent_flow.log_prob(z, cond).mean() - constant)


def test_a_seed_gives_the_same_latent_in_any_batch() -> None:
    latent_flow = perturbed()
    _, cond = batch(latent_flow, 3)
    with torch.no_grad():
        together = latent_flow.sample(cond, seeds=[7, 8, 7])
        for index, seed in enumerate([7, 8, 7]):
            alone = latent_flow.sample(cond[index : index + 1], seeds=[seed])
            torch.testing.assert_close(alone, together[index : index + 1], rtol=1e-5, atol=1e-5)
        same_cond = latent_flow.sample(cond[:1].expand(3, -1, -1, -1), seeds=[7, 8, 7])
    torch.testing.assert_close(same_cond[0], same_cond[2], rtol=1e-5, atol=1e-5)
    assert (same_cond[0] - same_cond[1]).abs().max() > 0.1
    noise = latent_flow.base_noise([7])[0]
    assert torch.equal(noise, torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(7)))


def test_sampling_leaves_the_global_generator_alone() -> None:
    latent_flow = perturbed()
    state = torch.get_rng_state()
    latent_flow.sample(batch(latent_flow, 1)[1], seeds=[0])
    assert torch.equal(state, torch.get_rng_state())


def test_temperature_zero_gives_the_image_of_zero() -> None:
    latent_flow = perturbed()
    _, cond = batch(latent_flow, 2)
    cold = latent_flow.sample(cond, seeds=[1, 2], temperature=0.0)
    assert torch.equal(cold, latent_flow.to_latent(torch.zeros_like(cold), cond))


def test_use_before_initialisation_is_refused() -> None:
    latent_flow = build()
    z, cond = batch(latent_flow, 4)
    for use in (
        lambda: latent_flow.sample(cond, seeds=[0, 1, 2, 3]),
        lambda: latent_flow.to_residual(z, cond),
        lambda: latent_flow.to_latent(z, cond),
        lambda: latent_flow.nll(z, cond),
    ):
        with pytest.raises(RuntimeError, match=r"not initialised; call initialise\(z, cond\)"):
            use()
    latent_flow.initialise(z, cond)
    assert latent_flow.is_initialised
    assert latent_flow.sample(cond, seeds=[0, 1, 2, 3]).shape == z.shape


def test_initialisation_happens_once_and_is_saved() -> None:
    latent_flow, other = build(), build(seed=1)
    z, cond = batch(latent_flow, 8)
    latent_flow.initialise(5 + 3 * z, cond)
    state = {name: value.clone() for name, value in latent_flow.state_dict().items()}
    assert not other.is_initialised
    other.load_state_dict(state)
    assert other.is_initialised
    for model in (latent_flow, other):
        model.initialise(z, cond)
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    latent_flow.load_state_dict(build().state_dict())
    assert not latent_flow.is_initialised


def test_a_single_level_keeps_every_channel_to_the_end() -> None:
    latent_flow = build(LatentFlowSettings(steps=(2,), units=1, masked_width=1, coupling_width=4), channels=5)
    assert isinstance(latent_flow.bijection, Chain)
    assert [layer.channels for layer in latent_flow.bijection.ordered()] == [5, 5]


def test_a_factor_says_how_many_channels_each_level_lets_go() -> None:
    settings = LatentFlowSettings(steps=(1, 1), factor=4, units=1, masked_width=1, coupling_width=4)
    latent_flow = build(settings, channels=8)
    assert isinstance(latent_flow.bijection, Multiscale)
    assert latent_flow.bijection.widths == [8, 6, 4]
    with pytest.raises(ValueError, match="channels: got 8, expected a multiple of 2 > levels"):
        build(settings.model_copy(update={"factor": 2}), channels=8)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="channels: got 4, expected a multiple of 3"):
        build(channels=4)
    latent_flow = perturbed()
    z, cond = batch(latent_flow, 2)
    with pytest.raises(ValueError, match="latent: width: got 3, expected 4"):
        latent_flow.to_residual(z[..., :3], cond[..., :3])
    with unchecked(), pytest.raises(ValueError, match="residual: height: got 5, expected 4"):
        latent_flow.to_latent(torch.zeros(2, 3, 5, 4), cond)
    with pytest.raises(ValueError, match="condition channels: got 1, expected 2"):
        latent_flow.log_prob(z, cond[:, :1])
    with pytest.raises(ValueError, match="seeds: got 3, expected 2, one per condition"):
        latent_flow.sample(cond, seeds=[1, 2, 3])


def test_it_prints_its_sizes() -> None:
    assert "3x4x4 given 2 channels, 0.0 M parameters" in repr(build())


def test_sampling_ignores_autocast_and_scoring_keeps_full_precision() -> None:
    latent_flow = perturbed()
    z, cond = batch(latent_flow, 2)
    exact = latent_flow.to_latent(z, cond)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(latent_flow.to_latent(z, cond), exact)
        assert latent_flow.log_prob(z, cond).dtype == torch.float32


class Field:
    """A known density of 2x4x4: neighbours correlate, the mean follows the condition, one bump has either sign."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        places = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
        spatial = (-torch.cdist(places, places) / 2).exp()
        mix = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        self.noise = torch.distributions.MultivariateNormal(
            torch.zeros(32), torch.kron(mix, spatial) + 0.05 * torch.eye(32)
        )
        self.bump = 1.5 * torch.exp(-((places - 1.5) ** 2).sum(1) / 4).repeat(2)
        self.gain = torch.randn(2, 2, generator=generator)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        cond = torch.randn(count, 2, 1, 1).expand(-1, -1, 4, 4)
        sign = 2.0 * torch.randint(2, (count, 1)) - 1
        return (self.mean(cond) + sign * self.bump + self.noise.sample((count,))).view(-1, 2, 4, 4), cond

    def mean(self, cond: Tensor) -> Tensor:
        return torch.einsum("dk,bkhw->bdhw", self.gain, cond).flatten(1)

    def log_prob(self, z: Tensor, cond: Tensor) -> Tensor:
        centred = z.flatten(1) - self.mean(cond)
        both = [self.noise.log_prob(centred - sign * self.bump) for sign in (1, -1)]
        return torch.logaddexp(*both) - math.log(2)


def test_it_learns_a_known_density() -> None:
    torch.manual_seed(0)
    field = Field()
    held_out, held_out_cond = field.draw(2000)
    entropy = -field.log_prob(held_out, held_out_cond).mean()
    seen, _ = field.draw(4000)
    diagonal = torch.distributions.Normal(seen.mean(0), seen.std(0))
    diagonal_nll = -diagonal.log_prob(held_out).flatten(1).sum(1).mean()
    settings = LatentFlowSettings(steps=(1,), units=1, coupling_width=16, conditional_couplings=True)
    latent_flow = LatentFlow(settings, channels=2, cond_channels=2, side=4)
    latent_flow.initialise(*field.draw(256))
    steps = 150
    optimiser = torch.optim.Adam(latent_flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=steps)
    for _ in range(steps):
        loss = latent_flow.nll(*field.draw(128))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        nll = -latent_flow.log_prob(held_out, held_out_cond).mean()
    assert diagonal_nll - entropy > 30  # nats that a model without correlation and condition loses
    assert -0.1 < nll - entropy < 1.5
