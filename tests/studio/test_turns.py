import asyncio
import itertools
import time

import pytest

from ipoke.core.errors import InputError
from ipoke.studio.jobs import END, Batched, Job, advance
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor
from turning import Named, all_of, run, steps


def test_visitors_take_turns_step_by_step():
    done = []

    async def scenario(turns):
        jobs = [turns.add(name, "clips", steps(name, 12, done)) for name in "ab"]
        return await asyncio.gather(*map(all_of, jobs))

    results = run(scenario)
    assert results == [[(name, step) for step in range(12)] for name in "ab"]
    so_far = [name for name, _ in done]
    assert sum(one != other for one, other in itertools.pairwise(so_far)) >= 4, so_far


def test_who_asks_for_much_does_not_keep_the_others_waiting():
    done = []

    async def scenario(turns):
        long = [turns.add("greedy", "clips", steps(f"greedy {i}", 20, done)) for i in range(3)]
        await asyncio.sleep(0.05)
        one = turns.add("modest", "preview", steps("modest", 2, done))
        await one.only()
        so_far = len(done)
        for job in long:
            await job.only()
        return so_far

    assert run(scenario) < 30


def test_a_newer_preview_overtakes_one_that_waits():
    done = []

    async def scenario(turns):
        slow = turns.add("other", "clips", steps("slow", 3, done, 0.05))
        first, second = (turns.add("me", "preview", steps(name, 1, done)) for name in ("first", "second"))
        with pytest.raises(Problem, match="newer preview") as replaced:
            await first.only()
        await second.only()
        await slow.only()
        return replaced.value.status

    assert run(scenario) == 409
    assert ("first", 0) not in done


def test_a_job_that_nobody_waits_for_ends():
    done = []

    async def scenario(turns):
        job = turns.add("gone", "clips", steps("gone", 1000, done))
        async for _ in job:
            break
        await turns.add("next", "clips", steps("next", 3, done)).only()
        await asyncio.sleep(0.05)
        return len([name for name, _ in done if name == "gone"])

    assert run(scenario) < 10


def test_a_job_that_was_given_up_before_it_began_says_so():
    async def scenario(turns):
        job = turns.add("gone", "preview", steps("gone", 1, []))
        job.cancel()
        with pytest.raises(Problem, match="cancelled") as problem:
            await job.only()
        return problem.value.status

    assert run(scenario) == 410


def test_what_goes_wrong_ends_that_job_alone():
    def wrong(error):
        def begin():
            yield "begun"
            raise error

        return begin

    async def scenario(turns):
        told = []
        for error in (InputError("poke: outside"), RuntimeError("tensors"), Problem(404, "gone")):
            with pytest.raises(Problem) as problem:
                await turns.add("me", "clips", wrong(error)).only()
            told.append((problem.value.status, problem.value.words))
        done = []
        await turns.add("me", "clips", steps("still here", 1, done)).only()
        return told, done

    told, done = run(scenario)
    assert told[0] == (400, "poke: outside")
    assert told[1][0] == 500
    assert "RuntimeError" in told[1][1]
    assert "tensors" not in told[1][1]
    assert told[2] == (404, "gone")
    assert done


def wanting(*works):
    def begin():
        for work in works:
            yield (work, (yield Batched(work)))

    return begin


async def results_of(turns, wants):
    jobs = [turns.add(visitor, "clips", wanting(*works)) for visitor, works in wants.items()]
    told = []
    for job in jobs:
        try:
            told.append([result async for result in job])
        except Problem as problem:
            told.append(problem.status)
    return told


def test_what_visitors_want_at_one_time_is_done_together():
    calls = []

    def draw_batch(works):
        calls.append(list(works))
        return [work.upper() for work in works]

    wants = {"a": "kl", "b": "mn", "c": "o"}
    told = run(lambda turns: results_of(turns, wants), draw_batch)
    assert told == [[(work, work.upper()) for work in works] for works in wants.values()]
    assert sorted(len(works) for works in calls) == [2, 3]


def test_no_more_than_the_limit_are_done_together():
    calls = []

    def draw_batch(works):
        calls.append(len(works))
        return list(works)

    run(lambda turns: results_of(turns, dict.fromkeys("abcde", "k")), draw_batch, rows_together=2)
    assert max(calls) == 2
    assert sum(calls) == 5


def test_work_that_cannot_be_done_ends_its_own_job_alone():
    def draw_batch(works):
        return [InputError("no") if work == "bad" else work for work in works]

    told = run(lambda turns: results_of(turns, {"a": ["good"], "b": ["bad"], "c": ["good"]}), draw_batch)
    assert told == [[("good", "good")], 400, [("good", "good")]]


def test_a_failure_of_all_is_told_to_all_and_the_next_are_answered():
    fails = iter([True, False])

    def draw_batch(works):
        if next(fails):
            raise RuntimeError("tensors")
        return list(works)

    async def scenario(turns):
        return await results_of(turns, {"a": "k", "b": "k"}), await results_of(turns, {"c": "k"})

    assert run(scenario, draw_batch) == ([500, 500], [[("k", "k")]])


def test_work_ahead_is_done_in_quiet_and_left_for_whoever_comes():
    done = []

    def ahead():
        for step in range(1000):
            time.sleep(0.01)
            done.append(("ahead", step))
            yield

    async def whole():
        turns = Named(list, ahead=ahead)
        turns.start()
        await asyncio.sleep(0.3)
        before = len(done)
        await asyncio.wait_for(turns.add("me", "clips", steps("me", 3, done)).only(), 5)
        await turns.stop()
        return before

    assert asyncio.run(whole()) > 0
    mine = [index for index, (name, _) in enumerate(done) if name == "me"]
    assert mine == list(range(mine[0], mine[0] + 3))
    assert mine[0] < 100


def test_who_waits_while_it_stops_is_told():
    async def whole():
        turns = Named(list)
        turns.start()
        done = []
        running = turns.add("a", "clips", steps("a", 100, done, 0.02))
        waiting = turns.add("b", "clips", steps("b", 1, done))
        await asyncio.sleep(0.01)
        await turns.stop()
        statuses = []
        for job in (running, waiting):
            with pytest.raises(Problem) as problem:
                await job.only()
            statuses.append(problem.value.status)
        with pytest.raises(Problem, match="stopping"):
            turns.add("c", "clips", steps("c", 1, done))
        return statuses

    assert asyncio.run(whole()) == [503, 503]


def test_who_leaves_as_a_batch_begins_takes_nobody_along():
    turns = Named(lambda works: [work.upper() for work in works])
    jobs = [Job(Visitor(name, ""), "clips", wanting(name)) for name in "abc"]
    for job in jobs:
        assert advance(job, None) is None
        assert job.batched is not None
    jobs[0].cancel()
    assert turns._step(jobs) == [END, ("b", "B"), ("c", "C")]
