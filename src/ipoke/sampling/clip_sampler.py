"""What everything that answers a still and pokes with clips has in common: the model, baselines, trivial answers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ipoke.data.poke import Poke


@runtime_checkable
class ClipSampler(Protocol):
    """Answers stills and pokes with clips; all are asked and measured in the same way."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of all that decides its answers."""
        ...

    @property
    def size(self) -> int:
        """Side of its clips, px."""
        ...

    @property
    def frames(self) -> int:
        """Frames that it gives after frame 0."""
        ...

    @property
    def context(self) -> int:
        """How many true frames it has to be given: 1, the still, or more."""
        ...

    @property
    def is_stochastic(self) -> bool:
        """Whether samples differ; if not, one is drawn and stands for all."""
        ...

    @property
    def shows_still(self) -> bool:
        """Whether its frames show the still's own picture, so that points can be followed from the still into them."""
        ...

    def sample_clips(
        self,
        context: Float[Tensor, "b k 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Sample clips without gradients, in [-1, 1]: the ``frames`` frames after frame 0.

        Args:
            context: The true frames 0 to `context` - 1 in [-1, 1]; those after frame 0 are given back as they are.
            pokes: Of each still, in px of the clip; none asks nothing.
            seeds: Of the n samples of each still; a sample depends on its still, pokes and seed alone.
        """
        ...
