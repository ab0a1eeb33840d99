"""LPIPS v0.1 on SqueezeNet 1.1, AlexNet or VGG-16, from weight files that the user has.

Source: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric".
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.errors import InputError
from ipoke.core.reading.regular import regular_file

WEIGHTS_VARIABLE = "IPOKE_WEIGHTS"
"""Environment variable that names the folder of pretrained weights."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)
Network = Literal["squeeze", "alex", "vgg"]
TAPS: dict[Network, tuple[int, ...]] = {
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
    "alex": (1, 4, 7, 9, 11),
    "vgg": (3, 8, 15, 22, 29),
}
"""Layers of each network, numbered as torchvision does, after which features are compared."""
WIDTHS: dict[Network, tuple[int, ...]] = {
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}
"""Channels at the taps."""
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
"""Channels of VGG-16's convolutions; 0 is a pooling."""
MISSING: dict[Network, str] = {
    "squeeze": (
        "LPIPS-SqueezeNet weights not found; put squeeze.backbone.pth and squeeze.pth into $IPOKE_WEIGHTS/lpips_squeeze"
    ),
    "alex": "AlexNet weights not found; put alex.backbone.pth and alex.pth into $IPOKE_WEIGHTS/lpips_alex",
    "vgg": "VGG-16 weights not found; put vgg.backbone.pth and vgg.pth into $IPOKE_WEIGHTS/lpips_vgg",
}
"""Why LPIPS on a network cannot be given, and what to do."""


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


def squeezenet_features() -> nn.Sequential:
    """Build the convolutions of SqueezeNet 1.1."""
    return nn.Sequential(
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


def alexnet_features() -> nn.Sequential:
    """Build the convolutions of AlexNet, up to the last one that LPIPS uses."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def vgg_features(plan: Iterable[int]) -> nn.Sequential:
    """Build the convolutions of a VGG network from their channels; 0 is a pooling."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in plan:
        if width:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Lpips(nn.Module):
    """LPIPS v0.1: weighted squared differences of a network's features, each of unit length at its place.

    To compare an image with several others, embed every image once and compare their maps.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Network = "squeeze") -> None:
        super().__init__()
        self.network: Network = network
        match network:
            case "squeeze":
                self.features = squeezenet_features()
            case "alex":
                self.features = alexnet_features()
            case "vgg":
                self.features = vgg_features(VGG16)
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(1, width, 1, 1)) for width in WIDTHS[network])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def embed(self, images: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """Return the feature maps of images in [-1, 1] at the taps, normalised to unit length at every place."""
        x = ((images - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS[self.network]:
                # The constant keeps the gradient finite where all features are zero.
                maps.append(x / (x.float().square().sum(1, keepdim=True) + 1e-8).sqrt())
        return maps

    def distance(
        self, first: list[Float[Tensor, "#n _ _ _"]], second: list[Float[Tensor, "#n _ _ _"]]
    ) -> Float[Tensor, " n"]:
        """Return the distance of each pair of embedded images; 0 for equal images."""
        pairs = zip(first, second, self.weights, strict=True)
        return torch.stack([(a - b).square().mean((2, 3)) @ w.flatten() for a, b, w in pairs]).sum(0)

    def pairwise(self, maps: list[Float[Tensor, "nt _ _ _"]], samples: int) -> Float[Tensor, ""]:
        """Return the mean distance over all ordered pairs of different samples, frame by frame.

        The mean squared difference over these pairs is twice the variance over samples with n - 1 in its denominator,
        so the pairs need not be visited.

        Args:
            maps: Embedded frames, sample by sample.
            samples: How many samples these are, at least 2.
        """
        if samples < 2 or len(maps[0]) % samples:
            raise ValueError(
                f"pairwise: got {len(maps[0])} frames of {samples} samples, expected 2 or more of one length"
            )
        total = maps[0].new_zeros(())
        for features, weight in zip(maps, self.weights, strict=True):
            parts = features.chunk(samples)
            mean = sum(parts[1:], parts[0]) / samples
            squares = [(part - mean).square().mean((0, 2, 3)) @ weight.flatten() for part in parts]
            total = total + torch.stack(squares).sum()
        return 2 / (samples - 1) * total

    def forward(self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the distance of each pair of images in [-1, 1]."""
        return self.distance(self.embed(first), self.embed(second))


def find_lpips(network: Network) -> Path | None:
    """Find the folder of a network's weights in ``$IPOKE_WEIGHTS``: ``lpips_squeeze``, ``lpips_alex`` or ``lpips_vgg``.

    It holds ``<network>.backbone.pth``; the linear layers, ``<network>.pth``, lie beside it or in ``lpips_squeeze``.
    """
    given = os.environ.get(WEIGHTS_VARIABLE)
    if not given:
        return None
    folder = Path(given) / f"lpips_{network}"
    return folder if (folder / f"{network}.backbone.pth").exists() and _linear(folder, network).exists() else None


def load_lpips(folder: Path, network: Network = "squeeze") -> Lpips:
    """Read LPIPS on a network, frozen.

    The backbone is a state dict of torchvision's network or of its ``features`` alone; a classifier is left out. The
    linear layers are a file of the released LPIPS v0.1.

    Raises:
        InputError: Files missing, not weights, or of another network.
    """
    lpips = Lpips(network)
    backbone, linear = read_weights(folder / f"{network}.backbone.pth"), read_weights(_linear(folder, network))
    state: dict[str, Any] = {
        f"features.{name.removeprefix('features.')}": tensor
        for name, tensor in backbone.items()
        if not name.startswith("classifier.")
    }
    state |= {f"weights.{index}": linear.get(f"lin{index}.model.1.weight") for index in range(len(lpips.weights))}
    state |= {"shift": lpips.shift, "scale": lpips.scale}
    return load_frozen(lpips, state, f"{folder}: not weights of LPIPS-{network}")


def read_weights(path: Path) -> dict[str, Any]:
    """Read a state dict, executing nothing.

    Raises:
        InputError: The file is missing or not a state dict.
    """
    try:
        weights = torch.load(regular_file(path, "file of weights"), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot read these weights ({problem}); nothing was executed") from error
    if not isinstance(weights, dict):
        raise InputError(f"{path}: holds a {type(weights).__name__}, expected a state dict")
    return weights


def load_frozen(network: AnyModule, state: dict[str, Any], complaint: str) -> AnyModule:
    """Put weights into a network, and freeze it.

    Raises:
        InputError: The weights are not all there, or of other shapes; it begins with the complaint.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        problem = str(error).splitlines()[-1].strip()
        raise InputError(f"{complaint} ({problem})") from error
    return network.eval().requires_grad_(False)


def _linear(folder: Path, network: Network) -> Path:
    beside = folder / f"{network}.pth"
    return beside if beside.exists() else folder.parent / "lpips_squeeze" / beside.name
