"""One request for clips of a picture, the same for the command line, Python, the studio and replays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.sampling.residual_terms import Residual, plain_terms

MOST_SAMPLES, MOST_FRAMES = 256, 100
HOTTEST = 2.0


@dataclass(frozen=True)
class SampleRequest:
    """All that decides which clips are sampled of a picture. Equal requests give equal clips.

    >>> request = SampleRequest.of_seed([Poke(x=38, y=137, dx=0, dy=34)], samples=2, seed=7)
    >>> request.residuals
    ((Term(seed=7, number=0, weight=1.0, draw=0),), (Term(seed=7, number=1, weight=1.0, draw=0),))
    """

    pokes: tuple[Poke, ...]
    """In the pixels of the picture."""
    residuals: tuple[Residual, ...]
    """One per clip."""
    temperature: float = 1.0
    """Factor on the residuals, 0 to 2."""
    frames: int | None = None
    """After the picture; as many as the model was trained on if None."""
    guidance: bool = True
    """Whether residuals are adjusted until the poked points reach their targets, where the decoder predicts motion."""
    rough: bool = False
    """While a drag goes on: continue in a few steps from the request before at the same places, if there was one."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: One is out of range.
        """
        if not 1 <= len(self.residuals) <= MOST_SAMPLES:
            raise InputError(f"samples: got {len(self.residuals)}, expected 1 to {MOST_SAMPLES}")
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= HOTTEST):
            raise InputError(f"temperature: got {self.temperature:g}, expected a number from 0 to {HOTTEST:g}")
        if self.frames is not None and not 1 <= self.frames <= MOST_FRAMES:
            raise InputError(f"frames: got {self.frames}, expected 1 to {MOST_FRAMES}")

    @classmethod
    def of_seed(
        cls,
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
        guidance: bool = True,
    ) -> "SampleRequest":
        """Request the first samples of a seed.

        Raises:
            InputError: A number is out of range.
        """
        if not 1 <= samples <= MOST_SAMPLES:
            raise InputError(f"samples: got {samples}, expected 1 to {MOST_SAMPLES}")
        if seed < 0:
            raise InputError(f"seed: got {seed}, expected 0 or more")
        return cls(tuple(pokes), tuple(plain_terms(seed, samples)), temperature, frames, guidance)

    def part(self, rows: slice) -> "SampleRequest":
        """Request some of the clips."""
        return replace(self, residuals=self.residuals[rows])

    def roughly(self) -> "SampleRequest":
        """Request the same while a drag goes on."""
        return replace(self, rough=True)
