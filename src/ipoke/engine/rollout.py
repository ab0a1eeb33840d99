"""A roll-out of a `ConvGRU`, prepared for sampling: a step of a cell is two matrix products."""

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.engine.library import SIDE, Compiled, compiled
from ipoke.networks.autoencoder.latent_rollout import GruRollout
from ipoke.networks.nn.conv_gru import ConvGRU, ConvGRUCell


def unroll(
    rollout: GruRollout, fed: Float[Tensor, "b c h w"], start: Float[Tensor, "b c h w"], frames: int
) -> Float[Tensor, "b t c h w"]:
    """Unroll as `GruRollout.unroll`; prepared for this one call where it samples in float32 on a CPU."""
    sampling = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    functions = compiled() if sampling and start.device.type == "cpu" and start.dtype == torch.float32 else None
    if functions is None:
        return rollout.unroll(fed, start, frames)
    return PreparedRollout(rollout.gru, functions)(fed, start, frames)


class PreparedRollout:
    """Steps of a stack of cells on 8 x 8 grids from their weights as they are now, in float32, on a CPU."""

    def __init__(self, gru: ConvGRU, functions: Compiled) -> None:
        self._cells = [_Cell(cell, functions) for cell in gru.cells if isinstance(cell, ConvGRUCell)]

    @torch.no_grad()
    def __call__(
        self, x: Float[Tensor, "b c h w"], state: Float[Tensor, "b c h w"], steps: int
    ) -> Float[Tensor, "b t c h w"]:
        """Start all cells in ``state``, give them the same input at every step, and return the states of the last."""
        rows, channels = state.shape[0] * SIDE**2, state.shape[1]
        first, start = (part.permute(0, 2, 3, 1).reshape(rows, channels) for part in (x, state))
        states, tops = [start] * len(self._cells), []
        for _ in range(steps):
            below = first
            for index, cell in enumerate(self._cells):
                below = states[index] = cell(below, states[index])
            tops.append(below)
        return torch.stack(tops).view(steps, -1, SIDE, SIDE, channels).permute(1, 0, 4, 2, 3).contiguous()


class _Cell:
    """One step of one cell, place after place."""

    def __init__(self, cell: ConvGRUCell, functions: Compiled) -> None:
        self.functions = functions
        self.gates = torch.cat([_as_matrix(cell.update), _as_matrix(cell.reset)], 1)
        self.gates_bias = torch.cat([_bias(cell.update), _bias(cell.reset)])
        self.propose, self.propose_bias = _as_matrix(cell.propose), _bias(cell.propose)

    def __call__(self, x: Float[Tensor, "n c"], state: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        update, reset = torch.addmm(self.gates_bias, self._patches(x, state), self.gates).sigmoid_().chunk(2, dim=1)
        proposal = torch.addmm(self.propose_bias, self._patches(x, reset * state), self.propose).tanh_()
        return torch.lerp(state, proposal, update)

    def _patches(self, x: Tensor, state: Tensor) -> Float[Tensor, "n k"]:
        both = torch.cat([x, state], 1)
        rows, channels = both.shape
        patches = both.new_empty(rows, 9 * channels)
        self.functions.neighbourhoods(
            *(patches.data_ptr(), False, both.data_ptr(), channels, rows // SIDE**2, 0, 1, channels),
        )
        return patches


def _as_matrix(convolution: torch.nn.Conv2d) -> Float[Tensor, "k out"]:
    return convolution.weight.detach().to("cpu", torch.float32).permute(2, 3, 1, 0).flatten(0, 2).contiguous()


def _bias(convolution: torch.nn.Conv2d) -> Float[Tensor, " out"]:
    bias = convolution.bias
    return torch.zeros(convolution.out_channels) if bias is None else bias.detach().to("cpu", torch.float32)
