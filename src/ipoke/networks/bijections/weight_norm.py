"""A convolution whose filters are stored as direction and length."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class WeightNormConv2d(nn.Module):
    r"""Size-keeping convolution whose filters are stored as direction v and length g, per output channel.

    .. math:: w = g \, v / \|v\|

    Source: Salimans and Kingma 2016, "Weight normalization". The output is zero at the start.
    Differs from the original: gain and bias are zero from construction. The original set both from its first batch,
    with a target scale of zero, which gives zero for every batch.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.direction = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.gain = nn.Parameter(torch.zeros(out_channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.direction, std=0.05)  # only the direction matters: any width gives the same start

    def weight(self) -> Float[Tensor, "out in k k"]:
        """Give the filters that the convolution applies."""
        direction = self.direction.to(self.gain.dtype)
        length = torch.linalg.vector_norm(direction, dim=(1, 2, 3), keepdim=True)
        return direction * (self.gain / length)

    def forward(self, x: Float[Tensor, "b in h w"]) -> Float[Tensor, "b out h w"]:
        """Convolve with zero padding."""
        return F.conv2d(x, self.weight().to(x.dtype), self.bias.to(x.dtype), padding=self.kernel // 2)

    def extra_repr(self) -> str:
        """Give the sizes."""
        out, inside = self.direction.shape[:2]
        return f"{inside}, {out}, kernel={self.kernel}"
