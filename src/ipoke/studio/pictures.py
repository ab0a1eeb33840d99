"""The pictures of visitors, kept in memory for a while."""

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from ipoke.sampling.model import PokeModel
from ipoke.sampling.open_picture import OpenPicture
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.problem import Problem, one_line
from ipoke.studio.visitors import Visitor


@dataclass
class Picture:
    """A picture, with its encodings and maps."""

    id: str
    name: str
    image: UInt8[np.ndarray, "h w 3"]
    visitor: Visitor | None = None
    """The visitor who sent it; None for bundled pictures."""
    seen: float = 0.0
    correlations: OrderedDict[tuple[int, int], bytes] = field(default_factory=OrderedDict)
    """Maps of motion correlation, by the dragged pixel of the model."""
    _opened: OpenPicture | None = None

    @property
    def is_bundled(self) -> bool:
        """Whether it comes with the package."""
        return self.visitor is None

    def opened(self, model: PokeModel) -> OpenPicture:
        """Open it with the model of the server, or return it as it was opened before."""
        opened = self._opened or model.open(self.image)
        self._opened = opened
        return opened

    @property
    def is_open(self) -> bool:
        """Whether its encodings are kept."""
        return self._opened is not None

    def close(self) -> None:
        """Drop its encodings."""
        self._opened = None

    def about(self) -> dict[str, str | int]:
        """Describe it for JSON."""
        height, width = self.image.shape[:2]
        return {"picture": self.id, "width": width, "height": height}


class Pictures:
    """The bundled pictures, and those of visitors.

    Where a visitor has too many, the least recently used one of that visitor is dropped; never another visitor's.
    """

    def __init__(
        self,
        bundled: dict[str, UInt8[np.ndarray, "_ _ 3"]],
        limits: Limits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._clock = limits, clock
        self._bundled = {name: Picture(name, name, image) for name, image in bundled.items()}
        self._sent: OrderedDict[str, Picture] = OrderedDict()
        """The least recently used one first."""

    def bundled(self) -> list[Picture]:
        """List the bundled pictures."""
        return list(self._bundled.values())

    def check_room(self, visitor: Visitor) -> None:
        """Check that a visitor may send a picture, before it is decoded.

        Raises:
            Problem: There are too many, and none of the visitor's own to drop.
        """
        self._forget_old()
        if not self._of(visitor) and not self._has_room(visitor, 0):
            raise Problem(429, "too many pictures are kept here; try again later, or poke one that comes with ipoke")

    def add(self, image: UInt8[np.ndarray, "h w 3"], name: str, visitor: Visitor) -> Picture:
        """Keep a picture.

        Raises:
            Problem: As of `check_room`.
        """
        self.check_room(visitor)
        while (own := self._of(visitor)) and not self._has_room(visitor, len(own)):
            del self._sent[own[0].id]
        picture = Picture(secrets.token_hex(12), name, image, visitor, self._clock())
        self._sent[picture.id] = picture
        return picture

    def get(self, id_: str) -> Picture:
        """Find a picture.

        Raises:
            Problem: There is none of that ID, or no longer.
        """
        self._forget_old()
        picture = self._bundled.get(id_) or self._sent.get(id_)
        if picture is None:
            raise Problem(404, f"picture: {one_line(id_, 64)} is not here (any more); send it again")
        picture.seen = self._clock()
        if not picture.is_bundled:
            self._sent.move_to_end(id_)
        return picture

    def close_some(self) -> None:
        """Close pictures until few enough are open: the least recently used one of the visitor with most of them."""
        while len(opened := [one for one in self._sent.values() if one.is_open]) > self._limits.opened:
            counts = Counter(one.visitor for one in opened)
            most = max(counts.values())
            next(one for one in opened if counts[one.visitor] == most).close()

    def _has_room(self, visitor: Visitor, own: int) -> bool:
        near = sum(one.visitor is not None and one.visitor.address == visitor.address for one in self._sent.values())
        limits, kept = self._limits, len(self._sent)
        return own < limits.pictures_per_visitor and near < limits.pictures_per_address and kept < limits.pictures

    def _of(self, visitor: Visitor) -> list[Picture]:
        return [one for one in self._sent.values() if one.visitor == visitor]

    def _forget_old(self) -> None:
        too_old = self._clock() - self._limits.picture_seconds
        while self._sent and (oldest := next(iter(self._sent.values()))).seen < too_old:
            del self._sent[oldest.id]
