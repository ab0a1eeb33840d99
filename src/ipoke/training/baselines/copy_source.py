"""The answer that nothing happens."""

import hashlib
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ipoke.data.poke import Poke
from ipoke.training.baselines.baseline import one_for_all


class CopySource:
    """Repeats the still: what every other answer has to beat."""

    name = "copy-x0"
    context = 1
    is_stochastic = False
    shows_still = True

    def __init__(self, size: int, frames: int) -> None:
        self.size, self.frames = size, frames

    @property
    def sha256(self) -> str:
        """Hash of its name, for nothing else decides its answers."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    def sample_clips(
        self,
        context: Float[Tensor, "b k 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Give the still for every frame."""
        return one_for_all(context[:, :1].expand(-1, self.frames, -1, -1, -1), seeds)
