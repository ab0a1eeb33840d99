"""Who goes first, who gives way, and what stops when nobody takes it."""

import asyncio
import time

import pytest

from ipoke.studio.jobs import Background
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor
from turning import all_of, run, steps


def test_too_many_are_told_so():
    done = []

    async def scenario(turns):
        for name in ("me", "me", "you"):
            turns.add(name, "clips", steps(name, 5, done))
        with pytest.raises(Problem, match="of your requests") as mine:
            turns.add("me", "clips", steps("me", 5, done))
        with pytest.raises(Problem, match="too many requests") as yours:
            turns.add("you", "clips", steps("you", 5, done))
        return mine.value.status, yours.value.status

    assert run(scenario, jobs_per_visitor=2, jobs=3) == (429, 429)


def test_who_has_most_gives_way_to_whoever_has_less():
    done = []

    async def scenario(turns):
        mine = [turns.add("me", "clips", steps("me", 5, done)) for _ in range(3)]
        other = turns.add("other", "clips", steps("other", 5, done))
        with pytest.raises(Problem, match="too many requests"):
            await all_of(mine[-1])
        return [len(await all_of(job)) for job in (*mine[:-1], other)]

    assert run(scenario, jobs=3) == [5, 5, 5]


def test_many_names_of_one_address_do_not_push_out_who_was_there_before():
    done = []

    async def scenario(turns):
        await turns.add(Visitor("here", "old"), "clips", steps("old", 1, done)).only()
        new = [turns.add(Visitor("here", f"new {i}"), "clips", steps("new", 5, done)) for i in range(3)]
        mine = turns.add(Visitor("here", "old"), "clips", steps("old", 5, done))
        with pytest.raises(Problem, match="too many requests"):
            await all_of(new[-1])
        with pytest.raises(Problem, match="too many requests"):
            turns.add(Visitor("here", "new 9"), "clips", steps("new", 5, done))
        elsewhere = turns.add(Visitor("elsewhere", "new"), "clips", steps("elsewhere", 5, done))
        return [len(await all_of(job)) for job in (mine, elsewhere)]

    assert run(scenario, jobs_per_address=3) == [5, 5]


def test_who_comes_back_after_a_rest_goes_before_those_who_asked_all_the_while():
    done = []

    async def scenario(turns):
        await turns.add(Visitor("here", "old"), "clips", steps("old", 1, done)).only()
        greedy = [turns.add(Visitor("here", f"greedy {i}"), "clips", steps("greedy", 60, done, 0.02)) for i in range(4)]
        read = [asyncio.ensure_future(all_of(job)) for job in greedy]
        await asyncio.sleep(0.5)
        before = len(done)
        await turns.add(Visitor("here", "old"), "clips", steps("old", 3, done, 0.02)).only()
        between = [name for name, _ in done[before:]]
        for job in greedy:
            job.cancel()
        await asyncio.gather(*read, return_exceptions=True)
        return between

    between = run(scenario)
    assert between[-3:] == ["old"] * 3 or between.index("old") <= 2, between


def test_a_job_that_nobody_reads_stops_and_is_given_up():
    done = []

    async def scenario(turns):
        job = turns.add("never reads", "clips", steps("unread", 1000, done, 0.001))
        await asyncio.sleep(0.3)
        stopped = len(done)
        await turns.add("other", "clips", steps("other", 3, done)).only()
        assert len([name for name, _ in done if name == "unread"]) == stopped == 3
        await asyncio.sleep(1.5)
        with pytest.raises(Problem, match="were not read") as problem:
            await all_of(job)
        return problem.value.status

    assert run(scenario, unread_seconds=0.6) == 408


def test_a_job_that_is_read_again_goes_on():
    done = []

    async def scenario(turns):
        job = turns.add("slow", "clips", steps("slow", 10, done, 0.001))
        await asyncio.sleep(0.2)
        return len(await all_of(job))

    assert run(scenario) == 10


def test_what_needs_no_network_is_done_aside_while_others_take_turns():
    done = []

    def begin():
        for step in range(2):
            answer = yield Background(lambda step=step: time.sleep(0.2) or step)
            done.append(("aside", answer))
        yield "whole"

    async def scenario(turns):
        job = turns.add("file", "export", begin)
        await turns.add("other", "clips", steps("other", 10, done)).only()
        assert "aside" not in [name for name, _ in done]
        return await job.only()

    assert run(scenario) == "whole"
    assert [step for name, step in done if name == "aside"] == [0, 1]


def test_what_goes_wrong_aside_ends_that_job_alone():
    def begin():
        yield Background(lambda: [][1])

    async def scenario(turns):
        with pytest.raises(Problem, match="IndexError"):
            await turns.add("a", "export", begin).only()
        return await turns.add("b", "export", steps("b", 1, [])).only()

    assert run(scenario) == ("b", 0)


def test_no_more_files_are_begun_than_the_limit():
    begun = []

    def begin(name):
        begun.append(name)
        yield Background(lambda: time.sleep(0.2))
        yield name

    async def scenario(turns):
        jobs = [turns.add(name, "export", lambda name=name: begin(name)) for name in "abc"]
        with pytest.raises(Problem, match="file of yours"):
            turns.add("a", "export", lambda: begin("a"))
        await asyncio.sleep(0.1)
        assert begun == ["a", "b"]
        return [await job.only() for job in jobs]

    assert run(scenario, exports=2) == ["a", "b", "c"]


def test_what_one_visitor_waits_for_has_a_limit():
    async def scenario(turns):
        turns.add("me", "clips", steps("me", 3, []), pixels=60)
        with pytest.raises(Problem, match="too many frames"):
            turns.add("me", "clips", steps("me", 3, []), pixels=60)
        return await turns.add("you", "clips", steps("you", 3, []), pixels=60).only()

    assert run(scenario, visitor_pixels=100)
