import hashlib
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ipoke.core.errors import InputError
from ipoke.evaluation.metrics.i3d import (
    FILES,
    KNOWN_SHA256,
    MISSING,
    InceptionI3d,
    SamePool,
    Unit3d,
    find_i3d,
    i3d_features,
    load_i3d,
)
from ipoke.networks.autoencoder.lpips import WEIGHTS_VARIABLE

MIXED = {  # 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 after pooling
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}


class Toy(nn.Module):
    """Calls as the published program does; its logits are the mean colours, whatever it is asked."""

    def __init__(self, classes: int = 400) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = False, return_features: bool = False) -> Tensor:
        scaled = x * 2 / 255 - 1 if rescale else x
        features = scaled.mean([2, 3, 4]).repeat(1, 134)[:, : self.classes]
        return features if return_features and resize else features.softmax(1)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def frames_of(count, frames=10, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, side, side, 3), dtype=np.uint8)


def vouch(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")
    return path


def toy_file(folder, classes=400):
    path = folder / "i3d_torchscript.pt"
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(Toy(classes)).save(str(path))
    return path


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = InceptionI3d().eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight)
    return made


def test_it_has_the_published_size(network):
    def unit(inputs, outputs, kernel=1):
        return inputs * outputs * kernel**3 + 2 * outputs

    expected = unit(3, 64, 7) + unit(64, 64) + unit(64, 192, 3)
    for inputs, one, squeeze3, three, squeeze5, five, pooled in MIXED.values():
        expected += unit(inputs, one) + unit(inputs, squeeze3) + unit(squeeze3, three, 3)
        expected += unit(inputs, squeeze5) + unit(squeeze5, five, 3) + unit(inputs, pooled)
    assert expected == 12_287_264
    assert sum(parameter.numel() for parameter in network.parameters()) == expected + 1024 * 400 + 400


def test_its_parameters_have_the_published_names(network):
    names = network.state_dict().keys()
    assert {name.split(".")[0] for name in names} == {
        *("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "logits"),
        *(f"Mixed_{name}" for name in MIXED),
    }
    assert {"Mixed_3b.b1b.conv3d.weight", "Mixed_5c.b3b.bn.running_var", "logits.conv3d.bias"} <= names
    assert {name.split(".")[1] for name in names if name.startswith("Mixed")} == {
        "b0",
        "b1a",
        "b1b",
        "b2a",
        "b2b",
        "b3b",
    }


@pytest.mark.parametrize(("frames", "outputs", "padding"), [(10, 5, (2, 3)), (11, 6, (3, 3)), (16, 8, (2, 3))])
def test_padding_is_that_of_tensorflow(frames, outputs, padding):
    torch.manual_seed(0)
    unit = Unit3d(2, 3, 7, 2).eval()
    x = torch.randn(1, 2, frames, 8, 9)
    expected = F.conv3d(F.pad(x, (3, 3, 2, 3, *padding)), unit.conv3d.weight, stride=2) / (1 + 1e-5) ** 0.5
    assert expected.shape[2:] == (outputs, 4, 5)
    torch.testing.assert_close(unit(x), expected.relu())


def test_pools_reach_beyond_the_clip_where_all_is_zero():
    x = torch.randn(1, 1, 5, 5, 5).abs() - 10
    pooled = SamePool((3, 3, 3), (2, 2, 2))(x)
    assert pooled.shape == (1, 1, 3, 3, 3)
    assert pooled[0, 0, 0, 0, 0] == 0
    assert pooled[0, 0, 1, 1, 1] == x[0, 0, 1:4, 1:4, 1:4].max()


def test_it_takes_ten_and_eleven_frames_and_clips_of_a_batch_do_not_meet(network):
    with torch.device("meta"):
        assert InceptionI3d()(torch.empty(1, 3, 11, 64, 64)).shape == (1, 400)
    clips = frames_of(2, 10)
    together = i3d_features(network, clips)
    assert together.shape == (2, 400)
    assert together.dtype == np.float32
    size = np.abs(together[0] - together[1]).max()
    assert size > 0.01 * np.abs(together).max()
    np.testing.assert_allclose(together[1:], i3d_features(network, clips[1:]), rtol=1e-3, atol=1e-3 * size)


def test_logits_are_averaged_over_time(network, monkeypatch):
    seen = []
    monkeypatch.setattr(network.logits, "forward", lambda x: seen.append(x) or x)
    clip = torch.randn(1, 3, 17, 64, 64)
    logits = network(clip)
    (pooled,) = seen
    assert pooled.shape == (1, 1024, 2, 1, 1)
    torch.testing.assert_close(logits, pooled.mean(2).flatten(1))


def test_short_clips_are_refused(network):
    with pytest.raises(InputError, match="clips of 9 frames, I3D expects at least 10"):
        i3d_features(network, frames_of(1, 9))


def test_a_state_dict_comes_back(network, tmp_path):
    path = tmp_path / "i3d_pretrained_400.pt"
    state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    torch.save(state, path)
    with pytest.raises(
        InputError, match=r"is not known; .* sha256sum i3d_pretrained_400.pt > i3d_pretrained_400.pt.sha"
    ):
        load_i3d(path)
    loaded = load_i3d(vouch(path))
    assert isinstance(loaded, InceptionI3d)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in state.items())
    assert not loaded.training
    torch.save({**state, "logits.conv3d.bias": torch.zeros(7)}, path)
    with pytest.raises(InputError, match="not weights of I3D"):
        load_i3d(vouch(path))


def test_a_program_is_called_as_published(tmp_path):
    frames = frames_of(3)
    features = i3d_features(load_i3d(vouch(toy_file(tmp_path))), frames, batch=2)
    colours = frames.mean((1, 2, 3)) / 127.5 - 1
    np.testing.assert_allclose(features[:, :3], colours, atol=1e-5)
    assert features.shape == (3, 400)
    with pytest.raises(InputError, match=r"features of shape \(3, 7\)"):
        i3d_features(load_i3d(vouch(toy_file(tmp_path, 7))), frames)


def test_a_file_that_nobody_vouches_for_is_not_loaded(tmp_path, monkeypatch):
    path = toy_file(tmp_path)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("was loaded"))
    with pytest.raises(InputError, match="is not known; if you trust this file") as caught:
        load_i3d(path)
    assert "\n" not in str(caught.value)
    vouch(path)
    path.write_bytes(path.read_bytes() + b"changed")
    with pytest.raises(InputError, match="is not known"):
        load_i3d(path)
    with pytest.raises(InputError, match="cannot read this file"):
        load_i3d(tmp_path / "none.pt")


def test_a_known_hash_needs_nothing_beside_it(tmp_path, monkeypatch):
    path = toy_file(tmp_path)
    monkeypatch.setitem(KNOWN_SHA256, hashlib.sha256(path.read_bytes()).hexdigest(), "a toy")
    assert i3d_features(load_i3d(path), frames_of(1)).shape == (1, 400)


def test_broken_files_are_refused_and_not_executed(tmp_path):
    path = tmp_path / FILES[1]
    torch.save({"weights": Payload(tmp_path / "executed")}, path)
    with pytest.raises(InputError, match="nothing was executed"):
        load_i3d(vouch(path))
    assert not (tmp_path / "executed").exists()
    path.write_bytes(toy_file(tmp_path).read_bytes()[:200])
    with pytest.raises(InputError, match="cannot read these weights"):
        load_i3d(vouch(path))


def test_weights_are_found_where_they_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    assert find_i3d() is None
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    assert find_i3d() is None
    (tmp_path / "i3d").mkdir()
    for path in (tmp_path / "i3d" / FILES[1], tmp_path / "i3d" / FILES[0], tmp_path / FILES[1]):
        path.touch()
        assert find_i3d() == path
    assert all(name in MISSING for name in FILES)
