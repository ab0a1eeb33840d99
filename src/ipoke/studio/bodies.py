"""What visitors send: no more of it at one time than memory allows, in all and for each."""

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator

from starlette.requests import Request

from ipoke.studio.limits import Limits
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor


class Bodies:
    """The bodies that are being received, or that somebody still works with."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: Counter[Visitor] = Counter()

    @contextlib.asynccontextmanager
    async def read(self, request: Request, visitor: Visitor, most: int) -> AsyncGenerator[bytes]:
        """Read what was sent; it counts for as long as the context lasts.

        Args:
            request: Whose body is read.
            visitor: Who sends it.
            most: Bytes that it may have.

        Raises:
            Problem: Nothing was sent, more than ``most`` bytes, or too much with what else is being received.
        """
        too_much = Problem(413, f"too large: expected at most {most / 1e6:g} MB")
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
                raise Problem(400, "nothing was sent; send it as the body of the request")
            whole = bytes(data)
            data.clear()
            yield whole
        finally:
            self._held[visitor] -= counted
            self._held += Counter()  # leaves out those who hold nothing

    def _check(self, visitor: Visitor, more: int) -> None:
        near = sum(held for one, held in self._held.items() if one.address == visitor.address)
        limits = self._limits
        for held, most in (
            (self._held[visitor], limits.bodies_bytes_per_visitor),
            (near, limits.bodies_bytes_per_address),
            (self._held.total(), limits.bodies_bytes),
        ):
            if held + more > most:
                raise Problem(429, "too much is being sent at once; try again in a moment")
