"""The scheduler: one thread computes the jobs of all visitors in small steps, in turn.

Clips that several jobs draw at the same time are computed in one batch.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ipoke.studio.jobs import END, Background, Job, Steps, advance
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor
from ipoke.studio.waiting import Waiting

DrawBatch = Callable[[Sequence[Any]], Sequence[Any]]
"""Computes the work of several jobs in one batch: a result for each, or the exception to raise in its job."""
PAUSE_S = 0.04
"""Idle time after which work is done ahead; longer than a page takes to request its next preview."""
LOOK_S = 0.5
"""Interval at which jobs with results that are not taken are checked."""


class Turns:
    """Runs jobs on one thread, step by step; before each step `ipoke.studio.waiting.Waiting` chooses the next job.

    Work without networks, such as encoding a frame, is done on a second thread, one piece at a time. Work that can be
    batched is done in one batch with that of other visitors. When the server is idle, steps ``ahead`` are taken until
    the next job arrives.
    """

    def __init__(
        self, draw_batch: DrawBatch, limits: Limits = LIMITS, ahead: Callable[[], Steps] | None = None
    ) -> None:
        self._draw_batch, self._ahead = draw_batch, ahead
        self._waiting = Waiting(limits)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="studio")
        self._background_thread = ThreadPoolExecutor(
            1, thread_name_prefix="studio-background", initializer=_lower_priority
        )
        self._news = asyncio.Event()
        self._is_stopping = False
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the scheduler."""
        self._runner = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Finish the current step, and fail all jobs with status 503."""
        self._is_stopping = True
        self._news.set()
        if self._runner is not None:
            await self._runner
        for job in list(self._waiting):
            job.cancel(Problem(503, "the server is stopping; ask again later"))
        self._thread.shutdown()
        self._background_thread.shutdown(cancel_futures=True)

    def add(self, visitor: Visitor, kind: str, begin: Callable[[], Steps], pixels: int = 0) -> Job:
        """Queue a job; a preview replaces one of the same visitor that has not begun.

        Raises:
            Problem: The visitor or the server has too many jobs, or the server is stopping.
        """
        if self._is_stopping:
            raise Problem(503, "the server is stopping; ask again later")
        for stale in list(self._waiting):
            if kind == stale.kind == "preview" and stale.visitor == visitor and stale.steps is None:
                stale.cancel(Problem(409, "replaced by a newer preview"))
        job = Job(visitor, kind, begin, pixels)
        self._waiting.add(job)
        job.when_taken = self._news.set
        self._news.set()
        return job

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_stopping:
            job = self._waiting.next()
            if job is None:
                self._news.clear()
                await self._quiet()
                continue
            jobs, began = self._waiting.with_batch(job), time.perf_counter()
            results = await loop.run_in_executor(self._thread, self._step, jobs)
            for one, result in zip(jobs, results, strict=True):
                self._waiting.charge(one, (time.perf_counter() - began) / len(jobs))
                if result is not None:
                    one.put(result)
                if result is END or isinstance(result, Problem):
                    self._waiting.drop(one)
                elif one.background is not None:
                    loop.run_in_executor(self._background_thread, _done, one.background).add_done_callback(
                        partial(self._go_on, one)
                    )

    def _go_on(self, job: Job, done: asyncio.Future[tuple[Any, float]]) -> None:
        """Let a job take its turn again, as its work on the second thread is done."""
        job.background = None
        if not done.cancelled():
            job.answer, seconds = done.result()
            self._waiting.charge(job, seconds)
        self._news.set()

    async def _quiet(self) -> None:
        """Wait for news; after a short idle time, work ahead until there are any."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), PAUSE_S)
        if self._ahead is not None and not self._news.is_set():
            job = Job(Visitor("", ""), "ahead", self._ahead)
            while not self._news.is_set():
                result = await asyncio.get_running_loop().run_in_executor(self._thread, advance, job, None)
                if result is END or isinstance(result, Problem):
                    break
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), LOOK_S if any(self._waiting) else None)

    def _step(self, jobs: list[Job]) -> list[Any]:
        """Take one step of each job; give what it yields, `END`, or a Problem."""
        wanting = [(job, job.batched.work) for job in jobs if job.batched is not None and not job.is_cancelled]
        answers: Sequence[Any] = []
        if wanting:
            try:
                answers = self._draw_batch([work for _, work in wanting])
            except Exception as error:  # an error must not end the server
                answers = [error] * len(wanting)
        told = {id(job): answer for (job, _), answer in zip(wanting, answers, strict=True)}
        return [advance(job, told.get(id(job), job.answer)) for job in jobs]


def _lower_priority() -> None:
    """Lower the priority of the second thread, where threads have priorities of their own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _done(aside: Background) -> tuple[Any, float]:
    """Do work on the second thread; give its result, or the exception to raise in the job, and the seconds it took."""
    began = time.perf_counter()
    try:
        answer = aside.work()
    except Exception as error:
        answer = error
    return answer, time.perf_counter() - began
