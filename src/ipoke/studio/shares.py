"""Fair sharing of the compute thread: the key with the least compute time goes first."""

from collections import OrderedDict
from typing import Generic, TypeVar

AHEAD_S = 1.0
"""Largest lead, s of compute time, of a key that returns after a pause over those that were active."""
SLICE_S = 0.02
"""Resolution: compute times within a slice, s, count as equal."""
MOST = 512
"""Most keys that are remembered."""

Key = TypeVar("Key")


class Shares(Generic[Key]):
    """Compute time of each key, s. A pause gains a key at most `AHEAD_S`; a new key starts without a lead."""

    def __init__(self) -> None:
        self._used: OrderedDict[Key, float] = OrderedDict()
        self._since: dict[Key, int] = {}
        self._least, self._count = 0.0, 0

    def enter(self, key: Key) -> None:
        """Register a key, and limit its lead."""
        if key not in self._used:
            self._count += 1
            self._used[key], self._since[key] = self._least, self._count
        self._used[key] = max(self._used[key], self._least - AHEAD_S)
        self._used.move_to_end(key)
        while len(self._used) > MOST:
            del self._since[self._used.popitem(last=False)[0]]

    def slices(self, key: Key) -> int:
        """Give the compute time of a key, in slices."""
        return int(self._used.get(key, self._least) // SLICE_S)

    def since(self, key: Key) -> int:
        """Give the order in which a key was registered."""
        return self._since.get(key, self._count)

    def charge(self, key: Key, seconds: float) -> None:
        """Add compute time to a key."""
        if key in self._used:
            self._least = max(self._least, self._used[key])
            self._used[key] += seconds
