"""The queue of jobs: how many there may be, which one is cancelled for another, and which one is next."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from ipoke.studio.jobs import Job
from ipoke.studio.limits import Limits
from ipoke.studio.problem import Problem
from ipoke.studio.shares import MOST, Shares
from ipoke.studio.visitors import Visitor

CLOSE = 15
"""Largest difference of compute time, in slices, between jobs in one batch."""
CROWDED = "too many requests at once; try again in a moment"


class Waiting:
    """The jobs of all visitors, oldest first.

    Next is the address with the least compute time, of that address the visitor with the least, and of that visitor the
    oldest job. Where there are too many jobs, the last job of the address or visitor with most jobs is cancelled for
    one with fewer; among equals, that of the one that came last.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._jobs: list[Job] = []
        self._addresses: Shares[str] = Shares()
        self._visitors: OrderedDict[str, Shares[str]] = OrderedDict()

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the jobs that are not cancelled."""
        return (job for job in self._jobs if not job.is_cancelled)

    def add(self, job: Job) -> None:
        """Queue a job.

        Raises:
            Problem: A limit is reached.
        """
        limits, visitor = self._limits, job.visitor
        mine = [one for one in self if one.visitor == visitor]
        near = [one for one in self if one.visitor.address == visitor.address]
        if len(mine) >= limits.jobs_per_visitor:
            raise Problem(429, f"{len(mine)} of your requests are running; wait for one of them")
        if mine and sum(one.pixels for one in mine) + job.pixels > limits.visitor_pixels:
            raise Problem(429, "your running requests have too many frames; wait for them")
        if job.kind == "export" and any(one.kind == "export" for one in mine):
            raise Problem(429, "another file of yours is being written; wait for it")
        self._seen(visitor)
        if len(near) >= limits.jobs_per_address:
            self._make_room_near(near, visitor, len(mine))
        elif len(list(self)) >= limits.jobs:
            self._make_room(visitor.address, len(near))
        self._jobs.append(job)

    def next(self) -> Job | None:
        """Choose the next job; jobs whose results are not taken are skipped, and cancelled after a while."""
        for job in self:
            if job.unread < self._limits.results:
                job.unread_since = None
            elif job.unread_since is None:
                job.unread_since = self._clock()
            elif self._clock() - job.unread_since > self._limits.unread_seconds:
                job.cancel(Problem(408, f"the results were not read for {self._limits.unread_seconds:g} s; ask again"))
        free = [job for job in self._jobs if job.background is None]
        left = next((job for job in free if job.is_cancelled), None)
        return left or min(filter(self._may_go_on, free), key=self._rank, default=None)

    def with_batch(self, job: Job) -> list[Job]:
        """Give a job, and others with shared work for the same batch.

        Jobs with more rows, and those with much more compute time, would delay this job, and are not included.
        """
        if job.batched is None or job.is_cancelled:
            return [job]
        room, seen, jobs = self._limits.rows_together - job.batched.rows, {job.visitor}, [job]
        for one in sorted(self, key=self._rank):
            if one.batched is None or one.visitor in seen or not self._are_close(job, one):
                continue
            if one.batched.rows <= min(room, job.batched.rows):
                room -= one.batched.rows
                seen.add(one.visitor)
                jobs.append(one)
        return jobs

    def _are_close(self, job: Job, other: Job) -> bool:
        level = 1 if job.visitor.address == other.visitor.address else 0
        return self._rank(other)[level] - self._rank(job)[level] <= CLOSE

    def charge(self, job: Job, seconds: float) -> None:
        """Add compute time to the visitor and the address of a job."""
        self._addresses.charge(job.visitor.address, seconds)
        if job.visitor.address in self._visitors:
            self._visitors[job.visitor.address].charge(job.visitor.name, seconds)

    def drop(self, job: Job) -> None:
        """Remove a job."""
        if job in self._jobs:
            self._jobs.remove(job)

    def _may_go_on(self, job: Job) -> bool:
        if job.kind == "export" and job.steps is None:
            begun = sum(one.kind == "export" and one.steps is not None for one in self._jobs)
            return begun < self._limits.exports
        return job.unread_since is None

    def _rank(self, job: Job) -> tuple[int, int, bool]:
        """Give the rank of a job; among equals, those without shared work go first, until they have some to batch."""
        address, name = job.visitor
        of_address = self._visitors.get(address, Shares())
        return self._addresses.slices(address), of_address.slices(name), job.batched is not None

    def _seen(self, visitor: Visitor) -> None:
        self._addresses.enter(visitor.address)
        self._visitors.setdefault(visitor.address, Shares()).enter(visitor.name)
        self._visitors.move_to_end(visitor.address)
        while len(self._visitors) > MOST:
            self._visitors.popitem(last=False)

    def _make_room_near(self, near: list[Job], visitor: Visitor, mine: int) -> None:
        counts, seen = Counter(job.visitor.name for job in near), self._visitors[visitor.address].since
        most = max(counts, key=lambda name: (counts[name], seen(name)))
        if (counts[most], seen(most)) <= (mine + 1, seen(visitor.name)):
            raise Problem(429, CROWDED)
        _last(job for job in near if job.visitor.name == most).cancel(Problem(429, CROWDED))

    def _make_room(self, address: str, near: int) -> None:
        counts = Counter(job.visitor.address for job in self)
        most = max(counts, key=lambda one: (counts[one], self._addresses.since(one)))
        if counts[most] <= near + 1:
            raise Problem(429, CROWDED)
        _last(job for job in self if job.visitor.address == most).cancel(Problem(429, CROWDED))


def _last(jobs: Iterator[Job]) -> Job:
    return list(jobs)[-1]
