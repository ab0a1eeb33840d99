"""The inverse of a whole chain of bijections, prepared for sampling: what depends on weights alone is computed once.

`Bijection.inverse` undoes layer after layer, with log-determinants and gradients. Here weights are normalised, laid out
and packed beforehand; where there is a C compiler, a masked convolution is one compiled call and a coupling is three
matrix products. The values are the same, up to rounding.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ipoke.engine.library import BLOCK, LANES, SIDE, Compiled, compiled, padded_size
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.affine import seen as seen_values
from ipoke.networks.bijections.bijection import Bijection
from ipoke.networks.bijections.chain import Chain
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.bijections.multiscale import LastChannels, Multiscale
from ipoke.networks.bijections.permutation import Permutation

WALKS = {"down": (0, SIDE, 1), "up": (SIDE * (SIDE - 1), -SIDE, 1), "right": (0, 1, SIDE), "left": (SIDE - 1, -1, SIDE)}
"""First place of a walk, places to the next line, and places along a line; places are counted row by row."""
FLOAT_BYTES = 4
PACKED_FROM = 512
"""Width from which the hidden matrix of a coupling is packed."""

Step = Callable[[Float[Tensor, "b h w c"], Float[Tensor, "b k h w"], Float[Tensor, "bhw k"]], None]
"""Undo one layer in place, given the condition, and the condition activated, place after place."""


class PreparedInverse:
    """The inverse of a bijection, prepared from its weights as they are now.

    On a CPU, without gradients, on 8 x 8 grids in float32. Couplings are computed in the precision of their weights.
    Threads take turns.

    Args:
        bijection: Of any layers that `ipoke.networks.bijections` has.
    """

    def __init__(self, bijection: Bijection) -> None:
        self._one_at_a_time = threading.Lock()
        with torch.no_grad():
            self._steps = list(_in_runs(_steps(bijection, 0, compiled())))

    @torch.no_grad()
    def __call__(self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
        """Map residuals to latents."""
        x = r.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
        seen = F.elu(_plain(cond).permute(0, 2, 3, 1).flatten(0, 2))
        with self._one_at_a_time:
            for undo in self._steps:
                undo(x, cond, seen)
        return x.permute(0, 3, 1, 2).contiguous()


def _steps(layer: Bijection, start: int, functions: Compiled | None) -> "Iterator[Step | _UndoMaskedConv]":
    """Prepare a layer that works on the channels from ``start`` on, last part first."""
    match layer:
        case Chain():
            for inner in reversed(layer.ordered()):
                yield from _steps(inner, start, functions)
        case Multiscale():
            for level in reversed(layer.ordered()):
                yield from _steps(level, start, functions)
        case LastChannels():
            yield from _steps(layer.inner, start + layer.channels - layer.inner.channels, functions)
        case ActNorm() if functions is not None:
            yield _UndoActNorm(layer, start, functions)
        case Permutation():
            yield _UndoPermutation(layer, start)
        case AffineCoupling() if functions is not None:
            yield _UndoCoupling(layer, start, functions)
        case MaskedConv() if functions is not None:
            yield _UndoMaskedConv(layer, start, functions)
        case _:
            yield _UndoAsItIs(layer, start)


def _in_runs(steps: "Iterable[Step | _UndoMaskedConv]") -> Iterator[Step]:
    """Put masked convolutions that follow each other into runs."""
    run: list[_UndoMaskedConv | _UndoActNorm] = []
    for step in steps:
        if isinstance(step, _UndoMaskedConv | _UndoActNorm):
            run.append(step)
            continue
        yield from [_UndoRun(run)] if run else []
        run = []
        yield step
    yield from [_UndoRun(run)] if run else []


def _plain(weight: Tensor) -> Float[Tensor, "..."]:
    """Convert a tensor to what the compiled functions read: float32 on the CPU."""
    return weight.to("cpu", torch.float32)


class _UndoAsItIs:
    """Any layer, by its own inverse."""

    def __init__(self, layer: Bijection, start: int) -> None:
        self.layer, self.channels = layer, slice(start, start + layer.channels)

    def __call__(self, x: Tensor, cond: Tensor, seen: Tensor) -> None:
        part = x[..., self.channels]
        part.copy_(self.layer.inverse(part.permute(0, 3, 1, 2), cond)[0].permute(0, 2, 3, 1))


class _UndoActNorm:
    """Scale and shift, with both folded into one product and one sum."""

    def __init__(self, layer: ActNorm, start: int, functions: Compiled) -> None:
        self.functions, self.start = functions, start
        self.scale = (-_plain(layer.log_scale)).exp().flatten()
        self.shift = -_plain(layer.shift).flatten() * self.scale

    def __call__(self, x: Tensor, cond: Tensor, seen: Tensor) -> None:
        self.functions.scale_and_shift(
            *(x.data_ptr(), x.shape[3], len(x), self.start, len(self.scale)),
            *(self.scale.data_ptr(), self.shift.data_ptr()),
        )


class _UndoPermutation:
    """The order that puts channels back."""

    def __init__(self, layer: Permutation, start: int) -> None:
        self.channels, self.order = slice(start, start + layer.channels), layer.order.argsort()

    def __call__(self, x: Tensor, cond: Tensor, seen: Tensor) -> None:
        part = x[..., self.channels]
        part.copy_(part[..., self.order])


class _UndoMaskedConv:
    """One compiled call, given what the condition contributes."""

    def __init__(self, layer: MaskedConv, start: int, functions: Compiled) -> None:
        self.start, self.functions = start, functions
        channels, hidden = layer.channels, layer.conv.out_channels
        hidden_padded, half = padded_size(hidden, BLOCK), padded_size(channels, LANES)
        weight, kernel = _plain(layer.project.weight())[:, :, 0, 0], _plain(layer.conv.weight)
        kernel = kernel if layer.sweep in ("down", "up") else kernel.transpose(2, 3)
        kernel = kernel.flip(2) if layer.sweep in ("up", "left") else kernel
        self.kernel = F.pad(kernel.permute(2, 3, 1, 0), (0, hidden_padded - hidden)).contiguous()
        project = weight[:, :hidden].T.unflatten(1, (2, channels))
        self.project = F.pad(project, (0, half - channels, 0, 0, 0, hidden_padded - hidden)).contiguous()
        self.cond_weight = weight[:, hidden:].T.contiguous() if layer.cond_channels is not None else None
        self.bias = _plain(layer.project.bias).clone()
        lines = (SIDE + 2) ** 2 * channels
        self.scratch = torch.empty(lines + SIDE * (hidden_padded + 2 * half))
        self.fixed = (
            *WALKS[layer.sweep],
            *(channels, hidden_padded, 2 * half, self.kernel.data_ptr(), self.project.data_ptr()),
            *(
                layer.logit_bound or 0.0,
                layer.seen_bound or math.inf,
                self.scratch.data_ptr(),
                self.scratch[lines:].data_ptr(),
            ),
        )

    def __call__(self, x: Tensor, known: Tensor) -> None:
        """Undo the layer, given the (shifts, logits) that need no solved line, (bhw, 2 c) or the same everywhere."""
        stride = known.stride(0) if known.ndim == 2 else 0
        at = x.data_ptr() + FLOAT_BYTES * self.start
        self.functions.undo_masked_conv(at, x.shape[3], len(x), known.data_ptr(), stride, *self.fixed)


class _UndoRun:
    """Masked convolutions and what is between them, after one product for what the condition contributes to all."""

    def __init__(self, steps: list["_UndoMaskedConv | _UndoActNorm"]) -> None:
        self.steps = steps
        self.conditional = [
            step for step in steps if isinstance(step, _UndoMaskedConv) and step.cond_weight is not None
        ]
        if self.conditional:
            self.weight = torch.cat([step.cond_weight for step in self.conditional if step.cond_weight is not None], 1)
            self.bias = torch.cat([step.bias for step in self.conditional])

    def __call__(self, x: Tensor, cond: Tensor, seen: Tensor) -> None:
        known: dict[_UndoMaskedConv, Tensor] = {}
        if self.conditional:
            shares = torch.addmm(self.bias, seen, self.weight).split(
                [len(step.bias) for step in self.conditional], dim=1
            )
            known = dict(zip(self.conditional, shares, strict=True))
        for step in self.steps:
            if isinstance(step, _UndoMaskedConv):
                step(x, known.get(step, step.bias))
            else:
                step(x, cond, seen)


class _UndoCoupling:
    """Three matrix products over the neighbourhoods of all places, and compiled calls for what is around them.

    The last convolution is a product to its nine taps, which are added up where they belong afterwards. In float32 the
    widest matrix is packed for the processor; that takes its memory once more.
    """

    def __init__(self, layer: AffineCoupling, start: int, functions: Compiled) -> None:
        self.functions = functions
        self.kept = _first_step_count(layer.kept, start, layer.channels)
        self.transformed = _first_step_count(layer.transformed, start, layer.channels)
        self.dtype = torch.bfloat16 if layer.mix.weight.dtype == torch.bfloat16 else torch.float32
        self.narrow = self.dtype == torch.bfloat16
        width, count = layer.conv.out_channels, self.transformed[2]
        self.elu = functions.elu_bfloat16 if self.narrow else functions.elu_float32
        self.conv = layer.conv.weight.to("cpu", self.dtype).permute(0, 2, 3, 1).flatten(1).contiguous()
        mix = layer.mix.weight.to("cpu", self.dtype)[:, :, 0, 0]
        self.cond_weight = mix[:, width:].contiguous() if layer.cond_channels is not None else None
        self.project = _plain(layer.project.weight()).permute(2, 3, 0, 1).flatten(0, 2).to(self.dtype)
        self.bias = _plain(layer.project.bias).clone()
        self.scratch = torch.empty(SIDE**2 * (9 + 2 * count))
        self.bound, self.seen_bound = layer.logit_bound or 0.0, layer.seen_bound
        self.in_rows = not self.narrow and width >= PACKED_FROM and _can_pack()
        self.mix = mix[:, :width].contiguous()
        if self.in_rows:
            self.mix = torch.ops.mkldnn._reorder_linear_weight(self.mix, SIDE**2)

    def __call__(self, x: Tensor, cond: Tensor, seen: Tensor) -> None:
        patches = torch.empty(len(seen), self.conv.shape[1], dtype=self.dtype)
        visible = seen_values(x, self.seen_bound)
        self.functions.neighbourhoods(
            *(patches.data_ptr(), self.narrow, visible.data_ptr(), x.shape[3], len(x), *self.kept)
        )
        hidden = self._in_rows(patches, seen).T if self.in_rows else self._in_columns(patches, seen)
        taps = self.project @ hidden
        self.functions.undo_coupling(
            *(x.data_ptr(), x.shape[3], len(x), *self.transformed, taps.data_ptr(), self.narrow),
            *(self.bias.data_ptr(), self.bound, self.scratch.data_ptr()),
        )

    def _in_rows(self, patches: Float[Tensor, "bhw n"], seen: Tensor) -> Float[Tensor, "bhw width"]:
        """Compute the hidden features with places as rows, which the packed matrix asks for."""
        hidden = self._activated(F.linear(patches, self.conv))
        hidden = torch.ops.mkldnn._linear_pointwise(hidden, self.mix, None, "none", [], "")
        if self.cond_weight is not None:
            hidden.addmm_(seen, self.cond_weight.T)
        return self._activated(hidden)

    def _in_columns(self, patches: Float[Tensor, "bhw n"], seen: Tensor) -> Float[Tensor, "width bhw"]:
        """Compute the hidden features with places as columns, in which matrices need no packing."""
        hidden = self.mix @ self._activated(self.conv @ patches.T)
        if self.cond_weight is not None:
            hidden.addmm_(self.cond_weight, seen.to(hidden.dtype).T)
        return self._activated(hidden)

    def _activated(self, hidden: Tensor) -> Tensor:
        self.elu(hidden.data_ptr(), hidden.numel())
        return hidden


def _can_pack() -> bool:
    """Tell whether this PyTorch can lay out matrices for the processor."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def _first_step_count(channels: slice, start: int, of: int) -> tuple[int, int, int]:
    """Describe the evenly spaced channels that a slice selects: first, step, count."""
    picked = range(of)[channels]
    return start + picked.start, picked.step, len(picked)
