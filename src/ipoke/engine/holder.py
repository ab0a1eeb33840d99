"""A model that keeps the engine of its weights until it is told that they have changed."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import nn

from ipoke.engine.engine import Engine


class EngineHolder(nn.Module):
    """A module with an engine, chosen at first use.

    The engine is given up, and the next use chooses another, at `load_state_dict`, at whatever moves or casts the
    weights (`to`, `double`, `cuda`) and at `train` and `eval`, all of this module itself. In training mode none is
    kept. Whoever changes weights in any other way, such as in place or those of one part, calls `weights_changed`.
    Copies choose an engine of their own.
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
        """Give up the engine, which may hold what was made of other weights."""
        self._engine = None

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, and give up the engine."""
        self.weights_changed()
        return super().load_state_dict(state_dict, strict, assign)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, and give up the engine."""
        self.weights_changed()
        return super().train(mode)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Change all tensors, and give up the engine."""
        self.weights_changed()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the engine out of copies: it holds addresses of tensors."""
        return {**self.__dict__, "_engine": None}
