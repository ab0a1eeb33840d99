"""The prepared inverse agrees with the bijections' own and with the plain way, with and without a compiler."""

import subprocess
import threading
from typing import Any

import pytest
import torch

import plain_way
from ipoke.core.sections import LatentFlowSettings
from ipoke.engine import inverse
from ipoke.engine import library as compiling
from ipoke.engine.inverse import PreparedInverse
from ipoke.engine.library import compiled, find_compiler
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.bijection import Bijection
from ipoke.networks.bijections.chain import Chain, masked_step
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.bijections.multiscale import LastChannels, Multiscale, factor_out
from ipoke.networks.bijections.permutation import Permutation
from ipoke.networks.latent_flow import LatentFlow
from laws import bijection_laws as laws

CONDITION = 5
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")


def perturbed(layer: Bijection, seed: int = 0) -> Bijection:
    torch.manual_seed(seed)
    laws.perturb(layer)
    return layer.requires_grad_(False)


def batch(channels: int, size: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(size, channels, 8, 8, generator=generator), torch.randn(size, 5, 8, 8, generator=generator)


def step(channels: int, **changed: Any) -> Chain:
    sizes: dict[str, Any] = {"units": 1, "masked_width": 2, "coupling_width": 24, "cond_channels": CONDITION}
    sizes |= {"coupling_cond_channels": None, **changed}
    return masked_step(channels, **sizes)


LAYERS = {
    **{sweep: lambda sweep=sweep: MaskedConv(6, sweep, 2, CONDITION) for sweep in ("down", "up", "right", "left")},
    "wide": lambda: MaskedConv(40, "up", 2, CONDITION),
    "narrow": lambda: MaskedConv(1, "left", 3, CONDITION),
    "unconditional": lambda: MaskedConv(6, "right", 2),
    "bounded": lambda: MaskedConv(6, "down", 2, CONDITION, logit_bound=2.0),
    **{
        part: lambda part=part: AffineCoupling(6, part, 16)
        for part in ("first half", "second half", "even", "odd", 2, 1)
    },
    **{f"{s} seen": lambda s=s: MaskedConv(6, s, 2, CONDITION, 2.0, 0.7) for s in ("down", "up", "right", "left")},
    "coupling seen": lambda: AffineCoupling(6, "even", 16, CONDITION, 2.0, 0.7),
    "uneven": lambda: AffineCoupling(7, "odd", 16),
    "told": lambda: AffineCoupling(6, "even", 16, CONDITION, logit_bound=2.0),
    "packed": lambda: AffineCoupling(6, "even", inverse.PACKED_FROM),
    "packed, told": lambda: AffineCoupling(6, "odd", inverse.PACKED_FROM, CONDITION),
    "actnorm": lambda: ActNorm(6),
    "permutation": lambda: Permutation(6),
    "last": lambda: LastChannels(6, AffineCoupling(4, "odd", 16)),
    "last masked": lambda: LastChannels(6, MaskedConv(4, "left", 2, CONDITION)),
    "step": lambda: step(8),
    "told step": lambda: step(8, coupling_cond_channels=CONDITION, logit_bound=2.0, units=2),
    "levels": lambda: Multiscale([Chain([step(8), factor_out(8, 2, 16, None)]), step(6)], 4),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("with_compiler", [pytest.param(True, marks=needs_compiler), False])
def test_it_is_the_inverse_of_the_bijection(name, with_compiler, monkeypatch):
    if with_compiler:
        assert compiled() is not None
    else:
        monkeypatch.setattr(inverse, "compiled", lambda: None)
    layer = perturbed(LAYERS[name]())
    y, cond = batch(layer.channels)
    given = y.clone()
    x = PreparedInverse(layer)(y, cond)
    wanted = layer.inverse(y, cond)[0]
    assert (x - y).abs().max() > 0.1
    torch.testing.assert_close(x, wanted, atol=2e-5 * float(wanted.abs().max()), rtol=0)
    assert (y == given).all()
    torch.testing.assert_close(layer(x, cond)[0], y, atol=1e-4, rtol=1e-4)


def papers() -> LatentFlow:
    """Make a latent flow like the paper's, two levels and no bound."""
    torch.manual_seed(0)
    settings = LatentFlowSettings(steps=(2, 1), units=2, masked_width=2, coupling_width=32, factor=4)
    latent_flow = LatentFlow(settings, channels=8, cond_channels=CONDITION)
    for layer in latent_flow.modules():
        if isinstance(layer, ActNorm):
            layer.initialised.fill_(True)
    generator = torch.Generator().manual_seed(4)
    for parameter in latent_flow.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return latent_flow.requires_grad_(False)


def test_it_is_the_plain_way():
    latent_flow = papers()
    r, cond = batch(8)
    z = PreparedInverse(latent_flow.bijection)(r, cond)
    wanted = plain_way.inverse(latent_flow.bijection, r, cond)
    torch.testing.assert_close(z, wanted, atol=2e-5 * float(wanted.abs().max()), rtol=0)
    back, _ = latent_flow.to_residual(z, cond)
    assert (back - r).abs().max() <= 1e-5 * r.abs().max()


def test_threads_do_not_disturb_each_other():
    prepared = PreparedInverse(papers().bijection)
    r, cond = batch(8, size=16)
    wanted, found = prepared(r, cond), []
    threads = [threading.Thread(target=lambda: found.append(prepared(r, cond))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(torch.equal(z, wanted) for z in found)


@torch.no_grad()
def test_extreme_values_stay_close():
    layer = MaskedConv(6, "down", 2, CONDITION)
    perturbed(layer)
    layer.project.gain.mul_(4)
    y, cond = batch(6)
    wanted = layer.double().inverse(8 * y.double(), cond.double())[0].float()
    x = PreparedInverse(layer.float())(8 * y, cond)
    assert torch.isfinite(wanted).all()
    assert wanted.abs().max() > 40
    torch.testing.assert_close(x, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)


@pytest.mark.parametrize("name", ["told step", "packed"])
@torch.no_grad()
def test_what_is_not_finite_is_not_hidden(name):
    layer = perturbed(LAYERS[name]())
    for bits in (torch.float32, torch.bfloat16):
        for coupling in layer.modules():
            if isinstance(coupling, AffineCoupling):
                for filters in (coupling.conv.weight, coupling.mix.weight, coupling.project.direction):
                    filters.data = filters.data.to(bits)
        y, cond = batch(layer.channels)
        y[1, 1, 3, 3] = torch.nan
        x = PreparedInverse(layer)(y, cond)
        assert x[[0, 2]].isfinite().all()
        assert x[1].isnan().sum() > y[1].isnan().sum()


@torch.no_grad()
def test_weights_in_another_precision_are_read_as_numbers():
    layer = perturbed(step(8))
    y, cond = batch(8)
    wanted = layer.inverse(y, cond)[0]
    torch.testing.assert_close(PreparedInverse(layer.double())(y, cond.double()), wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_couplings_can_be_in_sixteen_bits():
    layer = perturbed(step(8, coupling_width=64))
    y, cond = batch(8)
    wanted = layer.inverse(y, cond)[0]
    for coupling in layer.modules():
        if isinstance(coupling, AffineCoupling):
            for filters in (coupling.conv.weight, coupling.mix.weight, coupling.project.direction):
                filters.data = filters.data.bfloat16()
    x = PreparedInverse(layer)(y, cond)
    error = (x - wanted).abs().max() / wanted.abs().max()
    assert 1e-5 < error < 3e-2
    assert (layer(x, cond)[0] - y).abs().max() < 0.1


class TestCompiling:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        compiled.cache_clear()
        yield
        compiled.cache_clear()

    @needs_compiler
    def test_it_is_compiled_once(self, tmp_path, monkeypatch):
        assert compiled() is not None
        (library,) = (tmp_path / "ipoke").iterdir()
        compiled.cache_clear()
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
        assert compiled() is not None
        assert library.exists()

    def test_without_a_compiler_there_is_none(self, monkeypatch):
        monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
        assert compiled() is None

    def test_with_a_compiler_that_fails_there_is_none(self, monkeypatch, tmp_path):
        failing = tmp_path / "cc"
        failing.write_text("#!/bin/sh\nexit 1\n")
        failing.chmod(0o755)
        monkeypatch.setenv("CC", str(failing))
        assert compiled() is None
        assert list((tmp_path / "ipoke").iterdir()) == []

    def test_with_a_folder_that_cannot_be_written_there_is_none(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert compiled() is None

    @needs_compiler
    def test_a_damaged_library_is_compiled_again(self, tmp_path):
        assert compiled() is not None
        (library,) = (tmp_path / "ipoke").iterdir()
        library.unlink()  # it may be mapped into this process
        library.write_bytes(b"damaged")
        compiled.cache_clear()
        assert compiled() is not None
