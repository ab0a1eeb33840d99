"""Request bodies, limited in total, per address and per visitor, so that memory suffices."""

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator

from starlette.requests import Request

from ipoke.studio.limits import Limits
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor


class Bodies:
    """The bodies that are being received or processed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: Counter[Visitor] = Counter()

    @contextlib.asynccontextmanager
    async def read(self, request: Request, visitor: Visitor, most: int) -> AsyncGenerator[bytes]:
        """Read the body of a request; it counts against the limits until the context ends.

        Args:
            request: The request.
            visitor: Its sender.
            most: Largest body, bytes.

        Raises:
            Problem: The body is empty or larger than ``most``, or all bodies together exceed a limit.
        """
        too_much = Problem(413, f"the request is too large, expected at most {most / 1e6:g} MB")
        with contextlib.suppress(ValueError):
            if int(request.headers.get("content-length", "0")) > most:
                raise too_much
        data, counted = bytearray(), 0
        try:
            async for part in request.stream():
                if len(data) + len(part) > most:
                    raise too_much
                data += part
                if len(data) > self._limits.free_bytes:
                    more = len(data) - counted
                    self._check(visitor, more)
                    self._held[visitor] += more
                    counted += more
            if not data:
                raise Problem(400, "the request is empty; send the data as its body")
            whole = bytes(data)
            data.clear()
            yield whole
        finally:
            self._held[visitor] -= counted
            self._held += Counter()  # drops visitors with a count of zero

    def _check(self, visitor: Visitor, more: int) -> None:
        near = sum(held for one, held in self._held.items() if one.address == visitor.address)
        limits = self._limits
        for held, most in (
            (self._held[visitor], limits.bodies_bytes_per_visitor),
            (near, limits.bodies_bytes_per_address),
            (self._held.total(), limits.bodies_bytes),
        ):
            if held + more > most:
                raise Problem(429, "too much data is being sent at once; try again in a moment")
