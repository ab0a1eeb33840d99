"""A model that keeps its engine until its weights change."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import nn

from ipoke.engine.engine import Engine


class EngineHolder(nn.Module):
    """A module with an engine, chosen at first use.

    The module drops its engine, and chooses another at the next use, when its own `load_state_dict`, `to` (or another
    call that moves or casts its weights), `train` or `eval` is called. In training mode it keeps none. Code that
    changes weights in any other way, such as in place or in one part, calls `weights_changed`. A copy has an engine of
    its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None

    @abstractmethod
    def choose_engine(self) -> Engine:
        """Choose an engine for the weights as they are now."""

    @property
    def engine(self) -> Engine:
        """What computes samples without gradients."""
        engine = self._engine or self.choose_engine()
        self._engine = None if self.training else engine
        return engine

    def weights_changed(self) -> None:
        """Drop the engine, which may hold what was prepared from other weights."""
        self._engine = None

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, and drop the engine."""
        self.weights_changed()
        return super().load_state_dict(state_dict, strict, assign)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, and drop the engine."""
        self.weights_changed()
        return super().train(mode)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Change all tensors, and drop the engine."""
        self.weights_changed()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the engine out of copies: it holds addresses of tensors."""
        return {**self.__dict__, "_engine": None}
