"""From pictures or pokes to features on the latent grid, and the decoder that serves to pre-train them."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.sections import ConditionEncoderSettings, Norm
from ipoke.networks.nn import normalisation
from ipoke.networks.nn.normalisation import plain, weight_wrap
from ipoke.networks.nn.residual import ResidualBlock, UpBlock


class ConditionEncoder(nn.Module):
    """Strided residual blocks, then residual blocks on the latent grid. Paper: Sec. 3.2, Phi_x0 and Phi_c."""

    def __init__(self, settings: ConditionEncoderSettings, inputs: int, norm: Norm = "group") -> None:
        super().__init__()
        widths, groups = settings.widths, settings.groups
        wrap = weight_wrap(settings.spectral_norm)
        self.stem = nn.Sequential(
            wrap(nn.Conv2d(inputs, widths[0], 3, 2, 1)), normalisation.norm(norm, groups, widths[0]), nn.ELU()
        )
        self.down = nn.Sequential(
            *(ResidualBlock(a, b, stride=2, kind=norm, groups=groups, wrap=wrap) for a, b in itertools.pairwise(widths))
        )
        self.bottleneck = nn.Sequential(
            *(
                ResidualBlock(widths[-1], widths[-1], shortcut=False, kind=norm, groups=groups, wrap=plain)
                for _ in range(settings.bottleneck_blocks)
            )
        )

    def forward(self, x: Float[Tensor, "b c s s"]) -> Float[Tensor, "b k 8 8"]:
        """Return features on the latent grid."""
        return self.bottleneck(self.down(self.stem(x)))


class ConditionDecoder(nn.Module):
    """From features back to a picture (tanh) or to dense optical flow (linear); used in pre-training only."""

    def __init__(self, settings: ConditionEncoderSettings, outputs: int, *, bounded: bool) -> None:
        super().__init__()
        wrap, groups = weight_wrap(settings.spectral_norm), settings.groups
        widths = (settings.widths[-1], *settings.decoder_widths)
        self.inner = ResidualBlock(widths[0], widths[0], shortcut=False, groups=groups, wrap=wrap)
        self.ups = nn.Sequential(
            *(UpBlock(a, b, normed=True, groups=groups, wrap=wrap) for a, b in itertools.pairwise(widths))
        )
        self.last = nn.Conv2d(widths[-1], outputs, 3, padding=1)
        self.bounded = bounded

    def forward(self, features: Float[Tensor, "b k 8 8"]) -> Float[Tensor, "b c s s"]:
        """Decode features."""
        x = self.last(self.ups(self.inner(features)))
        return torch.tanh(x) if self.bounded else x
