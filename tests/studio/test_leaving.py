"""Visitors who leave or do not read, over raw sockets: their work stops, and the others are answered."""

import json
import socket
import time

import numpy as np
import pytest

from ipoke.studio.limits import LIMITS
from ipoke.studio.server import Studio, make_app
from ipoke.studio.visitors import Visitor
from listening import LIMITS as CONNECTION_LIMITS
from listening import connected, serving

PATIENT = CONNECTION_LIMITS._replace(per_address=20, connections=30, header_seconds=60.0, write_seconds=2.0)


@pytest.fixture(scope="module")
def served(studio):
    other = Studio(studio.model, "scenes-64", LIMITS._replace(unread_seconds=2.0))
    with serving(make_app(other), PATIENT, lifespan="on") as address:
        yield other, address


def asking(address, call, asked):
    body = json.dumps(asked).encode()
    one = connected(address)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.sendall(b"POST /api/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (call, len(body)) + body)
    return one


def jobs_of(studio):
    return list(studio.turns._waiting._jobs)


def ends(studio, seconds=20.0):
    """Tell whether nothing is left to do, within a time that only a hang exceeds."""
    end = time.monotonic() + seconds
    while jobs_of(studio) and time.monotonic() < end:
        time.sleep(0.05)
    return not jobs_of(studio)


def large(studio):
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    picture = studio.pictures.add(noise, "large", Visitor("127.0.0.1", ""))
    return {"picture": picture.id, "residuals": [[[7, i, 1]] for i in range(9)], "frames": 40}


@pytest.mark.parametrize("call", [b"export?format=gif", b"export?format=frames", b"export?format=webm", b"clips"])
def test_work_for_who_leaves_ends(served, call):
    studio, address = served
    one = asking(address, call, large(studio))
    time.sleep(0.5)
    (job,) = jobs_of(studio)
    assert not job.is_cancelled
    one.close()
    assert ends(studio)


@pytest.mark.parametrize("call", [b"export?format=frames", b"clips"])
def test_work_for_who_does_not_read_stops_and_ends(served, call):
    studio, address = served
    one = asking(address, call, large(studio))
    most, end = 0, time.monotonic() + 20
    while (jobs_of(studio) and time.monotonic() < end) or (not most and time.monotonic() < end):
        most = max([most, *(job.unread for job in jobs_of(studio))])
        time.sleep(0.02)
    assert not jobs_of(studio)
    assert most <= LIMITS.results + 1
    one.close()


def test_others_are_answered_meanwhile(served):
    studio, address = served
    held = [asking(address, call, large(studio)) for call in (b"clips", b"export?format=frames")]
    asked = {"picture": "still", "residuals": [[[1, 0, 1]]]}
    with asking(address, b"preview", asked) as one:
        assert b"200 OK" in one.recv(4096)
    for other in held:
        other.close()
    assert ends(studio)
