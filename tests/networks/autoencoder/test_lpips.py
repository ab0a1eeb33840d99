import itertools
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ipoke.core.errors import InputError
from ipoke.networks.autoencoder.lpips import MISSING, TAPS, WEIGHTS_VARIABLE, WIDTHS, Lpips, find_lpips, load_lpips

NETWORKS = ("squeeze", "alex", "vgg")
ALEX = (  # convolution (number, stride, padding), or the pooling before it
    ("conv", 0, 4, 2),
    ("pool", 3, 2),
    ("conv", 3, 1, 2),
    ("pool", 3, 2),
    ("conv", 6, 1, 1),
    ("conv", 8, 1, 1),
    ("conv", 10, 1, 1),
)
VGG = (
    *(("conv", 0, 1, 1), ("conv", 2, 1, 1), ("tap",), ("pool", 2, 2)),
    *(("conv", 5, 1, 1), ("conv", 7, 1, 1), ("tap",), ("pool", 2, 2)),
    *(("conv", 10, 1, 1), ("conv", 12, 1, 1), ("conv", 14, 1, 1), ("tap",), ("pool", 2, 2)),
    *(("conv", 17, 1, 1), ("conv", 19, 1, 1), ("conv", 21, 1, 1), ("tap",), ("pool", 2, 2)),
    *(("conv", 24, 1, 1), ("conv", 26, 1, 1), ("conv", 28, 1, 1), ("tap",)),
)


def make(network="squeeze"):
    torch.manual_seed(0)
    lpips = Lpips(network).requires_grad_(False)
    for weight in lpips.weights:
        weight.uniform_()
    return lpips


def images(seed, count=2, size=64):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def linear_of(lpips):
    return {f"lin{index}.model.1.weight": weight.data for index, weight in enumerate(lpips.weights)}


def save_parts(lpips, folder, prefix="features."):
    """Write a network as its two published files are laid out."""
    folder.mkdir(exist_ok=True)
    backbone = {f"{prefix}{name}": tensor for name, tensor in lpips.features.state_dict().items()}
    torch.save(backbone, folder / f"{lpips.network}.backbone.pth")
    torch.save(linear_of(lpips), folder / f"{lpips.network}.pth")
    return folder


def independent_distance(plan, backbone, linear, first, second, tap_every_convolution):
    """Compute LPIPS as its paper and its released weights say, from names and numbers of parameters."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    both = (torch.cat([first, second]) - shift[:, None, None]) / scale[:, None, None]
    taps = []
    for kind, *numbers in plan:
        if kind == "conv":
            number, stride, padding = numbers
            weight, bias = backbone[f"features.{number}.weight"], backbone[f"features.{number}.bias"]
            both = F.relu(F.conv2d(both, weight, bias, stride, padding))
        if kind == "pool":
            both = F.max_pool2d(both, *numbers)
        if kind == "tap" or (kind == "conv" and tap_every_convolution):
            taps.append(both)
    total = torch.zeros(len(first))
    for index, features in enumerate(taps):
        a, b = F.normalize(features, dim=1).chunk(2)
        weighted = F.conv2d((a - b) ** 2, linear[f"lin{index}.model.1.weight"])
        total += weighted.mean((1, 2, 3))
    return total


def weights_folder():
    path = Path(os.environ.get(WEIGHTS_VARIABLE) or "") / "lpips_squeeze"
    if not os.environ.get(WEIGHTS_VARIABLE) or not path.is_dir():
        pytest.skip(f"needs the folder lpips_squeeze in the folder that {WEIGHTS_VARIABLE} names")
    return path


@pytest.mark.parametrize(("network", "plan"), [("alex", ALEX), ("vgg", VGG)])
def test_the_distance_is_that_of_an_independent_computation(network, plan, tmp_path):
    lpips = make(network)
    folder = save_parts(lpips, tmp_path / f"lpips_{network}")
    backbone, linear = (torch.load(folder / f"{network}{end}", weights_only=True) for end in (".backbone.pth", ".pth"))
    expected = independent_distance(plan, backbone, linear, images(0), images(1), network == "alex")
    got = load_lpips(folder, network)(images(0), images(1))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "layers", "parameters"),
    [("squeeze", 13, 722_496), ("alex", 12, 2_469_696), ("vgg", 30, 14_714_688)],
)
def test_networks_have_their_published_size_and_are_tapped_behind_relus(network, layers, parameters):
    with torch.device("meta"):
        lpips = Lpips(network)
        maps = lpips.to("meta").embed(torch.empty(2, 3, 64, 64))
    assert len(lpips.features) == layers
    assert sum(parameter.numel() for parameter in lpips.features.parameters()) == parameters
    assert tuple(x.shape[1] for x in maps) == WIDTHS[network]
    if network != "squeeze":  # whose blocks end in a ReLU of their own
        assert all(isinstance(lpips.features[tap], nn.ReLU) for tap in TAPS[network])


@pytest.mark.parametrize("network", NETWORKS)
def test_equal_images_have_no_distance_and_order_does_not_matter(network):
    lpips = make(network)
    first, second = images(0), images(1)
    assert lpips(first, first).tolist() == [0, 0]
    distances = lpips(first, second)
    assert distances.shape == (2,)
    assert (distances > 0).all()
    torch.testing.assert_close(lpips(second, first), distances)


def test_pairs_of_a_batch_do_not_meet():
    lpips = make()
    together = lpips(images(0), images(1))
    apart = torch.cat([lpips(images(0)[i : i + 1], images(1)[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_the_distance_is_summed_over_features_and_layers_and_averaged_over_places():
    lpips = make()
    maps = zip(lpips.embed(images(0)), lpips.embed(images(1)), lpips.weights, strict=True)
    expected = sum(torch.einsum("nchw,c->n", (a - b) ** 2, w.flatten()) / a[0, 0].numel() for a, b, w in maps)
    torch.testing.assert_close(lpips(images(0), images(1)), expected)
    for features in lpips.embed(images(0)):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(2, *features.shape[2:]), atol=1e-3, rtol=0)


def test_one_embedding_serves_several_comparisons():
    lpips = make()
    first, second = lpips.embed(images(0)), lpips.embed(images(1))
    torch.testing.assert_close(lpips.distance(first, second), lpips(images(0), images(1)))
    one = [x[:1] for x in first]
    expected = lpips(images(0)[:1].expand(2, -1, -1, -1), images(1))
    torch.testing.assert_close(lpips.distance(one, second), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(2, 3), (5, 2), (3, 1)])
def test_pairwise_equals_the_explicit_double_loop(samples, frames):
    lpips = make()
    clips = images(3, samples * frames).unflatten(0, (samples, frames))
    pairs = [lpips(a, b).mean() for a, b in itertools.permutations(clips, 2)]
    assert len(pairs) == samples * (samples - 1)
    got = lpips.pairwise(lpips.embed(clips.flatten(0, 1)), samples)
    torch.testing.assert_close(got, torch.stack(pairs).mean(), rtol=1e-4, atol=0)


def test_equal_samples_have_no_diversity_and_one_sample_has_none_to_tell():
    lpips = make()
    same = images(0, 1).expand(4, -1, -1, -1)
    assert lpips.pairwise(lpips.embed(same), 2).item() == pytest.approx(0, abs=1e-9)
    for count, samples in ((4, 1), (5, 2)):
        with pytest.raises(ValueError, match=f"{count} frames of {samples} samples"):
            lpips.pairwise(lpips.embed(images(0, count)), samples)


def test_a_larger_change_is_further_away():
    lpips, first = make(), images(0)
    noise = images(2)
    near, far = (lpips(first, (first + size * noise).clamp(-1, 1)) for size in (0.05, 0.5))
    assert (near < far).all()


@pytest.mark.parametrize("dead", [False, True])
def test_distance_and_gradient_are_finite_at_constant_images(dead):
    lpips = make()
    if dead:  # no feature fires, as on images far from what the network knows
        for module in lpips.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                module.bias.fill_(-1.0)
    constant = torch.zeros(1, 3, 64, 64, requires_grad=True)
    for other in (torch.zeros(1, 3, 64, 64), images(0, count=1)):
        distance = lpips(constant, other).sum()
        distance.backward()
        assert torch.isfinite(distance)
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()


def test_the_distance_of_noise_is_that_of_the_published_implementation():
    lpips = load_lpips(weights_folder())
    torch.manual_seed(123)
    first, second = (torch.rand(10, 3, 100, 100) * 2 - 1 for _ in range(2))
    assert lpips(first, second).mean().item() == pytest.approx(0.1008, abs=1e-4)


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_published_linear_layers_fit_and_are_not_negative(network, tmp_path):
    published = weights_folder() / f"{network}.pth"
    folder = save_parts(make(network), tmp_path / f"lpips_{network}")
    (folder / f"{network}.pth").write_bytes(published.read_bytes())
    lpips = load_lpips(folder, network)
    assert all((weight >= 0).all() and weight.any() for weight in lpips.weights)


@pytest.mark.parametrize("network", ["squeeze", "alex"])
@pytest.mark.parametrize("prefix", ["features.", ""])
def test_weights_come_back_from_their_files(network, prefix, tmp_path):
    lpips = make(network)
    loaded = load_lpips(save_parts(lpips, tmp_path / "weights", prefix), network)
    assert torch.equal(loaded(images(0), images(1)), lpips(images(0), images(1)))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training


def test_a_classifier_is_left_out_and_linear_layers_may_lie_with_those_of_squeezenet(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    lpips = make("alex")
    folder = save_parts(lpips, tmp_path / "lpips_alex")
    whole = torch.load(folder / "alex.backbone.pth", weights_only=True)
    torch.save({**whole, "classifier.1.weight": torch.zeros(9, 9)}, folder / "alex.backbone.pth")
    (folder / "alex.pth").unlink()
    assert find_lpips("alex") is None
    (tmp_path / "lpips_squeeze").mkdir()
    torch.save(linear_of(lpips), tmp_path / "lpips_squeeze" / "alex.pth")
    assert find_lpips("alex") == folder
    assert torch.equal(load_lpips(folder, "alex")(images(0), images(1)), lpips(images(0), images(1)))


def test_weights_are_found_where_both_files_are(tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    assert [find_lpips(network) for network in NETWORKS] == [None] * 3
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    for network in NETWORKS:
        assert find_lpips(network) is None
        folder = tmp_path / f"lpips_{network}"
        folder.mkdir()
        (folder / f"{network}.pth").touch()
        assert find_lpips(network) is None
        (folder / f"{network}.backbone.pth").touch()
        assert find_lpips(network) == folder
        assert all(word in MISSING[network] for word in (f"lpips_{network}", f"{network}.backbone.pth"))
        assert "\n" not in MISSING[network]


def test_weights_of_another_network_are_refused(tmp_path):
    folder = save_parts(make("alex"), tmp_path / "weights")
    (folder / "vgg.backbone.pth").write_bytes((folder / "alex.backbone.pth").read_bytes())
    (folder / "vgg.pth").write_bytes((folder / "alex.pth").read_bytes())
    with pytest.raises(InputError, match="not weights of LPIPS-vgg"):
        load_lpips(folder, "vgg")
    torch.save([1], folder / "alex.pth")
    with pytest.raises(InputError, match="holds a list, expected a state dict"):
        load_lpips(folder, "alex")
