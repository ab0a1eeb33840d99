from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ipoke.networks.nn.normalisation import group_norm, weight_wrap
from ipoke.networks.nn.residual import PlainResidualBlock, ResidualBlock, UpBlock


@pytest.mark.parametrize(("groups", "channels", "expected"), [(16, 32, 16), (16, 24, 8), (4, 6, 2), (3, 8, 1)])
def test_groups_divide_the_channels(groups, channels, expected):
    assert group_norm(groups, channels).num_groups == expected


def test_a_block_without_a_shortcut_adds_its_input():
    block: Any = ResidualBlock(4, 4, shortcut=False, groups=2)
    nn.init.zeros_(block.main[-1].weight)
    nn.init.constant_(block.main[-1].bias, -3.0)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x - 3)


def test_both_paths_of_a_block_are_summed():
    torch.manual_seed(0)
    block: Any = ResidualBlock(3, 4, stride=2, groups=2)
    x = torch.randn(2, 3, 8, 8)
    shortcut = F.elu(F.instance_norm(block.shortcut[0](x)))
    main = block.main[4](block.main[3](F.elu(block.main[1](block.main[0](x)))))
    assert main.shape == (2, 4, 4, 4)
    torch.testing.assert_close(block(x), main + shortcut)


def test_without_norms_a_block_keeps_the_size_of_what_it_sees():
    torch.manual_seed(0)
    block = ResidualBlock(3, 4, stride=2, kind="none")
    with torch.no_grad():
        for module in block.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.zero_()
    x = torch.randn(1, 3, 8, 8)
    assert block(3 * x).norm() > 2 * block(x).norm()
    assert not any(isinstance(module, nn.GroupNorm | nn.InstanceNorm2d) for module in block.modules())


def test_a_plain_residual_block_starts_as_the_identity_and_keeps_sizes():
    block = PlainResidualBlock(4)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)
    with torch.no_grad():
        block.second.weight.normal_(generator=torch.Generator().manual_seed(1))
    assert (block(100 * x) - 100 * x).abs().mean() > 10 * (block(x) - x).abs().mean()


@pytest.mark.parametrize("normed", [False, True])
def test_an_up_block_doubles_the_side(normed):
    block = UpBlock(4, 6, normed=normed, groups=2)
    assert block(torch.randn(2, 4, 8, 8)).shape == (2, 6, 16, 16)
    assert sum(isinstance(module, nn.GroupNorm) for module in block.modules()) == 2 * normed


def test_spectral_normalisation_bounds_a_convolution():
    torch.manual_seed(0)
    convolution: Any = weight_wrap(True)(nn.Conv2d(3, 5, 3))
    with torch.no_grad():
        convolution.parametrizations.weight.original *= 7
        for _ in range(30):
            convolution(torch.randn(1, 3, 5, 5))
    assert torch.linalg.matrix_norm(convolution.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)
    untouched: Any = weight_wrap(False)(nn.Conv2d(3, 5, 3))
    assert untouched.weight.is_leaf
