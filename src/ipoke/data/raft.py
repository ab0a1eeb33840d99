"""RAFT-small: optical flow by comparing all pairs of features and refining one field (Teed & Deng 2020).

Attributes carry the names of the published weights, so that a file of these loads as it is.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.errors import InputError

COMPARED, HIDDEN, CONTEXT = 128, 96, 64
"""Channels of the compared features, of the recurrent state and of its constant input."""
LEVELS, RADIUS = 4, 3
"""Levels of the correlation pyramid, and how far around the present estimate each one is looked up."""
STRIDE = 8
"""Image px per feature."""
WEIGHTS_FILE = "raft-small.pth"


class BottleneckBlock(nn.Module):
    """Residual block of 1 x 1, 3 x 3 and 1 x 1 convolutions, a quarter as wide inside."""

    def __init__(self, channels_in: int, channels: int, stride: int, norm: type[nn.Module]) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = nn.Conv2d(channels_in, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1)
        self.conv3 = nn.Conv2d(inner, channels, 1)
        self.norm1, self.norm2, self.norm3 = norm(inner), norm(inner), norm(channels)
        self.downsample = nn.Identity()
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride), norm(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Add what three convolutions found, every sum and norm followed by a ReLU."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        y = F.relu(self.norm3(self.conv3(y)))
        return F.relu(self.downsample(x) + y)


class Encoder(nn.Module):
    """Image to features on an eighth of its side."""

    def __init__(self, channels: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2, padding=3)
        self.norm1 = norm(32)
        self.layer1 = nn.Sequential(BottleneckBlock(32, 32, 1, norm), BottleneckBlock(32, 32, 1, norm))
        self.layer2 = nn.Sequential(BottleneckBlock(32, 64, 2, norm), BottleneckBlock(64, 64, 1, norm))
        self.layer3 = nn.Sequential(BottleneckBlock(64, 96, 2, norm), BottleneckBlock(96, 96, 1, norm))
        self.conv2 = nn.Conv2d(96, channels, 1)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h8 w8"]:
        """Encode an image in [-1, 1]."""
        x = F.relu(self.norm1(self.conv1(image)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class MotionEncoder(nn.Module):
    """Features of what was looked up and of the present estimate."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(LEVELS * (2 * RADIUS + 1) ** 2, 96, 1)
        self.convf1 = nn.Conv2d(2, 64, 7, padding=3)
        self.convf2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv = nn.Conv2d(128, 80, 3, padding=1)

    def forward(
        self, correlation: Float[Tensor, "b 196 h w"], estimate: Float[Tensor, "b 2 h w"]
    ) -> Float[Tensor, "b 82 h w"]:
        """Merge both; the estimate itself stays the last two channels."""
        looked_up = F.relu(self.convc1(correlation))
        moved = F.relu(self.convf2(F.relu(self.convf1(estimate))))
        merged = F.relu(self.conv(torch.cat((looked_up, moved), dim=1)))
        return torch.cat((merged, estimate), dim=1)


class GatedUpdate(nn.Module):
    """Convolutional GRU cell."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.convz = nn.Conv2d(HIDDEN + channels_in, HIDDEN, 3, padding=1)
        self.convr = nn.Conv2d(HIDDEN + channels_in, HIDDEN, 3, padding=1)
        self.convq = nn.Conv2d(HIDDEN + channels_in, HIDDEN, 3, padding=1)

    def forward(self, state: Float[Tensor, "b 96 h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 96 h w"]:
        """Give the next state."""
        both = torch.cat((state, x), dim=1)
        update, reset = torch.sigmoid(self.convz(both)), torch.sigmoid(self.convr(both))
        proposal = torch.tanh(self.convq(torch.cat((reset * state, x), dim=1)))
        return (1 - update) * state + update * proposal


class DisplacementHead(nn.Module):
    """State to the correction of the estimate, in features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN, 128, 3, padding=1)
        self.conv2 = nn.Conv2d(128, 2, 3, padding=1)

    def forward(self, state: Float[Tensor, "b 96 h w"]) -> Float[Tensor, "b 2 h w"]:
        """Read the correction off the state."""
        return self.conv2(F.relu(self.conv1(state)))


class UpdateBlock(nn.Module):
    """One refinement of the estimate."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MotionEncoder()
        self.gru = GatedUpdate(CONTEXT + 82)
        self.flow_head = DisplacementHead()

    def forward(
        self,
        state: Float[Tensor, "b 96 h w"],
        context: Float[Tensor, "b 64 h w"],
        correlation: Float[Tensor, "b 196 h w"],
        estimate: Float[Tensor, "b 2 h w"],
    ) -> tuple[Float[Tensor, "b 96 h w"], Float[Tensor, "b 2 h w"]]:
        """Give the next state and the correction."""
        state = self.gru(state, torch.cat((context, self.encoder(correlation, estimate)), dim=1))
        return state, self.flow_head(state)


class Raft(nn.Module):
    """Optical flow from the first image to the last, refined ``iterations`` times."""

    def __init__(self, iterations: int = 12) -> None:
        super().__init__()
        self.iterations = iterations
        self.fnet = Encoder(COMPARED, nn.InstanceNorm2d)
        self.cnet = Encoder(HIDDEN + CONTEXT, nn.Identity)
        self.update_block = UpdateBlock()

    def forward(self, first: Float[Tensor, "b 3 h w"], last: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2 h w"]:
        """Estimate displacements in px; images are RGB in [0, 255], of any size from 16 px a side."""
        height, width = first.shape[-2:]
        left, top = -width % STRIDE // 2, -height % STRIDE // 2
        border = (left, -width % STRIDE - left, top, -height % STRIDE - top)
        first, last = (F.pad(image / 127.5 - 1, border, mode="replicate") for image in (first, last))
        pyramid = correlation_pyramid(self.fnet(first), self.fnet(last))
        state, context = self.cnet(first).split((HIDDEN, CONTEXT), dim=1)
        state, context = torch.tanh(state), F.relu(context)
        estimate = torch.zeros_like(state[:, :2])
        for _ in range(self.iterations):
            state, correction = self.update_block(state, context, look_up(pyramid, estimate), estimate)
            estimate = estimate + correction
        full = STRIDE * F.interpolate(estimate, scale_factor=STRIDE, mode="bilinear", align_corners=True)
        return full[..., top : top + height, left : left + width]


def correlation_pyramid(
    first: Float[Tensor, "b c h w"], last: Float[Tensor, "b c h w"]
) -> list[Float[Tensor, "b*h*w 1 _ _"]]:
    """Compare every feature of the first image with every one of the last, at ever coarser positions of the last."""
    batch, channels, height, width = first.shape
    scores = torch.einsum("bcp,bcq->bpq", first.flatten(2), last.flatten(2)) / channels**0.5
    pyramid = [scores.reshape(batch * height * width, 1, height, width)]
    for _ in range(LEVELS - 1):
        # Sides of one feature cannot be halved; ceil_mode keeps them.
        pyramid.append(F.avg_pool2d(pyramid[-1], 2, ceil_mode=min(pyramid[-1].shape[-2:]) < 2))
    return pyramid


def look_up(pyramid: list[Float[Tensor, "n 1 _ _"]], estimate: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 196 h w"]:
    """Read each level of the pyramid in a window around where the estimate points; outside the image it is 0."""
    batch, _, height, width = estimate.shape
    window = torch.arange(-RADIUS, RADIUS + 1, dtype=estimate.dtype, device=estimate.device)
    columns = torch.arange(width, dtype=estimate.dtype, device=estimate.device)
    rows = torch.arange(height, dtype=estimate.dtype, device=estimate.device)
    x = (columns + estimate[:, 0]).reshape(-1, 1, 1)
    y = (rows[:, None] + estimate[:, 1]).reshape(-1, 1, 1)
    read = []
    for level, scores in enumerate(pyramid):
        level_height, level_width = scores.shape[-2:]
        # The published weights expect windows column by column: x changes along the first axis.
        at_x, at_y = torch.broadcast_tensors(x / 2**level + window[:, None], y / 2**level + window)
        grid = torch.stack((2 * at_x / max(level_width - 1, 1) - 1, 2 * at_y / max(level_height - 1, 1) - 1), dim=-1)
        values = F.grid_sample(scores, grid, align_corners=True)
        read.append(values.reshape(batch, height, width, -1))
    return torch.cat(read, dim=-1).movedim(-1, 1)


def load_raft(weights: Path) -> Raft:
    """Read the authors' file of RAFT-small weights into a network in evaluation mode.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{weights}: cannot read the RAFT weights ({error.strerror}); check the path") from error
    except Exception as error:  # what a broken pickle makes PyTorch raise has no bounds
        raise InputError(f"{weights}: not a file of weights; expected the authors' {WEIGHTS_FILE}") from error
    network = Raft()
    expected = network.state_dict()
    found = {key.removeprefix("module."): value for key, value in state.items()} if isinstance(state, dict) else {}
    for key, value in expected.items():
        if key not in found or found[key].shape != value.shape:
            raise InputError(
                f"{weights}: got other weights ({key} is missing or differs); expected the authors' {WEIGHTS_FILE}"
            )
    network.load_state_dict({key: found[key] for key in expected})
    return network.eval().requires_grad_(False)


def find_raft_weights() -> Path:
    """Find ``raft-small.pth`` in ``$IPOKE_WEIGHTS`` or ``raft_small`` there, else where PyTorch keeps downloads.

    Raises:
        InputError: It is in none of these places.
    """
    downloads = Path(torch.hub.get_dir()) / "checkpoints"
    given = os.environ.get("IPOKE_WEIGHTS")
    mine = [Path(given), Path(given) / "raft_small"] if given else []
    for folder in (*mine, downloads):
        if (folder / WEIGHTS_FILE).is_file():
            return folder / WEIGHTS_FILE
    where = f"{given} or {downloads}" if given else str(downloads)
    raise InputError(
        f"RAFT: {WEIGHTS_FILE} is not in {where}; set IPOKE_WEIGHTS to the folder of the published models, or use dis"
    )
