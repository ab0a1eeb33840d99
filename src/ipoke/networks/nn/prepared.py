"""Something made of a module's weights for sampling, kept until they change."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Made = TypeVar("Made")
Source = TypeVar("Source", bound=nn.Module)


def is_for_sampling(x: Tensor) -> bool:
    """Tell whether something prepared can take over: on a CPU, in float32, with neither gradients nor autocast."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


class Prepared(Generic[Source, Made]):
    """What ``make`` makes of a module; made at first use, and anew when a weight was changed or replaced since.

    >>> import torch
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> doubled = Prepared(layer, lambda layer: 2 * layer.weight.item())
    >>> with torch.no_grad():
    ...     _ = layer.weight.fill_(3.0)
    >>> doubled()
    6.0
    """

    def __init__(self, source: Source, make: Callable[[Source], Made]) -> None:
        self._source, self._make = source, make
        self._made: tuple[tuple[int, int], Made] | None = None
        self._tensors: list[Mapping[str, Tensor | None]] = []

    def __call__(self) -> Made:
        """Give what was made, of the weights as they are now."""
        state = self._state()
        if self._made is None or self._made[0] != state:
            self._made = None
            self._made = state, self._make(self._source)
        return self._made[1]

    def _state(self) -> tuple[int, int]:
        """Sum up which tensors there are, and how often they have been written; quick, for every call asks."""
        if not self._tensors:
            for module in self._source.modules():
                self._tensors.append(module._parameters)
                self._tensors.append(module._buffers)
        found = [tensor for named in self._tensors for tensor in named.values() if tensor is not None]
        return hash(tuple([t.data_ptr() for t in found])), sum([t._version for t in found])

    def __deepcopy__(self, memo: dict[int, Any]) -> "Prepared[Source, Made]":
        """Copy with the module, and make anew."""
        return type(self)(copy.deepcopy(self._source, memo), copy.deepcopy(self._make, memo))
