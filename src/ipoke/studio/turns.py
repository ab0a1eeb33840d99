"""One model, many visitors: a thread computes, in small steps, and visitors take turns at it.

What several of them want of the networks at one time is computed in one batch.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ipoke.errors import InputError
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.problem import Problem

Steps = Generator[Any, Any, None]
"""Work cut into steps, each of which takes a fraction of a second; what a step yields is sent on, unless it is None."""
Together = Callable[[Sequence[Any]], Sequence[Any]]
"""Does works of several jobs at once: an answer each, or the exception that the job shall meet."""


class Shared(NamedTuple):
    """What a step yields that wants something done together with others; the answer is sent back to it."""

    work: Any


class Job:
    """Work that somebody waits for."""

    def __init__(self, visitor: str, kind: str, begin: Callable[[], Steps]) -> None:
        self.visitor, self.kind, self.begin = visitor, kind, begin
        self.steps: Steps | None = None
        self.shared: Shared | None = None
        self.is_given_up = False
        self.results: asyncio.Queue[Any] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Wait for results, one by one.

        Raises:
            Problem: What went wrong.
        """
        try:
            while True:
                result = await self.results.get()
                if isinstance(result, Problem):
                    raise result
                if result is END:
                    return
                yield result
        finally:
            self.is_given_up = True

    async def only(self) -> Any:
        """Wait for the one result.

        Raises:
            Problem: What went wrong.
        """
        results = [result async for result in self]
        if not results:
            raise Problem(410, "given up, because nobody waits for it any more")
        return results[-1]


END = object()
PAUSE_S = 0.04
"""Without news, after which work is done ahead: longer than a page takes to ask for its next preview."""


class Turns:
    """Runs jobs on one thread: a step of one visitor's oldest job, then a step of the next visitor's.

    A job that waits for shared work takes along those of other visitors that wait for such work too. When nobody has
    asked for anything for a moment, steps ``ahead`` are taken until somebody does.
    """

    def __init__(self, together: Together, limits: Limits = LIMITS, ahead: Callable[[], Steps] | None = None) -> None:
        self.limits = limits
        self._together, self._ahead = together, ahead
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="studio")
        self._news = asyncio.Event()
        self._is_stopping = False
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._runner = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Finish the step at hand, and tell everybody who waits that the server stops."""
        self._is_stopping = True
        self._news.set()
        if self._runner is not None:
            await self._runner
        for jobs in self._waiting.values():
            for job in jobs:
                job.results.put_nowait(Problem(503, "the server is stopping; ask again later"))
        self._waiting.clear()
        self._thread.shutdown()

    def add(self, visitor: str, kind: str, begin: Callable[[], Steps]) -> Job:
        """Queue a job; a preview overtakes one of the same visitor that has not begun.

        Raises:
            Problem: The visitor, or all of them, have too many jobs already, or the server is stopping.
        """
        if self._is_stopping:
            raise Problem(503, "the server is stopping; ask again later")
        mine = self._waiting.get(visitor, deque())
        if kind == "preview":
            for stale in [job for job in mine if job.kind == "preview" and job.steps is None]:
                mine.remove(stale)
                stale.results.put_nowait(Problem(409, "overtaken by a newer preview"))
        active = [job for job in mine if not job.is_given_up]
        if len(active) >= self.limits.jobs_per_visitor:
            raise Problem(429, f"{len(active)} requests of yours are being answered; wait for one of them")
        if sum(len(jobs) for jobs in self._waiting.values()) >= self.limits.jobs:
            raise Problem(429, "too many visitors at once; try again in a moment")
        job = Job(visitor, kind, begin)
        self._waiting.setdefault(visitor, mine).append(job)
        self._news.set()
        return job

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_stopping:
            job = self._next()
            if job is None:
                self._news.clear()
                await self._quiet()
                continue
            jobs = self._sharing(job)
            for one, result in zip(jobs, await loop.run_in_executor(self._thread, self._step, jobs), strict=True):
                if result is not None:
                    one.results.put_nowait(result)
                if result is END or isinstance(result, Problem):
                    self._drop(one)

    async def _quiet(self) -> None:
        """Wait for news; if there are none for a moment, work ahead until there are."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), PAUSE_S)
        if self._ahead is not None and not self._news.is_set():
            job = Job("", "ahead", self._ahead)
            while not self._news.is_set():
                result = await asyncio.get_running_loop().run_in_executor(self._thread, _advanced, job, None)
                if result is END or isinstance(result, Problem):
                    break
        await self._news.wait()

    def _next(self) -> Job | None:
        """Take the oldest job of the visitor who waited longest, who then waits again."""
        while self._waiting:
            visitor, jobs = next(iter(self._waiting.items()))
            if not jobs:
                del self._waiting[visitor]
                continue
            self._waiting.move_to_end(visitor)
            return jobs[0]
        return None

    def _sharing(self, job: Job) -> list[Job]:
        """Find the jobs that take this step together."""
        if job.shared is None or job.is_given_up:
            return [job]
        heads = (jobs[0] for jobs in self._waiting.values() if jobs)
        others = [one for one in heads if one is not job and one.shared is not None and not one.is_given_up]
        return [job, *others[: self.limits.jobs_together - 1]]

    def _step(self, jobs: list[Job]) -> list[Any]:
        """Do one step of each; give what it yields, `END`, or what went wrong."""
        works = [job.shared.work for job in jobs if job.shared is not None]
        if len(works) < len(jobs) or jobs[0].is_given_up:
            return [_advanced(job, None) for job in jobs]
        try:
            answers = self._together(works)
        except Exception as error:  # it must not end the server
            answers = [error] * len(jobs)
        return [_advanced(job, answer) for job, answer in zip(jobs, answers, strict=True)]

    def _drop(self, job: Job) -> None:
        jobs = self._waiting.get(job.visitor)
        if jobs and job in jobs:
            jobs.remove(job)


def _advanced(job: Job, answer: Any) -> Any:
    """Go on with a job, by the answer to what it wanted; give what it yields, `END`, or what went wrong."""
    job.shared = None
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
    return result
