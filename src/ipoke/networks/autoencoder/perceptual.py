"""The perceptual distance of the losses: VGG-19 or LPIPS, whichever weights the user has."""

import hashlib
import os
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.errors import InputError
from ipoke.core.reading.regular import is_there, regular_file
from ipoke.networks.autoencoder.lpips import (
    WEIGHTS_VARIABLE,
    Lpips,
    load_frozen,
    load_lpips,
    read_weights,
    vgg_features,
)


class Vgg19Distance(nn.Module):
    """Mean absolute difference of VGG-19 features at relu1_1 to relu5_1, averaged over the five layers.

    As in the original, images are fed in [-1, 1] without ImageNet normalisation.
    """

    taps = (1, 6, 11, 20, 29)
    plan = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg_features(self.plan)

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
        if not is_there(Path(given)):
            raise InputError(f"perceptual weights: {given} does not exist; give a VGG-19 file or an LPIPS folder")
        return Path(given)
    folder = os.environ.get(WEIGHTS_VARIABLE)
    if folder:
        for name in ("vgg19.pth", "lpips_squeeze"):
            if (Path(folder) / name).exists():
                return Path(folder) / name
    return None


def load_perceptual(path: Path) -> Lpips | Vgg19Distance:
    """Read LPIPS-SqueezeNet (a folder with ``squeeze.backbone.pth`` and ``squeeze.pth``) or VGG-19 (a file), frozen.

    Raises:
        InputError: Files missing, not weights, or of another network.
    """
    if path.is_dir():
        return load_lpips(path)
    network = Vgg19Distance()
    wanted = network.state_dict()
    state = {name: tensor for name, tensor in read_weights(path).items() if name in wanted}
    return load_frozen(network, state, f"{path}: not weights of Vgg19Distance")


def weights_sha256(path: Path) -> str:
    """Hash a weight file, or all .pth files of a folder in order of name."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.pth")) if path.is_dir() else [path]:
        digest.update(regular_file(file, "file of weights").read_bytes())
    return digest.hexdigest()
