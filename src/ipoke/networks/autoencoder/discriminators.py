"""D_S and D_T: critics of single frames and of their succession."""

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ipoke.core.sections import DiscriminatorSettings
from ipoke.networks.nn.normalisation import group_norm
from ipoke.networks.nn.residual3d import ResidualBlock3d


class StaticDiscriminator(nn.Module):
    """PatchGAN over single frames: one logit per patch. Paper: Eq. 9, D_S.

    ``norm="instance"`` serves the autoencoder, ``"group"`` the pre-training of the image encoder, as in the original.
    """

    def __init__(self, settings: DiscriminatorSettings, *, norm: Literal["instance", "group"] = "instance") -> None:
        super().__init__()
        widths, grouped = settings.static_widths, norm == "group"
        layers: list[nn.Module] = [spectral_norm(nn.Conv2d(3, widths[0], 4, 2, 1)), nn.LeakyReLU(0.2)]
        for depth, (inputs, outputs) in enumerate(itertools.pairwise(widths), start=2):
            stride = 1 if depth == len(widths) else 2
            layers += [
                spectral_norm(nn.Conv2d(inputs, outputs, 4, stride, 1, bias=not grouped)),
                group_norm(settings.groups, outputs) if grouped else nn.InstanceNorm2d(outputs),
                nn.LeakyReLU(0.2),
            ]
        last = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        layers.append(last if grouped else spectral_norm(last))
        self.layers = nn.Sequential(*layers)

    def forward(self, frames: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n 1 p q"]:
        """Return logits, high for real patches."""
        return self.layers(frames)


class TemporalDiscriminator(nn.Module):
    """3D ResNet-18 over clips: one logit per remaining step. Paper: Eq. 9, D_T."""

    def __init__(self, settings: DiscriminatorSettings) -> None:
        super().__init__()
        stem, *widths = settings.temporal_widths
        groups = settings.groups
        self.stem = nn.Sequential(
            spectral_norm(nn.Conv3d(3, stem, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)),
            group_norm(groups, stem),
            nn.ReLU(),
            nn.MaxPool3d(3, (1, 2, 2), 1),
        )
        self.stages = nn.ModuleList()
        inputs = stem
        for depth, width in enumerate(widths):
            stride = ((1, 1, 1), (2, 1, 1))[depth] if depth < 2 else (2, 2, 2)
            first = ResidualBlock3d(inputs, width, stride=stride, shortcut_kernel=3, groups=groups, wrap=spectral_norm)
            self.stages.append(nn.Sequential(first, ResidualBlock3d(width, width, groups=groups, wrap=spectral_norm)))
            inputs = width
        self.head = nn.Linear(widths[-1], 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                # Through the parametrisation: in place, only what it computes would change, and be forgotten.
                module.weight = nn.init.orthogonal_(torch.empty_like(module.weight))

    def forward(
        self, clip: Float[Tensor, "b t 3 s s"]
    ) -> tuple[Float[Tensor, "b steps"], list[Float[Tensor, "b _ _ _ _"]]]:
        """Return logits, high for real clips, and the feature maps of each stage."""
        x = self.stem(clip.transpose(1, 2))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        pooled = F.adaptive_avg_pool3d(x, (x.shape[2], 1, 1)).flatten(2)
        return self.head(pooled.transpose(1, 2)).squeeze(-1), features
