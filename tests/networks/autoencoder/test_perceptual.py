import os
from typing import Any

import pytest
import torch
from torch import nn

from ipoke.core.errors import InputError
from ipoke.networks.autoencoder.lpips import WEIGHTS_VARIABLE, Lpips
from ipoke.networks.autoencoder.perceptual import (
    Vgg19Distance,
    find_perceptual_weights,
    load_perceptual,
    weights_sha256,
)


def make():
    torch.manual_seed(0)
    network = Lpips().requires_grad_(False)
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


def test_a_folder_holds_lpips(tmp_path):
    network = make()
    folder = save_parts(network, tmp_path / "lpips_squeeze")
    loaded = load_perceptual(folder)
    assert isinstance(loaded, Lpips)
    assert torch.equal(loaded(images(0), images(1)), network(images(0), images(1)))
    before = weights_sha256(folder)
    (folder / "squeeze.pth").write_bytes(b"other")
    assert weights_sha256(folder) != before


def test_broken_and_foreign_weights_are_refused_and_not_executed(tmp_path):
    folder = save_parts(make(), tmp_path / "weights")
    torch.save({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, folder / "squeeze.pth")
    with pytest.raises(InputError, match="not weights of LPIPS-squeeze"):
        load_perceptual(folder)
    with pytest.raises(InputError, match="not weights of Vgg19Distance"):
        load_perceptual(folder / "squeeze.pth")
    torch.save({"weights": Payload(tmp_path / "executed")}, folder / "squeeze.pth")
    with pytest.raises(InputError, match="nothing was executed"):
        load_perceptual(folder)
    (folder / "squeeze.pth").unlink()
    with pytest.raises(InputError, match=r"squeeze\.pth: cannot read this file of weights"):
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
