"""Pictures that visitors poke: kept in memory only, and forgotten."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from ipoke.model import PokeModel
from ipoke.open_picture import OpenPicture
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.problem import Problem


@dataclass
class Picture:
    """A picture with what was computed of it."""

    id: str
    name: str
    image: UInt8[np.ndarray, "h w 3"]
    is_bundled: bool
    seen: float = 0.0
    affinity: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Maps by the model's pixel that is pulled."""
    _opened: OpenPicture | None = None

    def opened(self, model: PokeModel) -> OpenPicture:
        """Open it, the first time, with the one model of the server."""
        if self._opened is None:
            self._opened = model.open(self.image)
        return self._opened

    def about(self) -> dict[str, str | int]:
        """Say what it is, for JSON."""
        height, width = self.image.shape[:2]
        return {"picture": self.id, "width": width, "height": height}


class Pictures:
    """The bundled pictures, and the last ones that visitors sent."""

    def __init__(
        self,
        bundled: dict[str, UInt8[np.ndarray, "h w 3"]],
        limits: Limits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._clock = limits, clock
        self._kept = {name: Picture(name, name, image, is_bundled=True) for name, image in bundled.items()}

    def bundled(self) -> list[Picture]:
        """List those that come with the package."""
        return [picture for picture in self._kept.values() if picture.is_bundled]

    def add(self, image: UInt8[np.ndarray, "h w 3"], name: str) -> Picture:
        """Keep a picture; where there are too many, those that nobody asked for longest are forgotten."""
        self._forget(room_for=1)
        picture = Picture(secrets.token_hex(12), name, image, is_bundled=False, seen=self._clock())
        self._kept[picture.id] = picture
        return picture

    def get(self, id_: str) -> Picture:
        """Find a picture.

        Raises:
            Problem: There is none of that name, or no longer.
        """
        self._forget(room_for=0)
        picture = self._kept.get(id_)
        if picture is None:
            raise Problem(404, f"picture: {id_} is not here (any more); send it again")
        picture.seen = self._clock()
        return picture

    def _forget(self, room_for: int) -> None:
        sent = sorted((one for one in self._kept.values() if not one.is_bundled), key=lambda one: one.seen)
        too_old = self._clock() - self._limits.picture_seconds
        excess = len(sent) + room_for - self._limits.pictures
        for index, picture in enumerate(sent):
            if index < excess or picture.seen < too_old:
                del self._kept[picture.id]
