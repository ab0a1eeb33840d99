"""Who has had how much of the time of the one thread, so that whoever had least goes first."""

from collections import OrderedDict
from typing import Generic, TypeVar

AHEAD_S = 1.0
"""So much of the thread's time may a visitor who comes back ask for before those who asked all the while."""
SLICE_S = 0.02
"""Who have had as much, to within this, are equals."""
MOST = 512
"""Of those who are remembered."""

Key = TypeVar("Key")


class Shares(Generic[Key]):
    """Seconds that each has had. Whoever rests saves up no more than `AHEAD_S`, and whoever is new nothing."""

    def __init__(self) -> None:
        self._used: OrderedDict[Key, float] = OrderedDict()
        self._since: dict[Key, int] = {}
        self._least, self._count = 0.0, 0

    def enter(self, key: Key) -> None:
        """Let one take part."""
        if key not in self._used:
            self._count += 1
            self._used[key], self._since[key] = self._least, self._count
        self._used[key] = max(self._used[key], self._least - AHEAD_S)
        self._used.move_to_end(key)
        while len(self._used) > MOST:
            del self._since[self._used.popitem(last=False)[0]]

    def slices(self, key: Key) -> int:
        """Give the slices of time that one has had."""
        return int(self._used.get(key, self._least) // SLICE_S)

    def since(self, key: Key) -> int:
        """Tell how many came before one did."""
        return self._since.get(key, self._count)

    def charge(self, key: Key, seconds: float) -> None:
        """Count what one has had."""
        if key in self._used:
            self._least = max(self._least, self._used[key])
            self._used[key] += seconds
