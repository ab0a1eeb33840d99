"""Jobs: computations for a visitor, cut into steps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, NamedTuple

from ipoke.core.errors import InputError
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor

Steps = Generator[Any, Any, None]
"""A generator of steps of a fraction of a second; what it yields is sent to the visitor, unless it is None."""
END = object()


class Batched(NamedTuple):
    """Work that a step yields to have it done in a batch with other jobs; the result is sent back to the step."""

    work: Any
    rows: int = 1
    """Rows that the work takes in a batch."""


class Background(NamedTuple):
    """Work that a step yields to have it done on the second thread: slow, and without networks, such as encoding.

    The result is sent back to the step.
    """

    work: Callable[[], Any]


class Job:
    """A computation for a visitor.

    Args:
        visitor: The visitor who waits for it.
        kind: The kind of answer, such as ``preview``.
        begin: Creates the steps.
        pixels: Pixels of all frames of all samples of the answer.
    """

    def __init__(self, visitor: Visitor, kind: str, begin: Callable[[], Steps], pixels: int = 0) -> None:
        self.visitor, self.kind, self.begin, self.pixels = visitor, kind, begin, pixels
        self.steps: Steps | None = None
        self.batched: Batched | None = None
        self.background: Background | None = None
        """Work of this job on the second thread."""
        self.answer: Any = None
        """The result that is sent to its next step."""
        self.is_cancelled = False
        self.unread_since: float | None = None
        """Since when too many results wait to be taken."""
        self.when_taken: Callable[[], None] = lambda: None
        self._results: asyncio.Queue[Any] = asyncio.Queue()

    @property
    def unread(self) -> int:
        """Number of results that wait to be taken."""
        return self._results.qsize()

    def put(self, result: Any) -> None:
        """Add a result."""
        self._results.put_nowait(result)

    def cancel(self, why: Problem | None = None) -> None:
        """Take no more steps; ``why`` is raised where the visitor still waits."""
        if why is not None:
            self.put(why)
        self.is_cancelled = True
        self.when_taken()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Wait for results, one by one.

        Raises:
            Problem: The job failed.
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
            self.cancel()

    async def only(self) -> Any:
        """Wait for the only result.

        Raises:
            Problem: The job failed.
        """
        results = [result async for result in self]
        if not results:
            raise Problem(410, "cancelled, because the visitor left")
        return results[-1]


def advance(job: Job, answer: Any) -> Any:
    """Take the next step of a job, with the result of its last work; give what it yields, `END`, or a Problem."""
    job.batched = job.answer = None
    try:
        if job.is_cancelled:
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
    except Exception as error:  # an error in one job must not end the server
        return Problem(500, f"internal error ({type(error).__name__}); other pokes may work")
    if isinstance(result, Batched):
        job.batched = result
        return None
    if isinstance(result, Background):
        job.background = result
        return None
    return result
