"""The token that visitors from other machines need."""

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

BURST, A_SECOND = 5, 2.0
"""Wrong tokens of an address that are refused at once, and the rate per second after those."""
MOST_WAIT_S = 8.0
"""Longest delay of a refusal."""
MOST_ADDRESSES = 4096


class Token:
    """Checks tokens. A right token never waits; refusals of wrong ones are delayed, to limit guessing.

    Args:
        token: The right token.
        clock: Gives seconds.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._digest, self._clock = _digest(token), clock
        self._next: OrderedDict[str, float] = OrderedDict()
        """When the next wrong token of an address is refused."""

    def is_right(self, given: str) -> bool:
        """Compare a token in constant time, independent of the right token and its length."""
        return hmac.compare_digest(_digest(given), self._digest)

    def wait(self, address: str) -> float | None:
        """Give the delay of the refusal of a wrong token, s; None if too many are delayed already."""
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

    async def delay_refusal(self, address: str) -> bool:
        """Wait before a wrong token is refused; False if too many are delayed already."""
        wait = self.wait(address)
        await asyncio.sleep(MOST_WAIT_S if wait is None else wait)
        return wait is not None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
