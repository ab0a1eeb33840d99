"""Residual blocks for clips."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.networks.nn.normalisation import Wrap, group_norm, plain

Stride = tuple[int, int, int]
"""Strides in time, height and width."""


class ShortClipConv3d(nn.Conv3d):
    """A 3D convolution that leaves reduced precision where a clip is shorter than its kernel.

    There the CPU's bfloat16 weight gradient is garbage (torch 2.13, oneDNN: values of 1e30 at depth 2, kernel 3).
    """

    def forward(self, input: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h2 w2"]:
        """Convolve."""
        short = input.device.type == "cpu" and input.shape[2] < self.kernel_size[0]
        if not short or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


class ResidualBlock3d(nn.Module):
    """Two 3x3x3 convolutions with GroupNorm and a shortcut, ReLU after the sum, as in a 3D ResNet-18.

    The shortcut has a convolution of side ``shortcut_kernel`` with GroupNorm where width or stride change.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: Stride = (1, 1, 1),
        shortcut_kernel: int = 1,
        groups: int = 16,
        wrap: Wrap = plain,
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(
            wrap(ShortClipConv3d(inputs, outputs, 3, stride, 1, bias=False)),
            group_norm(groups, outputs),
            nn.ReLU(inplace=True),
            wrap(ShortClipConv3d(outputs, outputs, 3, 1, 1, bias=False)),
            group_norm(groups, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != (1, 1, 1):
            self.shortcut = nn.Sequential(
                wrap(ShortClipConv3d(inputs, outputs, shortcut_kernel, stride, shortcut_kernel // 2, bias=False)),
                group_norm(groups, outputs),
            )

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h2 w2"]:
        """Transform a feature volume."""
        return (self.main(x) + self.shortcut(x)).relu()
