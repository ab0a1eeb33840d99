"""What a decoder gives for each frame, whichever decoder it is."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class DecodedFrames(NamedTuple):
    """Frames in [-1, 1] and how they were made; the last three are None for a SPADE decoder, which only paints."""

    clip: Float[Tensor, "b t 3 s s"]
    paint: Float[Tensor, "b t 3 s s"]
    motion: Float[Tensor, "b t 2 s s"] | None
    """Where each pixel of the source goes, relative to itself, px."""
    backward_flow: Float[Tensor, "b t 2 s s"] | None
    """Where each pixel of the frame comes from in the source, relative to itself, px."""
    coverage: Float[Tensor, "b t 1 s s"] | None
    """Share of each pixel that shows the warped source; the rest is painted."""

    def cpu(self) -> "DecodedFrames":
        """Bring everything to the CPU."""
        by_motion = (self.motion, self.backward_flow, self.coverage)
        return DecodedFrames(
            self.clip.cpu(), self.paint.cpu(), *(None if part is None else part.cpu() for part in by_motion)
        )
