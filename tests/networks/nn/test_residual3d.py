from typing import Any

import pytest
import torch
from torch import nn

from ipoke.networks.nn.residual3d import ResidualBlock3d, ShortClipConv3d


def gradients(block, x, precision):
    block.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        block(x).float().square().mean().backward()
    return torch.cat([parameter.grad.flatten().clone() for parameter in block.parameters()])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_in_reduced_precision_stay_close_at_every_depth(depth):
    torch.manual_seed(0)
    block = ResidualBlock3d(8, 16, stride=(1, 2, 2), groups=4)
    x = torch.randn(2, 8, depth, 16, 16)
    exact, reduced = gradients(block, x, "float32"), gradients(block, x, "bfloat16")
    assert torch.isfinite(reduced).all()
    assert (reduced - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize(("depth", "expected"), [(1, torch.float32), (2, torch.float32), (3, torch.bfloat16)])
def test_only_clips_shorter_than_the_kernel_leave_reduced_precision(depth, expected):
    convolution = ShortClipConv3d(2, 3, 3, padding=1)
    x = torch.randn(1, 2, depth, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolution(x).dtype == expected
        assert convolution(x.bfloat16()).dtype == expected


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_in_full_precision_it_is_a_plain_convolution(depth):
    convolution = ShortClipConv3d(2, 3, 3, stride=(2, 1, 2), padding=1, bias=False)
    plain = nn.Conv3d(2, 3, 3, stride=(2, 1, 2), padding=1, bias=False)
    plain.load_state_dict(convolution.state_dict())
    x = torch.randn(2, 2, depth, 6, 7)
    assert torch.equal(convolution(x), plain(x))


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 2, 2)])
def test_a_block_divides_time_and_space_by_its_strides(stride):
    block = ResidualBlock3d(4, 4, stride=stride, groups=2)
    assert block(torch.randn(1, 4, 5, 8, 6)).shape == (1, 4, -(-5 // stride[0]), 8 // stride[1], 6 // stride[2])
    assert isinstance(block.shortcut, nn.Identity) == (stride == (1, 1, 1))


def test_a_block_adds_to_its_shortcut_before_the_last_activation():
    block: Any = ResidualBlock3d(4, 4, groups=2)
    nn.init.zeros_(block.main[4].weight)
    nn.init.constant_(block.main[4].bias, -0.25)
    x = torch.randn(1, 4, 3, 5, 5)
    torch.testing.assert_close(block(x), (x - 0.25).relu())
