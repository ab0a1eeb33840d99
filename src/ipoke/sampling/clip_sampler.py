"""The interface of everything that samples clips of a poked still: the model, baselines, trivial answers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ipoke.data.poke import Poke


@runtime_checkable
class ClipSampler(Protocol):
    """Samples clips of poked stills. Evaluations put the same questions to each and measure the answers alike."""

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of everything that determines its answers."""
        ...

    @property
    def size(self) -> int:
        """Side of its clips, px."""
        ...

    @property
    def frames(self) -> int:
        """Frames after frame 0."""
        ...

    @property
    def context(self) -> int:
        """Number of true frames that it needs as input: 1, the still, or more."""
        ...

    @property
    def is_stochastic(self) -> bool:
        """Whether samples differ; if not, one is drawn and used for all."""
        ...

    @property
    def shows_still(self) -> bool:
        """Whether its frames show the still's own content, so that points can be followed from the still into them."""
        ...

    def sample_clips(
        self,
        context: Float[Tensor, "b k 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Sample clips without gradients, in [-1, 1]: the ``frames`` frames after frame 0.

        Args:
            context: The true frames 0 to `context` - 1 in [-1, 1]; those after frame 0 are returned unchanged.
            pokes: Those of each still, in px of the clip; there may be none.
            seeds: Those of the n samples of each still. A sample depends on nothing but its still, pokes and seed.
        """
        ...
