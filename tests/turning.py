"""Turns of visitors who are each at an address of their own, and jobs that note their steps."""

import asyncio
import time

from ipoke.studio.limits import LIMITS
from ipoke.studio.turns import Turns
from ipoke.studio.visitors import Visitor


class Named(Turns):
    """Turns of visitors who are each at an address of their own."""

    def add(self, visitor, kind, begin, pixels=0):
        who = visitor if isinstance(visitor, Visitor) else Visitor(f"at {visitor}", visitor)
        return super().add(who, kind, begin, pixels)


def run(scenario, draw_batch=list, **limits):
    async def whole():
        turns = Named(draw_batch, LIMITS._replace(**limits))
        turns.start()
        try:
            return await asyncio.wait_for(scenario(turns), 20)
        finally:
            await turns.stop()

    return asyncio.run(whole())


async def all_of(job):
    return [result async for result in job]


def steps(name, count, done, pause=0.005):
    def begin():
        for step in range(count):
            time.sleep(pause)
            done.append((name, step))
            yield (name, step)

    return begin
