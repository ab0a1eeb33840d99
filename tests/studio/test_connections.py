"""Connections over raw sockets: how long each may take, how many there may be, and how they are refused."""

import json
import resource
import socket
import time

import pytest

from ipoke.core.errors import InputError
from ipoke.studio.connections import LEAST, Connection, Connections, limits_of_this_process
from ipoke.studio.guard import HEADERS
from ipoke.studio.limits import CONNECTION_LIMITS
from listening import HALF, LIMITS, WHOLE, Small, all_from, answer_from, connected, is_open, serving


@pytest.fixture(scope="module")
def small():
    return Small()


@pytest.fixture(scope="module")
def address(small):
    with serving(small) as address:
        yield address


def is_refusal(answer, status, words):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    for name, value in HEADERS.items():
        assert f"{name}: {value}".encode() in head
    assert words in json.loads(body)["error"]
    return True


def test_who_asks_is_answered_and_asks_again(address):
    with connected(address) as one:
        for _ in range(3):
            one.sendall(WHOLE)
            assert b"200 OK" in answer_from(one)


@pytest.mark.parametrize("sent", [b"", HALF, b"G"], ids=["nothing", "half a header", "a letter"])
def test_who_does_not_ask_is_closed(address, sent):
    with connected(address) as one:
        one.sendall(sent)
        began = time.monotonic()
        assert is_refusal(all_from(one), 408, "no request arrived")
        assert 0.3 < time.monotonic() - began < 5


def test_a_header_that_comes_letter_by_letter_is_not_waited_for(address):
    with connected(address) as one:
        for letter in HALF * 4:
            try:
                one.sendall(bytes([letter]))
            except OSError:
                break
            time.sleep(0.05)
            if not is_open(one):
                break
        else:
            pytest.fail("it waited all the while")


def test_a_body_that_does_not_come_is_not_waited_for(address):
    with connected(address) as one:
        one.sendall(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100)
        assert is_refusal(all_from(one), 408, "too slowly")


def test_a_body_that_comes_slowly_but_in_time_is_taken(address):
    with connected(address) as one:
        one.sendall(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n")
        for _ in range(10):
            one.sendall(b"x" * 300)
            time.sleep(0.1)
        assert b"x-length: 3000" in answer_from(one)


def test_a_body_without_an_end_is_not_waited_for(address):
    with connected(address) as one:
        one.sendall(b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            try:
                one.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("it was read all the while")


def test_who_does_not_read_is_closed_and_what_is_sent_stays_little(address, small):
    before = small.sent
    with connected(address) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1.5)
        assert len(all_from(one)) < 20_000_000
    with connected(address) as one:
        one.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        received = 0
        while received < 30_000_000 and (part := one.recv(1 << 20)):
            received += len(part)
        assert received >= 30_000_000
    assert small.sent > before


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: 1\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:40]),
)
def test_what_is_no_request_is_refused_with_all_headers(address, sent):
    with connected(address) as one:
        one.sendall(sent)
        assert is_refusal(all_from(one), 400, "not HTTP/1.1")


def test_rubbish_after_a_request_does_not_garble_its_answer(address):
    with connected(address) as one:
        one.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n\x00\x00rubbish\r\n\r\n")
        assert all_from(one).count(b"HTTP/1.1 ") <= 2


def test_who_only_waits_gives_way_when_there_are_too_many(address):
    idle = [connected(address) for _ in range(LIMITS.per_address + 1)]
    try:
        assert not is_open(idle[0], 0.2)
        assert all(is_open(one) for one in idle[1:])
        with connected(address) as new:
            new.sendall(WHOLE)
            assert b"200 OK" in answer_from(new)
        elsewhere = [connected(address, f"127.0.0.{host}") for host in (2, 3, 4)]
        idle += elsewhere
        assert all(is_open(one, 0.02) for one in elsewhere)
    finally:
        for one in idle:
            one.close()


def test_who_is_answered_does_not_give_way(address):
    slow = [connected(address) for _ in range(LIMITS.per_address)]
    try:
        for one in slow:
            one.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        with connected(address) as new:
            assert is_refusal(all_from(new), 503, "too many connections")
        with connected(address, "127.0.0.2") as other:
            other.sendall(WHOLE)
            assert b"200 OK" in answer_from(other)
        assert all(b"200 OK" in answer_from(one) for one in slow)
    finally:
        for one in slow:
            one.close()


def test_a_flood_of_connections_keeps_nobody_out(address):
    flood = []
    try:
        for index in range(40):
            flood.append(connected(address, "127.0.0.2"))
            flood[-1].sendall(HALF)
            if index % 10 == 0:
                with connected(address) as one:
                    one.sendall(WHOLE)
                    assert b"200 OK" in answer_from(one)
        time.sleep(0.2)
        assert sum(is_open(one) for one in flood) <= LIMITS.per_address
    finally:
        for one in flood:
            one.close()


class Unguarded(Connection):
    """A connection that waits without end, as they were."""

    def check(self):
        return


class UnguardedConnections(Connections):
    def protocol(self):
        return type("Admitted", (Unguarded,), {"open_connections": self})


def test_without_looking_at_connections_nobody_would_be_closed():
    with serving(Small(), make=UnguardedConnections) as address, connected(address) as one:
        one.sendall(HALF)
        assert is_open(one, 1.2)


def test_there_are_fewer_connections_than_files_that_may_be_opened(monkeypatch):
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    for allowed, most in ((150, 150), (256, 256), (4096, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, given=(allowed, most): given)
        limits = limits_of_this_process()
        assert LEAST <= limits.connections <= CONNECTION_LIMITS.connections
        assert limits.connections < allowed / 2
        assert limits.per_address < limits.connections
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 40))
    with pytest.raises(InputError, match="ulimit -n"):
        limits_of_this_process()
