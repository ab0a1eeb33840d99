"""Normalisation choices shared by all networks."""

import math
from collections.abc import Callable

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ipoke.core.sections import Norm

Wrap = Callable[[nn.Module], nn.Module]
"""What is done to each convolution after it is made: nothing, or spectral normalisation."""


def group_norm(groups: int, channels: int, *, affine: bool = True) -> nn.GroupNorm:
    """Make a GroupNorm of at most ``groups`` groups that divide ``channels``."""
    return nn.GroupNorm(math.gcd(groups, channels), channels, affine=affine)


def norm(kind: Norm, groups: int, channels: int) -> nn.Module:
    """Make the normalisation that a recipe names; ``none`` keeps the size of what is normalised."""
    return group_norm(groups, channels) if kind == "group" else nn.Identity()


def plain(module: nn.Module) -> nn.Module:
    """Leave a convolution as it is."""
    return module


def weight_wrap(use_spectral_norm: bool) -> Wrap:
    """Choose what a network does to its convolutions."""
    return spectral_norm if use_spectral_norm else plain
