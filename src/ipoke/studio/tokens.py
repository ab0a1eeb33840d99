"""The token that visitors from other machines show."""

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

BURST, A_SECOND = 5, 2.0
"""Wrong tokens of one address that are answered at once, and how many a second after those."""
MOST_WAIT_S = 8.0
"""Longest time that the answer to a wrong token is held back."""
MOST_ADDRESSES = 4096


class Token:
    """Tells whether a token is right. Who has the right one never waits; answers to wrong ones come slowly.

    Args:
        token: The right one.
        clock: Seconds.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._digest, self._clock = _digest(token), clock
        self._next: OrderedDict[str, float] = OrderedDict()
        """When the next wrong token of an address is answered."""

    def is_right(self, given: str) -> bool:
        """Compare a token, in a time that tells nothing of the right one, not even its length."""
        return hmac.compare_digest(_digest(given), self._digest)

    def wait(self, address: str) -> float | None:
        """Say for how long the answer to a wrong token is held back, s; None if too many are held back already."""
        now = self._clock()
        at = max(self._next.get(address, 0.0), now - BURST / A_SECOND)
        wait = max(0.0, at + 1 / A_SECOND - now)
        if wait > MOST_WAIT_S:
            return None
        self._next[address] = at + 1 / A_SECOND
        self._next.move_to_end(address)
        while len(self._next) > MOST_ADDRESSES:
            self._next.popitem(last=False)
        return wait

    async def hold_back(self, address: str) -> bool:
        """Wait before a wrong token is answered; false if so many are that it should be told to wait itself."""
        wait = self.wait(address)
        await asyncio.sleep(MOST_WAIT_S if wait is None else wait)
        return wait is not None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
