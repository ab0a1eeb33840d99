"""Start from a model that is trained already, to go on with clips of another kind."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ipoke.core.errors import InputError
from ipoke.core.model_files import file_sha256, fitted_weights, read_tensors
from ipoke.sampling.model import find_model


class Taken(NamedTuple):
    """How much of a model was taken over."""

    name: str
    numbers: int
    of: int

    def line(self) -> str:
        """Say it to people."""
        return f"start: {self.numbers / self.of:.0%} of the weights are those of {self.name}, the others start anew"


@torch.no_grad()
def take_over(model: nn.Module, start: str) -> Taken:
    """Copy the weights of a trained model whose names and shapes are those of a model's own.

    Raises:
        InputError: No such model, or one of which nothing fits.
    """
    own = model.state_dict()
    fitting = fitting_weights(own, start)
    for name, tensor in fitting.items():
        own[name].copy_(tensor)
    model.load_state_dict(own)
    numbers = sum(tensor.numel() for tensor in fitting.values())
    return Taken(start, numbers, sum(tensor.numel() for tensor in own.values()))


def fitting_weights(own: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Read what fits of a model to start from.

    Raises:
        InputError: No such model, or one of which nothing fits, or whose numbers are none.
    """
    tensors, _ = read_tensors(find_model(start))
    fitting = {name for name, tensor in own.items() if name in tensors and tensors[name].shape == tensor.shape}
    if not sum(own[name].numel() for name in fitting):
        raise InputError(f"train.start: no weight of {start} fits; use a model of a similar recipe, or leave it out")
    return fitted_weights(
        {name: tensors[name] for name in fitting}, {name: own[name] for name in fitting}, f"train.start: {start}"
    )


def start_sha256(start: str) -> str:
    """Hash the file of a model to start from.

    Raises:
        InputError: No such model.
    """
    return file_sha256(find_model(start))
