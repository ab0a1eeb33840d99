import itertools

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ipoke.core.errors import InputError
from ipoke.data.optical_flow import RaftEstimator, estimator
from ipoke.data.raft import (
    LEVELS,
    RADIUS,
    WEIGHTS_FILE,
    GatedUpdate,
    Raft,
    correlation_pyramid,
    find_raft_weights,
    load_raft,
    look_up,
)

SIDE = 2 * RADIUS + 1


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Raft(iterations=2).eval().requires_grad_(False)


def images(height, width, count=2):
    return 255 * torch.rand(count, 1, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_it_has_the_published_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 990_162
    assert not list(network.buffers())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (60, 70), (33, 129), (16, 16)])
def test_the_field_has_the_size_of_the_images(network, height, width):
    first, last = images(height, width)
    assert network(first, last).shape == (1, 2, height, width)


def test_padding_is_the_repeated_border_and_is_cut_off_again(network):
    first, last = images(61, 70)
    border = (1, 1, 1, 2)
    padded = network(*(F.pad(image, border, mode="replicate") for image in (first, last)))
    assert torch.equal(network(first, last), padded[..., 1:62, 1:71])


def test_batches_hold_independent_pairs(network):
    first, last = (
        image.expand(3, -1, -1, -1) * torch.tensor([1, 0.5, 0.2]).view(3, 1, 1, 1) for image in images(64, 64)
    )
    alone = torch.cat([network(first[k : k + 1], last[k : k + 1]) for k in range(3)])
    assert torch.allclose(network(first, last), alone, atol=1e-4)


def test_the_window_reads_the_scores_around_where_the_estimate_points():
    first = torch.randn(1, 16, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    last = torch.randn(1, 16, 8, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    estimate = torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 8, 9)
    read = look_up(correlation_pyramid(first, last), estimate).unflatten(1, (LEVELS, SIDE, SIDE))
    for row, column in ((4, 3), (0, 8), (7, 0)):
        for right in range(-RADIUS, RADIUS + 1):
            for down in range(-RADIUS, RADIUS + 1):
                x, y = column + 2 + right, row - 1 + down
                inside = 0 <= x < 9 and 0 <= y < 8
                score = first[0, :, row, column] @ last[0, :, y, x] / 4 if inside else torch.zeros(())
                assert float(read[0, 0, RADIUS + right, RADIUS + down, row, column]) == pytest.approx(float(score))


def test_the_gate_decides_between_the_old_state_and_the_proposal():
    cell = GatedUpdate(4).requires_grad_(False)
    state, x = torch.rand(1, 96, 3, 3), torch.rand(1, 4, 3, 3)
    gates, proposals = dict(cell.convz.named_parameters()), dict(cell.convq.named_parameters())
    gates["weight"].zero_()
    gates["bias"].fill_(-50)
    assert torch.allclose(cell(state, x), state, atol=1e-6)
    gates["bias"].fill_(50)
    proposals["weight"].zero_()
    proposals["bias"].fill_(0.5)
    assert torch.allclose(cell(state, x), torch.full_like(state, np.tanh(0.5)), atol=1e-6)


def test_networks_see_pixels_from_minus_one_to_one(network):
    seen = []
    for encoder in (network.fnet, network.cnet):
        encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    network(torch.full((1, 3, 16, 16), 255.0), torch.zeros(1, 3, 16, 16))
    first, last, context = seen
    assert torch.equal(first, torch.ones_like(first))
    assert torch.equal(last, -torch.ones_like(last))
    assert torch.equal(context, first)


def test_each_level_of_the_pyramid_averages_four_positions():
    first, last = torch.randn(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    pyramid = correlation_pyramid(first, last)
    assert [tuple(level.shape) for level in pyramid] == [(256, 1, side, side) for side in (16, 8, 4, 2)]
    for fine, coarse in itertools.pairwise(pyramid):
        assert torch.allclose(coarse[7, 0, 0, 1], fine[7, 0, :2, 2:4].mean(), atol=1e-6)


def test_weights_load_under_the_published_names(network, tmp_path):
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / WEIGHTS_FILE)
    loaded = load_raft(tmp_path / WEIGHTS_FILE)
    assert not loaded.training
    assert "module.update_block.gru.convz.weight" in state
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])
    blank = np.zeros((64, 80, 3), np.uint8)
    assert estimator("raft", weights=tmp_path / WEIGHTS_FILE)(blank, blank).shape == (2, 64, 80)


def test_other_files_are_refused_in_one_line(network, tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    torch.save({"module.fnet.conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("missing.pth", "text.pth", "other.pth", "list.pth"):
        with pytest.raises(InputError, match=name) as caught:
            load_raft(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_weights_are_found_in_the_folder_of_the_environment_first(monkeypatch, tmp_path):
    mine, cache = tmp_path / "mine", tmp_path / "torch" / "hub" / "checkpoints"
    for folder in (mine, cache):
        folder.mkdir(parents=True)
        (folder / WEIGHTS_FILE).touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("IPOKE_WEIGHTS", str(mine))
    assert find_raft_weights() == mine / WEIGHTS_FILE
    (mine / "raft_small").mkdir()
    (mine / WEIGHTS_FILE).rename(mine / "raft_small" / WEIGHTS_FILE)
    assert find_raft_weights() == mine / "raft_small" / WEIGHTS_FILE
    monkeypatch.delenv("IPOKE_WEIGHTS")
    assert find_raft_weights() == cache / WEIGHTS_FILE


def texture(rng, size):
    layers = [
        cv2.GaussianBlur(rng.standard_normal((size, size, 3)), (0, 0), sigma) * sigma**1.5 for sigma in (1, 2, 4, 8)
    ]
    total = np.sum(layers, axis=0)
    return np.interp(total, (total.min(), total.max()), (0, 255)).astype(np.float32)


def test_published_weights_follow_synthetic_motion():
    try:
        weights = find_raft_weights()
    except InputError:
        pytest.skip("needs raft-small.pth in the folder that IPOKE_WEIGHTS names, or in its folder raft_small")
    estimate = RaftEstimator(weights)
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64].astype(np.float32)
    for largest, bound in ((4, 0.25), (12, 0.6)):
        last = texture(rng, 64)
        field = cv2.GaussianBlur(rng.standard_normal((64, 64, 2)).astype(np.float32), (0, 0), 13)
        field *= np.float32(largest / np.hypot(field[..., 0], field[..., 1]).max())
        x, y = columns + field[..., 0], rows + field[..., 1]
        first = cv2.remap(last, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        pair = [np.clip(image, 0, 255).round().astype(np.uint8) for image in (first, last)]
        visible = (x >= 0) & (x < 64) & (y >= 0) & (y < 64)
        assert np.hypot(*(estimate(*pair) - field.transpose(2, 0, 1)))[visible].mean() < bound
