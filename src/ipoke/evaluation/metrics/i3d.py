"""I3D, whose logits are the features of FVD, from a weight file of the user.

Source: Carreira & Zisserman 2017, "Quo vadis, action recognition?"; FVD: Unterthiner et al. 2018. A Frechet distance is
called FVD if and only if it is computed on these features.
"""

import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.networks.autoencoder.lpips import WEIGHTS_VARIABLE, load_frozen, read_weights

CLASSES = 400
"""Classes of Kinetics-400, one logit each."""
SIDE = 224
"""Frames are resized to squares of this many px."""
FEWEST_FRAMES = 10
"""Published evaluations use this many or more; time is halved three times and pooled in twos, which needs 9."""
FILES = ("i3d_torchscript.pt", "i3d_pretrained_400.pt")
"""Usual names of I3D files: a TorchScript program and a state dict."""
KNOWN_SHA256 = {"bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2": "i3d_torchscript.pt of StyleGAN-V"}
"""Hashes of published files."""
MISSING = (
    "I3D weights not found, so there is no FVD; put i3d_torchscript.pt or i3d_pretrained_400.pt into "
    "$IPOKE_WEIGHTS or $IPOKE_WEIGHTS/i3d"
)
"""Why FVD is unavailable, and what to do."""
Logits = Callable[[Float[Tensor, "b 3 t h w"]], Float[Tensor, "b d"]]
"""Clips in [-1, 1] to logits, averaged over time."""


def same_padding(shape: torch.Size, kernel: tuple[int, ...], stride: tuple[int, ...]) -> list[int]:
    """Return TensorFlow's "same" padding in the order of F.pad: ceil(size / stride) outputs, the odd pixel behind."""
    padding: list[int] = []
    for size, k, step in zip(reversed(shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // step) - 1) * step + k - size, 0)
        padding += [total // 2, total - total // 2]
    return padding


class Unit3d(nn.Module):
    """Convolution, batch normalisation, ReLU; the last unit has a bias instead of the latter two."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, is_last: bool = False) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=is_last)
        # The constant is that of the published evaluations with i3d_pretrained_400.pt.
        self.bn = None if is_last else nn.BatchNorm3d(outputs, eps=1e-5)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h2 w2"]:
        """Transform features."""
        x = self.conv3d(F.pad(x, same_padding(x.shape, self.conv3d.kernel_size, self.conv3d.stride)))
        return x if self.bn is None else self.bn(x).relu()


class SamePool(nn.Module):
    """Max pooling with zero padding beyond the clip."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t2 h2 w2"]:
        """Pool features."""
        return F.max_pool3d(F.pad(x, same_padding(x.shape, self.kernel, self.stride)), self.kernel, self.stride)


class Mixed(nn.Module):
    """Inception block: four parallel branches, with the names of the published weights."""

    def __init__(self, inputs: int, one: int, *wider: int) -> None:
        super().__init__()
        squeeze3, three, squeeze5, five, pooled = wider
        self.b0 = Unit3d(inputs, one)
        self.b1a, self.b1b = Unit3d(inputs, squeeze3), Unit3d(squeeze3, three, 3)
        self.b2a, self.b2b = Unit3d(inputs, squeeze5), Unit3d(squeeze5, five, 3)
        self.b3a, self.b3b = SamePool((3, 3, 3), (1, 1, 1)), Unit3d(inputs, pooled)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h w"]:
        """Transform features."""
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], 1)


class InceptionI3d(nn.Module):
    """I3D on RGB, with the parameter names of the PyTorch port that is in use for FVD."""

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": Unit3d(3, 64, 7, 2),
            "MaxPool3d_2a_3x3": SamePool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit3d(64, 64),
            "Conv3d_2c_3x3": Unit3d(64, 192, 3),
            "MaxPool3d_3a_3x3": SamePool((1, 3, 3), (1, 2, 2)),
            "Mixed_3b": Mixed(192, 64, 96, 128, 16, 32, 32),
            "Mixed_3c": Mixed(256, 128, 128, 192, 32, 96, 64),
            "MaxPool3d_4a_3x3": SamePool((3, 3, 3), (2, 2, 2)),
            "Mixed_4b": Mixed(480, 192, 96, 208, 16, 48, 64),
            "Mixed_4c": Mixed(512, 160, 112, 224, 24, 64, 64),
            "Mixed_4d": Mixed(512, 128, 128, 256, 24, 64, 64),
            "Mixed_4e": Mixed(512, 112, 144, 288, 32, 64, 64),
            "Mixed_4f": Mixed(528, 256, 160, 320, 32, 128, 128),
            "MaxPool3d_5a_2x2": SamePool((2, 2, 2), (2, 2, 2)),
            "Mixed_5b": Mixed(832, 256, 160, 320, 32, 128, 128),
            "Mixed_5c": Mixed(832, 384, 192, 384, 48, 128, 128),
        }
        self.order = tuple(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.logits = Unit3d(1024, CLASSES, is_last=True)

    def forward(self, clips: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b d"]:
        """Return the logits of clips in [-1, 1], averaged over time; frames are resized bilinearly."""
        batch, _, frames, height, width = clips.shape
        images = clips.transpose(1, 2).flatten(0, 1)
        if (height, width) != (SIDE, SIDE):
            images = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = images.unflatten(0, (batch, frames)).transpose(1, 2)
        for name in self.order:
            x = self.get_submodule(name)(x)
        return self.logits(F.avg_pool3d(x, (2, 7, 7), 1)).mean((2, 3, 4))


def find_i3d() -> Path | None:
    """Find I3D in ``$IPOKE_WEIGHTS``, or in its folder ``i3d``."""
    given = os.environ.get(WEIGHTS_VARIABLE)
    places = [Path(given), Path(given) / "i3d"] if given else []
    return next((place / name for place in places for name in FILES if (place / name).is_file()), None)


def load_i3d(path: Path) -> Logits:
    """Load I3D: a TorchScript program, called as StyleGAN-V does, or a state dict of `InceptionI3d`.

    A TorchScript file is a program, so it is loaded only if its hash is known, or vouched for in a file beside it.

    Raises:
        InputError: The hash is neither known nor written beside the file, or the file is not I3D.
    """
    _check_hash(path)
    if not _is_torchscript(path):
        state = {name: value for name, value in read_weights(path).items() if not name.endswith("num_batches_tracked")}
        network = InceptionI3d()
        counted = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
        return load_frozen(network, {**counted, **state}, f"{path}: not weights of I3D")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            program = torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as TorchScript ({str(error).splitlines()[0]})") from error

    def logits(clips: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b d"]:
        return program(clips, rescale=False, resize=True, return_features=True)

    return logits


@torch.no_grad()
def i3d_features(
    logits: Logits, frames: UInt8[np.ndarray, "b t h w 3"], batch: int = 4
) -> Float32[np.ndarray, "b 400"]:
    """Embed clips by the logits of I3D: frames resized bilinearly to 224 px, logits averaged over time.

    Raises:
        InputError: Too few frames, or a program that returns something else than 400 logits per clip.
    """
    if frames.shape[1] < FEWEST_FRAMES:
        raise InputError(
            f"FVD: got clips of {frames.shape[1]} frames, I3D expects at least {FEWEST_FRAMES}; use longer clips"
        )
    parts = [logits(clip_from_frames(frames[i : i + batch]).transpose(1, 2)) for i in range(0, len(frames), batch)]
    features = torch.cat(parts).float().numpy()
    if features.shape != (len(frames), CLASSES):
        raise InputError(f"FVD: got features of shape {features.shape} from I3D, expected {(len(frames), CLASSES)}")
    return features


def _check_hash(path: Path) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        beside = path.with_name(f"{path.name}.sha256")
        vouched = beside.read_text(encoding="utf-8").split()[:1] if beside.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read this file or the hash beside it ({error})") from error
    if found not in KNOWN_SHA256 and [found] != vouched:
        raise InputError(
            f"{path}: SHA-256 {found} is not known; if you trust this file, run in its folder: "
            f"sha256sum {path.name} > {beside.name}"
        )


def _is_torchscript(path: Path) -> bool:
    """Tell a program from a state dict by the names in the archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())
