"""One poke: a place and the displacement asked for there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Poke:
    """A mouse drag on a still image, in the pixels of the image that it belongs to.

    The point at (x, y) is asked to be at (x + dx, y + dy) in the last frame. Pixel centres are at integers, x points
    right and y down. A poke of zero length is a pin: the point is asked to stay.

    Paper: Sec. 3, the control c in R^4.

    >>> Poke(x=40, y=22, dx=9, dy=-4).target
    (49, 18)
    """

    x: float
    y: float
    dx: float
    dy: float

    @property
    def target(self) -> tuple[float, float]:
        """Where the point is asked to be in the last frame, px."""
        return self.x + self.dx, self.y + self.dy

    @property
    def is_pin(self) -> bool:
        """Whether the point is asked to stay where it is."""
        return self.dx == 0 and self.dy == 0

    def scaled(self, factor: float) -> "Poke":
        """Give the same poke in an image resized by ``factor``, keeping pixel centres at integers."""
        return Poke(
            x=(self.x + 0.5) * factor - 0.5,
            y=(self.y + 0.5) * factor - 0.5,
            dx=self.dx * factor,
            dy=self.dy * factor,
        )
