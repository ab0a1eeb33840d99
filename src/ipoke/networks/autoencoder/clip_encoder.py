"""E: from a clip to the posterior of its latent."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.sections import ClipEncoderSettings
from ipoke.networks.nn.normalisation import group_norm
from ipoke.networks.nn.residual3d import ResidualBlock3d
from ipoke.networks.nn.shrink import shrunk, shrunk_field

MOTION_UNIT_PX = 4.0
"""What the encoder sees as 1, px."""


class ClipEncoder(nn.Module):
    """3D ResNet over all frames, the source among them, down to one step on the latent grid.

    Paper: Sec. 3.2 and Fig. 2, E.
    """

    def __init__(self, settings: ClipEncoderSettings, latent_channels: int, shrink: int = 1) -> None:
        super().__init__()
        self.shrink = shrink
        widths, strides = settings.widths, settings.strides
        self.sees_change, self.sees_tracks = settings.sees_change, settings.sees_tracks
        inputs = 3 + 3 * self.sees_change + 2 * self.sees_tracks
        self.stem = nn.Sequential(
            nn.Conv3d(inputs, widths[0], (3, 7, 7), strides[0], (1, 3, 3), bias=False),
            group_norm(settings.groups, widths[0]),
            nn.ReLU(inplace=True),
        )
        blocks = []
        for inputs, outputs, stride in zip(widths[:-1], widths[1:], strides[1:], strict=True):
            blocks.append(ResidualBlock3d(inputs, outputs, stride=stride, groups=settings.groups))
            blocks += [ResidualBlock3d(outputs, outputs, groups=settings.groups) for _ in range(settings.blocks - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.mean = nn.Conv2d(widths[-1], latent_channels, 3, padding=1)
        self.logvar = nn.Conv2d(widths[-1], latent_channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if settings.initial_logvar and self.logvar.bias is not None:
            nn.init.constant_(self.logvar.bias, settings.initial_logvar)

    def forward(
        self, clip: Float[Tensor, "b t 3 s s"], tracks: Float[Tensor, "b t2 2 s s"] | None = None
    ) -> tuple[Float[Tensor, "b c_z h_z w_z"], Float[Tensor, "b c_z h_z w_z"]]:
        """Return mean and log-variance of the latent, float32.

        Tracks (px) are those of `ipoke.data.tracks`, for an encoder that sees them. Time that the strides leave over is
        averaged, so any number of frames is read.
        """
        clip = shrunk(clip, self.shrink)
        seen = [clip]
        if self.sees_change:
            seen.append(clip - clip[:, :1])
        if self.sees_tracks:
            if tracks is None or tracks.shape[1] != clip.shape[1] - 1:
                got = "none" if tracks is None else tracks.shape[1]
                raise ValueError(f"clip encoder: tracks: got {got}, expected {clip.shape[1] - 1}, one per later frame")
            tracks = shrunk_field(tracks, self.shrink)
            seen.append(F.pad(tracks / MOTION_UNIT_PX, (0, 0, 0, 0, 0, 0, 1, 0)))
        features = self.blocks(self.stem(torch.cat(seen, 2).transpose(1, 2))).mean(2)
        return self.mean(features).float(), self.logvar(features).float()


def sample_posterior(
    mean: Float[Tensor, "b c h w"], logvar: Float[Tensor, "b c h w"], generator: torch.Generator
) -> Float[Tensor, "b c h w"]:
    """Draw z ~ N(mean, exp(logvar)); the noise comes from the generator's device."""
    noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
    return mean + (0.5 * logvar).exp() * noise
