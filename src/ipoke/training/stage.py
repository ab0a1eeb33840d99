"""What a stage of training is: which networks learn, in which order, from which losses."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from ipoke.core.sections import StageSettings
from ipoke.data.batches import Batch


class LossStep(NamedTuple):
    """The loss of one player: the weighted terms whose sum it minimises, and figures that are only logged."""

    player: str
    terms: dict[str, Tensor]
    figures: dict[str, Tensor]


class StepContext(NamedTuple):
    """Where in its stage a step is."""

    clips: int
    progress: float
    """Share of the stage that is done, 0 to 1."""
    generator: torch.Generator
    """Source of all noise of the step, seeded by (seed, stage, rank, clips seen)."""


class Stage(ABC):
    """A stage trains ``players``; the first of them is what the model keeps, averaged over time.

    `loss_steps` yields one loss per player, in order. The loop updates that player before it asks for the next loss, so
    later losses see the updated weights.
    """

    name: str
    encodes_clips = False
    """Whether the stage reads the tracks of a clip, where the recipe's encoder sees them."""

    def __init__(self, settings: StageSettings, players: dict[str, nn.Module], device: torch.device) -> None:
        self.settings = settings
        self.players = players
        self.device = device

    def begin(self, batch: Batch, context: StepContext) -> None:  # noqa: B027  (most stages have nothing to do)
        """Do what must be done once, before the first step, with the first batch; nothing by default."""

    @abstractmethod
    def loss_steps(self, batch: Batch, context: StepContext) -> Iterator[LossStep]:
        """Yield the losses of one step, in the order of the updates."""

    @abstractmethod
    def picture(self, batch: Batch, context: StepContext) -> UInt8[np.ndarray, "h w 3"]:
        """Draw what the stage does now, on a few clips."""

    def autocast(self) -> AbstractContextManager[object]:
        """Run networks in the precision that the recipe names."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def let_learn(self, player: str) -> None:
        """Let gradients reach this player's weights and no other's."""
        for name, module in self.players.items():
            module.requires_grad_(name == player)
