"""Work in parallel processes: results in order, and a quick end when the person or the machine says so."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
import torch

from ipoke.data.clip_rows import SourceRow
from ipoke.data.clip_writer import EncodedSegment
from ipoke.data.extract import VideoJob, extract

Extracted = tuple[SourceRow, list[EncodedSegment]]
Job = TypeVar("Job")
Result = TypeVar("Result")
_AHEAD = 2
"""Jobs per process that may be begun before the first of them is taken; bounds the memory for results."""


def extract_in_order(jobs: Sequence[VideoJob], workers: int) -> Iterator[Extracted]:
    """Extract videos and yield them in the order of the jobs, whatever the number of processes.

    A video on which a process dies (a decoder that crashes, memory that runs out) is tried once more by itself, and
    dropped with that reason if it dies again.
    """
    if min(workers, len(jobs)) <= 1:
        for job in jobs:
            yield extract(job)
        return
    rest = list(jobs)
    while rest:
        try:
            for result in in_order(extract, tuple(rest), workers):
                rest.pop(0)
                yield result
        except BrokenProcessPool:
            yield _alone(rest.pop(0))


def _alone(job: VideoJob) -> Extracted:
    try:
        return next(in_order(extract, [job], 1))
    except BrokenProcessPool:
        return job.dropped("the process that decoded it died; the file may be broken, or too large for the memory"), []


def in_order(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Do the jobs in processes of their own, a few ahead of what is taken, and yield the results in order.

    Raises:
        BrokenProcessPool: A process died.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting: deque[Future[Result]] = deque()
    try:
        for number, job in enumerate(jobs):
            # The first job starts all processes.
            with _interrupts_held_back() if number == 0 else contextlib.nullcontext():
                waiting.append(pool.submit(work, job))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:
        # They hold nothing that could be lost: what is not in the set yet is done again by the next run.
        started = set(multiprocessing.active_children()) - others
        for process in started:
            process.terminate()
        for process in started:
            multiprocessing.connection.wait([process.sentinel])
        _end_of_results(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_of_results(pool: ProcessPoolExecutor) -> None:
    """Let a pool whose processes are gone see that: half a result would be waited for as long as anybody could write.

    The pool itself keeps the pipe open for writing, and has no public way to close it.
    """
    results = getattr(pool, "_result_queue", None)
    if results is not None:
        results._writer.close()


@contextlib.contextmanager
def _interrupts_held_back() -> Generator[None]:
    """Start processes so that Ctrl-C, which a terminal sends to them too, is left to this one.

    What they inherit is that the signal waits; here it is delivered as soon as they are started.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the main one was killed, which nothing else would tell it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
