"""Work that somebody waits for, cut into steps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, NamedTuple

from ipoke.core.errors import InputError
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor

Steps = Generator[Any, Any, None]
"""Work cut into steps, each of which takes a fraction of a second; what a step yields is sent on, unless it is None."""
END = object()


class Shared(NamedTuple):
    """What a step yields that wants something done together with others; the answer is sent back to it."""

    work: Any
    rows: int = 1
    """Its part of a batch."""


class Aside(NamedTuple):
    """What a step yields that wants something done that takes long and needs no network, while others take turns.

    What it gives is sent back to the step.
    """

    work: Callable[[], Any]


class Job:
    """Work that somebody waits for.

    Args:
        visitor: Who waits.
        kind: Of answer.
        begin: Makes the steps.
        pixels: Of all frames of all samples that the answer has.
    """

    def __init__(self, visitor: Visitor, kind: str, begin: Callable[[], Steps], pixels: int = 0) -> None:
        self.visitor, self.kind, self.begin, self.pixels = visitor, kind, begin, pixels
        self.steps: Steps | None = None
        self.shared: Shared | None = None
        self.aside: Aside | None = None
        """What is being done for it while it waits."""
        self.answer: Any = None
        """What its next step is told."""
        self.is_given_up = False
        self.unread_since: float | None = None
        """When results began to pile up."""
        self.when_taken: Callable[[], None] = lambda: None
        self._results: asyncio.Queue[Any] = asyncio.Queue()

    @property
    def unread(self) -> int:
        """How many results wait to be taken."""
        return self._results.qsize()

    def put(self, result: Any) -> None:
        """Hand a result over to who waits."""
        self._results.put_nowait(result)

    def give_up(self, why: Problem | None = None) -> None:
        """Let no more steps be taken; whoever still waits is told why."""
        if why is not None:
            self.put(why)
        self.is_given_up = True
        self.when_taken()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Wait for results, one by one.

        Raises:
            Problem: What went wrong.
        """
        try:
            while True:
                result = await self._results.get()
                self.when_taken()
                if isinstance(result, Problem):
                    raise result
                if result is END:
                    return
                yield result
        finally:
            self.give_up()

    async def only(self) -> Any:
        """Wait for the one result.

        Raises:
            Problem: What went wrong.
        """
        results = [result async for result in self]
        if not results:
            raise Problem(410, "given up, because nobody waits for it any more")
        return results[-1]


def advanced(job: Job, answer: Any) -> Any:
    """Go on with a job, by the answer to what it wanted; give what it yields, `END`, or what went wrong."""
    job.shared = job.answer = None
    try:
        if job.is_given_up:
            if job.steps is not None:
                job.steps.close()
            return END
        if job.steps is None:
            job.steps = job.begin()
        result = job.steps.throw(answer) if isinstance(answer, Exception) else job.steps.send(answer)
    except StopIteration:
        return END
    except Problem as problem:
        return problem
    except InputError as error:
        return Problem(400, str(error))
    except Exception as error:  # one visitor's mishap must not end the others' server
        return Problem(500, f"something went wrong here ({type(error).__name__}); other pokes may work")
    if isinstance(result, Shared):
        job.shared = result
        return None
    if isinstance(result, Aside):
        job.aside = result
        return None
    return result
