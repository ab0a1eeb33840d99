"""The released networks in miniature, by their original names: a random checkpoint, and what it computes.

Written against the names and shapes of a released checkpoint, with nothing of the package, so that a tensor that the
importer puts in the wrong place shows. Where the recorded outputs of the released implementation are at hand, they are
compared with this too.
"""

import itertools
import math
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

LATENT, PIXELS, FRAMES, COND = 8, 64, 10, 8
ENCODER, DECODER, SPADE_WIDTH, CELLS = (8, 16, 16, 16), (16, 16, 8, 8), 8, 2
STEPS, UNITS, DROP, MASKED_WIDTH, COUPLING_WIDTH = (2, 1), 2, 2, 2, 16
STRIDES = ((2, 1, 1), (2, 2, 2), (2, 2, 2))
SWEEPS = ("conv1", "conv2", "conv3", "conv4")


def checkpoint(seed: int = 0, *, sees_source: bool = True) -> dict[str, Tensor]:
    """Draw the state of a second stage: autoencoder, two condition encoders with their decoders, latent flow."""
    draw = _Draw(seed)
    draw.first_stage("first_stage_model.")
    draw.condition("conditioner.", 3)
    draw.condition("poke_embedder.", 5 if sees_source else 2)
    draw.latent_flow("flow.flow.")
    return draw.state


class _Draw:
    """Random tensors under the names of the released modules."""

    def __init__(self, seed: int) -> None:
        self.state: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, std: float = 1.0, mean: float = 0.0) -> Tensor:
        return mean + std * torch.randn(shape, generator=self.generator)

    def conv(self, name: str, out: int, inside: int, *kernel: int, bias: bool = True) -> None:
        self.state[f"{name}.weight"] = self.normal(out, inside, *kernel, std=(inside * math.prod(kernel)) ** -0.5)
        if bias:
            self.state[f"{name}.bias"] = self.normal(out, std=0.1)

    def spectral(self, name: str, out: int, inside: int, *, turned: bool = False) -> None:
        """Draw a convolution under spectral normalisation, ``turned`` for a transposed one."""
        weight = self.normal(*((inside, out) if turned else (out, inside)), 3, 3)
        matrix = (weight.transpose(0, 1) if turned else weight).flatten(1)
        u = F.normalize(self.normal(out), dim=0)
        for _ in range(3):
            v = F.normalize(matrix.T @ u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
        self.state |= {f"{name}.weight_orig": weight, f"{name}.weight_u": u, f"{name}.weight_v": v}
        self.state[f"{name}.bias"] = self.normal(out, std=0.1)

    def norm(self, name: str, channels: int) -> None:
        self.state |= {f"{name}.weight": self.normal(channels, std=0.1, mean=1.0)}
        self.state |= {f"{name}.bias": self.normal(channels, std=0.1)}

    def residual(self, name: str, out: int, inside: int, *, shortcut: bool = True) -> None:
        for conv, width in (("conv1", inside), ("conv2", out)):
            self.spectral(f"{name}.{conv}.conv", out, width)
            self.norm(f"{name}.{conv}.norm", out)
        if shortcut:
            self.spectral(f"{name}.res_conv.conv", out, inside)

    def up(self, name: str, out: int, inside: int, *, normed: bool) -> None:
        self.spectral(f"{name}.conv1.conv", out, inside, turned=True)
        self.spectral(f"{name}.conv2.conv", out, out)
        self.spectral(f"{name}.res_conv.conv", out, inside, turned=True)
        if normed:
            self.norm(f"{name}.conv1.norm", out)
            self.norm(f"{name}.conv2.norm", out)

    def first_stage(self, prefix: str) -> None:
        encoder = f"{prefix}enc_motion."
        self.conv(f"{encoder}conv1", ENCODER[0], 3, 3, 7, 7, bias=False)
        self.norm(f"{encoder}bn1", ENCODER[0])
        for layer, (inside, out) in enumerate(itertools.pairwise(ENCODER), start=1):
            for block in range(2):
                name = f"{encoder}layer{layer}.{block}."
                for number, width in ((1, out if block else inside), (2, out)):
                    self.conv(f"{name}conv{number}", out, width, 3, 3, 3, bias=False)
                    self.norm(f"{name}bn{number}", out)
                if not block:
                    self.conv(f"{name}downsample.0", out, inside, 1, 1, 1, bias=False)
                    self.norm(f"{name}downsample.1", out)
        for head in ("conv_mu", "conv_var"):
            self.conv(f"{encoder}{head}", LATENT, ENCODER[-1], 3, 3)
        self.state[f"{prefix}motion_bias"] = self.normal(1, LATENT, 8, 8)
        for cell in range(CELLS):
            for gate in ("update_gate", "reset_gate", "out_gate"):
                self.conv(f"{prefix}rnn.cells.{cell}.{gate}", LATENT, 2 * LATENT, 3, 3)
        self.residual(f"{prefix}gen.in_block", DECODER[0], LATENT)
        for level, (inside, out) in enumerate(itertools.pairwise(DECODER)):
            self.up(f"{prefix}gen.blocks.{level}", out, inside, normed=False)
            spade = f"{prefix}gen.spade_blocks.{level}."
            self.conv(f"{spade}conv", SPADE_WIDTH, 3, 3, 3)
            self.conv(f"{spade}conv_gamma", out, SPADE_WIDTH, 3, 3)
            self.conv(f"{spade}conv_beta", out, SPADE_WIDTH, 3, 3)
        self.conv(f"{prefix}gen.out_conv.conv", 3, DECODER[-1], 3, 3)

    def condition(self, prefix: str, inputs: int) -> None:
        self.spectral(f"{prefix}encoder.model.0.conv", 16, inputs)
        self.norm(f"{prefix}encoder.model.0.norm", 16)
        self.residual(f"{prefix}encoder.model.1", COND, 16)
        self.residual(f"{prefix}encoder.model.2", COND, COND)
        for number in (1, 2):
            self.conv(f"{prefix}encoder.bottleneck.0.conv{number}.conv", COND, COND, 3, 3)
            self.norm(f"{prefix}encoder.bottleneck.0.conv{number}.norm", COND)
        self.residual(f"{prefix}decoder.in_block", COND, COND, shortcut=False)
        self.up(f"{prefix}decoder.blocks.0", COND, COND, normed=True)

    def latent_flow(self, prefix: str) -> None:
        width = LATENT
        for level, steps in enumerate(STEPS):
            for step in range(steps):
                self.step(f"{prefix}layers.{level}.{step}.", width)
            self.order(f"{prefix}priors.{level}.conv1x1", width)
            self.coupling(f"{prefix}priors.{level}.coupling", width - DROP, DROP)
            self.actnorm(f"{prefix}priors.{level}.actnorm", DROP)
            self.order(f"{prefix}shuffle_layers.{level}", width)
            width -= DROP

    def step(self, prefix: str, width: int) -> None:
        self.order(f"{prefix}conv1x1", width)
        for half in (1, 2):
            self.actnorm(f"{prefix}actnorm{half}", width)
            for unit in range(UNITS):
                name = f"{prefix}units{half}.{unit}."
                for sweep in SWEEPS:
                    kernel = (2, 3) if sweep in ("conv1", "conv2") else (3, 2)
                    hidden = MASKED_WIDTH * width
                    self.conv(f"{name}{sweep}.net.shift_conv", hidden, width, *kernel, bias=False)
                    self.projection(f"{name}{sweep}.net.conv1x1", 2 * width, hidden + 2 * COND, 1)
                self.actnorm(f"{name}actnorm1", width)
                self.actnorm(f"{name}actnorm2", width)
            for part in ("up", "dn"):
                self.coupling(f"{prefix}coupling{half}_{part}", width // 2, width // 2)

    def coupling(self, name: str, kept: int, transformed: int) -> None:
        self.conv(f"{name}.net.conv1", COUPLING_WIDTH, kept, 3, 3, bias=False)
        self.conv(f"{name}.net.conv2", COUPLING_WIDTH, COUPLING_WIDTH, 1, 1, bias=False)
        self.projection(f"{name}.net.conv3", 2 * transformed, COUPLING_WIDTH, 3)

    def projection(self, name: str, out: int, inside: int, kernel: int) -> None:
        self.state[f"{name}.conv.weight_v"] = self.normal(out, inside, kernel, kernel)
        self.state[f"{name}.conv.weight_g"] = self.normal(out, 1, 1, 1, std=0.1)
        self.state[f"{name}.conv.bias"] = self.normal(out, std=0.1)
        self.state[f"{name}.initialized"] = torch.tensor(1, dtype=torch.uint8)

    def actnorm(self, name: str, width: int) -> None:
        self.state[f"{name}.log_scale"] = self.normal(width, 1, 1, std=0.1)
        self.state[f"{name}.bias"] = self.normal(width, 1, 1, std=0.1)
        self.state[f"{name}.initialized"] = torch.tensor(1, dtype=torch.uint8)

    def order(self, name: str, width: int) -> None:
        order = torch.randperm(width, generator=self.generator)
        self.state |= {f"{name}.forward_shuffle_idx": order, f"{name}.backward_shuffle_idx": order.argsort()}


class Released:
    """What a checkpoint computes."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def posterior(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Encode clips (b, 11, 3, s, s)."""
        name = "first_stage_model.enc_motion."
        x = self._conv3d(f"{name}conv1", clip.transpose(1, 2), (2, 2, 2), (1, 3, 3))
        x = self._norm(f"{name}bn1", x).relu()
        for layer, stride in enumerate(STRIDES, start=1):
            for block in range(2):
                x = self._block3d(f"{name}layer{layer}.{block}.", x, (1, 1, 1) if block else stride)
        x = x.squeeze(2)
        return self._conv(f"{name}conv_mu", x), self._conv(f"{name}conv_var", x)

    def _block3d(self, name: str, x: Tensor, stride: tuple[int, int, int]) -> Tensor:
        y = self._norm(f"{name}bn1", self._conv3d(f"{name}conv1", x, stride, (1, 1, 1))).relu()
        y = self._norm(f"{name}bn2", self._conv3d(f"{name}conv2", y, (1, 1, 1), (1, 1, 1)))
        if f"{name}downsample.0.weight" in self.state:
            x = self._norm(f"{name}downsample.1", self._conv3d(f"{name}downsample.0", x, stride, (0, 0, 0)))
        return (y + x).relu()

    def embedding(self, part: str, x: Tensor) -> Tensor:
        """Encode pictures by ``conditioner``, or what the pokes are by ``poke_embedder``."""
        name = f"{part}.encoder."
        x = F.elu(self._norm(f"{name}model.0.norm", self._spectral(f"{name}model.0.conv", x, stride=2)))
        for number in range(1, 1 + self._count(rf"{part}\.encoder\.model\.(\d+)\.")):
            if f"{name}model.{number}.conv1.conv.bias" in self.state:
                x = self._residual(f"{name}model.{number}", x, stride=2)
        for number in range(self._count(rf"{part}\.encoder\.bottleneck\.(\d+)\.")):
            block = f"{name}bottleneck.{number}."
            y = F.elu(self._norm(f"{block}conv1.norm", self._conv(f"{block}conv1.conv", x)))
            x = x + self._norm(f"{block}conv2.norm", self._conv(f"{block}conv2.conv", y))
        return x

    def video(self, z: Tensor, source: Tensor) -> Tensor:
        """Decode latents into the frames after their source frame."""
        name = "first_stage_model."
        states = [z] * self._count(r"first_stage_model\.rnn\.cells\.(\d+)\.")
        frames = []
        for _ in range(FRAMES):
            x = self.state[f"{name}motion_bias"].expand_as(z)
            for cell, state in enumerate(states):
                x = states[cell] = self._cell(f"{name}rnn.cells.{cell}.", x, state)
            frames.append(self._painted(f"{name}gen.", x, source))
        return torch.stack(frames, 1)

    def _cell(self, name: str, x: Tensor, state: Tensor) -> Tensor:
        both = torch.cat([x, state], 1)
        update, reset = (self._conv(f"{name}{gate}_gate", both).sigmoid() for gate in ("update", "reset"))
        new = self._conv(f"{name}out_gate", torch.cat([x, state * reset], 1)).tanh()
        return state * (1 - update) + new * update

    def _painted(self, name: str, x: Tensor, source: Tensor) -> Tensor:
        x = self._residual(f"{name}in_block", x)
        for level in range(self._count(r"first_stage_model\.gen\.blocks\.(\d+)\.")):
            block, spade = f"{name}blocks.{level}.", f"{name}spade_blocks.{level}."
            main = self._spectral(f"{block}conv2.conv", self._spectral(f"{block}conv1.conv", x, turned=True).relu())
            x = main + F.instance_norm(self._spectral(f"{block}res_conv.conv", x, turned=True)).relu()
            small = F.interpolate(source, x.shape[2:], mode="bilinear", align_corners=True)
            hidden = F.leaky_relu(self._conv(f"{spade}conv", small), 0.2)
            normed = F.group_norm(x, math.gcd(16, x.shape[1]))
            x = normed * (1 + self._conv(f"{spade}conv_gamma", hidden)) + self._conv(f"{spade}conv_beta", hidden)
        return self._conv(f"{name}out_conv.conv", x).tanh()

    def residual(self, z: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Map latents to residuals, with the log-determinant in nats."""
        name, done = "flow.flow.", []
        log_det = torch.zeros(len(z), dtype=z.dtype)
        levels = self._count(r"flow\.flow\.layers\.(\d+)\.")
        drop = len(self.state[f"{name}priors.0.actnorm.bias"])
        for level in range(levels):
            for step in range(self._count(rf"flow\.flow\.layers\.{level}\.(\d+)\.")):
                z, change = self._step(f"{name}layers.{level}.{step}.", z, cond)
                log_det = log_det + change
            z = z[:, self.state[f"{name}priors.{level}.conv1x1.forward_shuffle_idx"]]
            kept, gone = z[:, :-drop], z[:, -drop:]
            gone, change = self._scaled(gone, self._coupling(f"{name}priors.{level}.coupling", kept))
            gone, more = self._actnorm(f"{name}priors.{level}.actnorm", gone)
            log_det = log_det + change + more
            z = torch.cat([kept, gone], 1)[:, self.state[f"{name}shuffle_layers.{level}.forward_shuffle_idx"]]
            done.append(z[:, -drop:])
            z = z[:, :-drop]
        return torch.cat([z, *reversed(done)], 1), log_det

    def _step(self, name: str, z: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros(len(z), dtype=z.dtype)
        for half in (1, 2):
            z, change = self._actnorm(f"{name}actnorm{half}", z)
            log_det = log_det + change
            if half == 1:
                z = z[:, self.state[f"{name}conv1x1.forward_shuffle_idx"]]
            for unit in range(self._count(rf"{re.escape(name)}units{half}\.(\d+)\.")):
                for sweep in SWEEPS:
                    z, change = self._masked(f"{name}units{half}.{unit}.{sweep}.net.", sweep, z, cond)
                    log_det = log_det + change
                    if sweep in ("conv2", "conv4"):
                        number = 1 if sweep == "conv2" else 2
                        z, change = self._actnorm(f"{name}units{half}.{unit}.actnorm{number}", z)
                        log_det = log_det + change
            for part in ("up", "dn"):
                z, change = self._coupled(f"{name}coupling{half}_{part}", z, alternating=half == 2, first=part == "dn")
                log_det = log_det + change
        return z, log_det

    def _coupled(self, name: str, z: Tensor, *, alternating: bool, first: bool) -> tuple[Tensor, Tensor]:
        """Transform the second half given the first, or turned round; or the odd channels given the even."""
        half = z.shape[1] // 2
        one, other = (z[:, ::2], z[:, 1::2]) if alternating else (z[:, :half], z[:, half:])
        if first:
            one, log_det = self._scaled(one, self._coupling(name, other))
        else:
            other, log_det = self._scaled(other, self._coupling(name, one))
        return (torch.stack([one, other], 2).flatten(1, 2) if alternating else torch.cat([one, other], 1)), log_det

    def _masked(self, name: str, sweep: str, z: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        pads = {"conv1": (1, 1, 2, 0), "conv2": (1, 1, 0, 2), "conv3": (2, 0, 1, 1), "conv4": (0, 2, 1, 1)}
        hidden = F.conv2d(F.pad(z, pads[sweep]), self.state[f"{name}shift_conv.weight"])
        side = z.shape[2]
        match sweep:
            case "conv1":
                hidden = hidden[:, :, :side]
            case "conv2":
                hidden = hidden[:, :, 1:]
            case "conv3":
                hidden = hidden[..., :side]
            case _:
                hidden = hidden[..., 1:]
        return self._scaled(z, self._projected(f"{name}conv1x1", F.elu(torch.cat([hidden, cond], 1))))

    def _coupling(self, name: str, x: Tensor) -> Tensor:
        x = F.elu(F.conv2d(x, self.state[f"{name}.net.conv1.weight"], padding=1))
        return self._projected(f"{name}.net.conv3", F.elu(F.conv2d(x, self.state[f"{name}.net.conv2.weight"])))

    def _projected(self, name: str, x: Tensor) -> Tensor:
        v, g = self.state[f"{name}.conv.weight_v"], self.state[f"{name}.conv.weight_g"]
        weight = v * g / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return F.conv2d(x, weight, self.state[f"{name}.conv.bias"], padding=v.shape[2] // 2)

    def _scaled(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, logit = parameters.chunk(2, 1)
        scale = 2 * torch.sigmoid(logit)
        return x * scale + shift, scale.log().flatten(1).sum(1)

    def _actnorm(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = self.state[f"{name}.log_scale"]
        y = x * log_scale.exp() + self.state[f"{name}.bias"]
        return y, (log_scale.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def _residual(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        y = F.elu(self._norm(f"{name}.conv1.norm", self._spectral(f"{name}.conv1.conv", x, stride=stride)))
        y = self._norm(f"{name}.conv2.norm", self._spectral(f"{name}.conv2.conv", y))
        if f"{name}.res_conv.conv.bias" in self.state:
            x = F.elu(F.instance_norm(self._spectral(f"{name}.res_conv.conv", x, stride=stride)))
        return y + x

    def _spectral(self, name: str, x: Tensor, *, stride: int = 1, turned: bool = False) -> Tensor:
        weight, bias = self.state[f"{name}.weight_orig"], self.state[f"{name}.bias"]
        matrix = (weight.transpose(0, 1) if turned else weight).flatten(1)
        weight = weight / (self.state[f"{name}.weight_u"] @ matrix @ self.state[f"{name}.weight_v"])
        if turned:
            return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
        return F.conv2d(x, weight, bias, stride=stride, padding=1)

    def _conv(self, name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=1)

    def _conv3d(self, name: str, x: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
        return F.conv3d(x, self.state[f"{name}.weight"], stride=stride, padding=padding)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.group_norm(x, math.gcd(16, x.shape[1]), weight, bias)

    def _count(self, pattern: str) -> int:
        return 1 + max(int(found[1]) for name in self.state if (found := re.match(pattern, name)))
