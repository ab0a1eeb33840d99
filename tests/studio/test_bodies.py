import asyncio

import pytest
from starlette.requests import Request

from ipoke.studio.bodies import Bodies
from ipoke.studio.limits import LIMITS
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor

SMALL = LIMITS._replace(bodies_bytes=1000, bodies_bytes_per_address=800, bodies_bytes_per_visitor=600, free_bytes=10)


def sending(*parts, length=None):
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    headers = [] if length is None else [(b"content-length", str(length).encode())]

    async def receive():
        return messages.pop(0)

    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def reading(scenario):
    return asyncio.run(scenario(Bodies(SMALL)))


def test_a_body_comes_whole():
    async def scenario(bodies):
        async with bodies.read(sending(b"a" * 300, b"b" * 200), Visitor("a", "x"), 600) as data:
            return data

    assert reading(scenario) == b"a" * 300 + b"b" * 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [(sending(b"a" * 601), 413), (sending(b"a", length=601), 413), (sending(), 400), (sending(b"", b""), 400)],
    ids=["too much", "announced", "nothing", "empty parts"],
)
def test_what_cannot_be_taken_is_refused(request_, status):
    async def scenario(bodies):
        with pytest.raises(Problem) as problem:
            async with bodies.read(request_, Visitor("a", "x"), 600):
                pass
        return problem.value.status

    assert reading(scenario) == status


@pytest.mark.parametrize(
    ("held", "new", "fits"),
    [
        ([("a", "x", 400)], ("a", "x", 300), False),
        ([("a", "x", 400)], ("a", "y", 300), True),
        ([("a", "x", 500)], ("a", "y", 400), False),
        ([("a", "x", 500)], ("b", "x", 400), True),
        ([("a", "x", 500), ("b", "x", 400)], ("c", "x", 200), False),
        ([("a", "x", 500), ("b", "x", 500)], ("c", "x", 10), True),
    ],
)
def test_what_is_held_at_one_time_has_limits(held, new, fits):
    async def scenario(bodies):
        contexts = [bodies.read(sending(b"a" * size), Visitor(*who), 600) for *who, size in held]
        for context in contexts:
            await context.__aenter__()
        context = bodies.read(sending(b"a" * new[2]), Visitor(*new[:2]), 600)
        if fits:
            async with context:
                pass
        else:
            with pytest.raises(Problem, match="at once") as problem:
                await context.__aenter__()
            assert problem.value.status == 429
        for context in contexts:
            await context.__aexit__(None, None, None)
        async with bodies.read(sending(b"a" * 600), Visitor("a", "x"), 600) as data:
            assert len(data) == 600

    reading(scenario)
