"""Distances between images as pretrained networks see them, from weight files that the user has."""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.errors import InputError

WEIGHTS_VARIABLE = "IPOKE_WEIGHTS"
"""Environment variable that names the folder of pretrained weights."""


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 squeeze, then 1x1 and 3x3 expansions side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Transform a feature map."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


class LpipsSqueeze(nn.Module):
    """LPIPS v0.1 on SqueezeNet 1.1 features.

    Source: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric".
    """

    taps = (1, 4, 7, 9, 10, 11, 12)
    widths = (64, 128, 256, 384, 384, 512, 512)
    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(1, width, 1, 1)) for width in self.widths)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def embed(self, images: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n c h2 w2"]]:
        """Return the feature maps at the seven taps, each normalised to unit length at every place."""
        x = (images - self.shift) / self.scale
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                # The constant keeps the gradient finite where all features are zero.
                maps.append(x / (x.float().square().sum(1, keepdim=True) + 1e-8).sqrt())
        return maps

    def forward(self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the distance of each pair of images in [-1, 1]; 0 for equal images."""
        pairs = zip(self.embed(first), self.embed(second), self.weights, strict=True)
        return torch.stack([((a - b).square() * w).sum(1).mean((1, 2)) for a, b, w in pairs]).sum(0)


class Vgg19Distance(nn.Module):
    """Mean absolute difference of VGG-19 features at relu1_1 to relu5_1, averaged over the five layers.

    As in the original, images are fed in [-1, 1] without ImageNet normalisation.
    """

    taps = (1, 6, 11, 20, 29)
    plan = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in self.plan:
            if width:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the distance of each pair of images."""
        distances = []
        for index, layer in enumerate(self.features):
            first, second = layer(first), layer(second)
            if index in self.taps:
                distances.append((first - second).abs().flatten(1).mean(1))
        return torch.stack(distances).mean(0)


def find_perceptual_weights(given: str | None) -> Path | None:
    """Find the weights to use: the path given, else what the folder in IPOKE_WEIGHTS holds, else None.

    Raises:
        InputError: A path was given and is not there.
    """
    if given is not None:
        if not Path(given).exists():
            raise InputError(f"perceptual weights: {given} does not exist; give a VGG-19 file or an LPIPS folder")
        return Path(given)
    folder = os.environ.get(WEIGHTS_VARIABLE)
    if folder:
        for name in ("vgg19.pth", "lpips_squeeze"):
            if (Path(folder) / name).exists():
                return Path(folder) / name
    return None


def load_perceptual(path: Path) -> LpipsSqueeze | Vgg19Distance:
    """Read LPIPS-SqueezeNet (a folder with ``squeeze.backbone.pth`` and ``squeeze.pth``) or VGG-19 (a file), frozen.

    Raises:
        InputError: Files missing, not weights, or of another network.
    """
    network: LpipsSqueeze | Vgg19Distance
    if path.is_dir():
        network = LpipsSqueeze()
        backbone, linear = _read(path / "squeeze.backbone.pth"), _read(path / "squeeze.pth")
        state = {f"features.{_strip(name)}": tensor for name, tensor in backbone.items()}
        state |= {f"weights.{index}": linear.get(f"lin{index}.model.1.weight") for index in range(7)}
        state |= {"shift": network.shift, "scale": network.scale}
    else:
        network = Vgg19Distance()
        wanted = network.state_dict()
        state = {name: tensor for name, tensor in _read(path).items() if name in wanted}
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        problem = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: not weights of {type(network).__name__} ({problem})") from error
    return network.eval().requires_grad_(False)


def weights_sha256(path: Path) -> str:
    """Hash a weight file, or all .pth files of a folder in order of name."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.pth")) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot read these weights ({problem}); nothing was executed") from error


def _strip(name: str) -> str:
    return name.removeprefix("features.")
