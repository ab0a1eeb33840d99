"""Residual blocks for images: down, keep, up."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.sections import Norm
from ipoke.networks.nn.normalisation import Wrap, group_norm, norm, plain


class ResidualBlock(nn.Module):
    """Convolution-norm-ELU-convolution-norm beside a shortcut of convolution-InstanceNorm-ELU, then the sum.

    With ``shortcut=False`` the input itself is added (same width, stride 1). No activation follows the sum.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        shortcut: bool = True,
        kind: Norm = "group",
        groups: int = 16,
        wrap: Wrap = plain,
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(
            wrap(nn.Conv2d(inputs, outputs, 3, stride, 1)),
            norm(kind, groups, outputs),
            nn.ELU(),
            wrap(nn.Conv2d(outputs, outputs, 3, 1, 1)),
            norm(kind, groups, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if shortcut:
            self.shortcut = nn.Sequential(
                wrap(nn.Conv2d(inputs, outputs, 3, stride, 1)),
                nn.InstanceNorm2d(outputs) if kind == "group" else nn.Identity(),
                nn.ELU(),
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Transform a feature map."""
        return self.main(x) + self.shortcut(x)


class PlainResidualBlock(nn.Module):
    """SiLU-convolution-SiLU-convolution added to its input; no normalisation, so that sizes keep their meaning.

    Starts as the identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform a feature map."""
        return x + self.second(F.silu(self.first(F.silu(x))))


class UpBlock(nn.Module):
    """Twice the side: transposed convolution-ReLU-convolution beside transposed convolution-InstanceNorm-ReLU, summed.

    ``normed`` adds GroupNorm to the main path, as the decoders that pre-train the condition encoders have it.
    """

    def __init__(
        self, inputs: int, outputs: int, *, normed: bool = False, groups: int = 16, wrap: Wrap = plain
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(
            wrap(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)),
            group_norm(groups, outputs) if normed else nn.Identity(),
            nn.ReLU(),
            wrap(nn.Conv2d(outputs, outputs, 3, 1, 1)),
            group_norm(groups, outputs) if normed else nn.Identity(),
        )
        self.shortcut = nn.Sequential(
            wrap(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)),
            nn.InstanceNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Transform a feature map."""
        return self.main(x) + self.shortcut(x)
