import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ipoke.autoencoder.perceptual import (
    WEIGHTS_VARIABLE,
    LpipsSqueeze,
    Vgg19Distance,
    find_perceptual_weights,
    load_perceptual,
    weights_sha256,
)
from ipoke.errors import InputError


def make():
    torch.manual_seed(0)
    network = LpipsSqueeze().requires_grad_(False)
    for weight in network.weights:
        weight.uniform_()
    return network


def images(seed, count=2):
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def save_parts(network, folder):
    """Write a network as its two published files are laid out."""
    folder.mkdir(exist_ok=True)
    backbone = {f"features.{name}": tensor for name, tensor in network.features.state_dict().items()}
    linear = {f"lin{index}.model.1.weight": weight.data for index, weight in enumerate(network.weights)}
    torch.save(backbone, folder / "squeeze.backbone.pth")
    torch.save(linear, folder / "squeeze.pth")
    return folder


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_equal_images_have_no_distance_and_order_does_not_matter():
    network = make()
    first, second = images(0), images(1)
    assert network(first, first).tolist() == [0, 0]
    distances = network(first, second)
    assert distances.shape == (2,)
    assert (distances > 0).all()
    torch.testing.assert_close(network(second, first), distances)


def test_pairs_of_a_batch_do_not_meet():
    network = make()
    together = network(images(0), images(1))
    apart = torch.cat([network(images(0)[i : i + 1], images(1)[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_the_distance_is_summed_over_features_and_layers_and_averaged_over_places():
    network = make()
    maps = zip(network.embed(images(0)), network.embed(images(1)), network.weights, strict=True)
    expected = sum(torch.einsum("nchw,c->n", (a - b) ** 2, w.flatten()) / a[0, 0].numel() for a, b, w in maps)
    torch.testing.assert_close(network(images(0), images(1)), expected)
    for features in network.embed(images(0)):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(2, *features.shape[2:]), atol=1e-3, rtol=0)


def test_a_larger_change_is_further_away():
    network, first = make(), images(0)
    noise = images(2)
    near, far = (network(first, (first + size * noise).clamp(-1, 1)) for size in (0.05, 0.5))
    assert (near < far).all()


@pytest.mark.parametrize("dead", [False, True])
def test_distance_and_gradient_are_finite_at_constant_images(dead):
    network = make()
    if dead:  # no feature fires, as on images far from what the network knows
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                module.bias.fill_(-1.0)
    constant = torch.zeros(1, 3, 64, 64, requires_grad=True)
    for other in (torch.zeros(1, 3, 64, 64), images(0, count=1)):
        distance = network(constant, other).sum()
        distance.backward()
        assert torch.isfinite(distance)
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()


def test_the_distance_of_noise_is_that_of_the_published_implementation():
    path = Path(os.environ.get(WEIGHTS_VARIABLE) or "") / "lpips_squeeze"
    if not os.environ.get(WEIGHTS_VARIABLE) or not path.is_dir():
        pytest.skip(f"needs the folder lpips_squeeze in the folder that {WEIGHTS_VARIABLE} names")
    network = load_perceptual(path)
    torch.manual_seed(123)
    first, second = (torch.rand(10, 3, 100, 100) * 2 - 1 for _ in range(2))
    assert network(first, second).mean().item() == pytest.approx(0.1008, abs=1e-4)


def test_weights_come_back_from_their_files(tmp_path):
    network = make()
    folder = save_parts(network, tmp_path / "lpips_squeeze")
    loaded = load_perceptual(folder)
    assert isinstance(loaded, LpipsSqueeze)
    assert torch.equal(loaded(images(0), images(1)), network(images(0), images(1)))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    before = weights_sha256(folder)
    (folder / "squeeze.pth").write_bytes(b"other")
    assert weights_sha256(folder) != before


def test_broken_and_foreign_weights_are_refused_and_not_executed(tmp_path):
    folder = save_parts(make(), tmp_path / "weights")
    torch.save({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, folder / "squeeze.pth")
    with pytest.raises(InputError, match="not weights of LpipsSqueeze"):
        load_perceptual(folder)
    torch.save({"weights": Payload(tmp_path / "executed")}, folder / "squeeze.pth")
    with pytest.raises(InputError, match="nothing was executed"):
        load_perceptual(folder)
    (folder / "squeeze.pth").unlink()
    with pytest.raises(InputError, match=r"squeeze\.pth: cannot read these weights"):
        load_perceptual(folder)
    assert not (tmp_path / "executed").exists()


def test_weights_are_found_where_they_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    assert find_perceptual_weights(None) is None
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    assert find_perceptual_weights(None) is None
    (tmp_path / "lpips_squeeze").mkdir()
    assert find_perceptual_weights(None) == tmp_path / "lpips_squeeze"
    (tmp_path / "given").mkdir()
    assert find_perceptual_weights(str(tmp_path / "given")) == tmp_path / "given"
    with pytest.raises(InputError, match="does not exist"):
        find_perceptual_weights(str(tmp_path / "none"))


def test_vgg_is_tapped_after_the_first_convolution_of_each_of_its_five_groups():
    with torch.device("meta"):
        network: Any = Vgg19Distance()
        assert network(torch.empty(2, 3, 64, 64), torch.empty(2, 3, 64, 64)).shape == (2,)
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_944_960
    before = [sum(isinstance(layer, nn.Conv2d) for layer in network.features[:tap]) for tap in network.taps]
    assert before == [1, 3, 5, 9, 13]
    assert all(isinstance(network.features[tap], nn.ReLU) for tap in network.taps)


def test_vgg_averages_absolute_differences_over_layers():
    torch.manual_seed(0)
    network: Any = Vgg19Distance()
    network.features = network.features[: network.taps[1] + 1]
    first, second = images(0, count=1), images(1, count=1)
    with torch.no_grad():
        got = network(first, second)
        layers = [network.features[:2], network.features]
        expected = torch.stack([(layer(first) - layer(second)).abs().mean() for layer in layers]).mean()
    torch.testing.assert_close(got[0], expected)
