"""What a stage of training is: who learns, in which turn, from which losses."""

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


class Move(NamedTuple):
    """One player's turn: the weighted terms whose sum it descends, and figures that are only logged."""

    player: str
    terms: dict[str, Tensor]
    figures: dict[str, Tensor]


class Moment(NamedTuple):
    """Where in its stage a step is."""

    clips: int
    progress: float
    """Share of the stage that is done, 0 to 1."""
    generator: torch.Generator
    """Source of all noise of the step, seeded by (seed, stage, rank, clips seen)."""


class Stage(ABC):
    """A stage trains ``players``; the first of them is what the model keeps, averaged over time.

    `moves` yields the turns of one step in order. The loop updates a player before it asks for the next turn, so later
    turns see the updated weights.
    """

    name: str
    encodes_clips = False
    """Whether the stage reads the tracks of a clip, where the recipe's encoder sees them."""

    def __init__(self, settings: StageSettings, players: dict[str, nn.Module], device: torch.device) -> None:
        self.settings = settings
        self.players = players
        self.device = device

    def begin(self, batch: Batch, moment: Moment) -> None:  # noqa: B027  (most stages have nothing to do)
        """Do what must be done once, before the first step, with the first batch; nothing by default."""

    @abstractmethod
    def moves(self, batch: Batch, moment: Moment) -> Iterator[Move]:
        """Yield the turns of one step."""

    @abstractmethod
    def picture(self, batch: Batch, moment: Moment) -> UInt8[np.ndarray, "h w 3"]:
        """Draw what the stage does now, on a few clips."""

    def autocast(self) -> AbstractContextManager[object]:
        """Run networks in the precision that the recipe names."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def let_learn(self, player: str) -> None:
        """Let gradients reach this player's weights and no other's."""
        for name, module in self.players.items():
            module.requires_grad_(name == player)
