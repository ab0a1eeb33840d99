"""Who is kept out, and what every answer has, those to requests that nobody would send on purpose too."""

import asyncio
import hmac

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from ipoke.studio.guard import HEADERS, Guard
from ipoke.studio.tokens import BURST, MOST_WAIT_S, Token
from ipoke.studio.visitors import address_of

HERE = "http://127.0.0.1:8000"
TOKEN = "secret-of-the-house"


async def app(scope, receive, send):
    if scope["path"] == "/broken":
        raise RuntimeError("secret words")
    await PlainTextResponse("here")(scope, receive, send)


def asked(path="/api/about", token=None, base=HERE, **headers):
    client = TestClient(Guard(app, token), base_url=base)
    return client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def has_all_headers(answer):
    return all(answer.headers[name] == value for name, value in HEADERS.items())


ODD = ["http://[", "http://", "null", "", "//", "http://127.0.0.1:99999", "http://127.0.0.1:8000\\@evil", "a" * 9000]


@pytest.mark.parametrize("origin", ODD)
def test_an_origin_that_cannot_be_read_is_refused(origin):
    answer = asked(origin=origin)
    assert answer.status_code == 403
    assert has_all_headers(answer)


@pytest.mark.parametrize(
    "host", ["[", "[::1", "]:8000", "", "127.0.0.1:99999", "127.0.0.1:x", "localhost.evil", "\xe9"]
)
def test_a_host_that_cannot_be_read_is_refused(host):
    answer = asked(host=host.encode("latin-1"))
    assert answer.status_code == 403
    assert has_all_headers(answer)
    assert "\n" not in answer.json()["error"]


def test_what_breaks_inside_is_answered_in_words_that_tell_nothing_of_it(caplog):
    answer = asked("/broken")
    assert answer.status_code == 500
    assert has_all_headers(answer)
    assert "secret" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_a_guard_that_breaks_answers_too(monkeypatch):
    monkeypatch.setattr("ipoke.studio.guard._name", lambda _: 1 / 0)
    answer = asked()
    assert answer.status_code == 500
    assert has_all_headers(answer)


def test_who_has_the_right_token_never_waits(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    client = TestClient(Guard(app, TOKEN), base_url="http://10.0.0.5")
    for guess in range(40):
        answer = client.get("/api/about", headers={"authorization": f"Bearer guess {guess}"})
        assert answer.status_code == (401 if waits[-1] < MOST_WAIT_S else 429)
        assert has_all_headers(answer)
    wrong = len(waits)
    assert client.get("/api/about", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/api/about").status_code == 401
    assert len(waits) == wrong == 40
    assert waits[0] == 0
    assert sum(waits) > 100


def test_wrong_tokens_are_answered_slowly_address_by_address():
    now = [100.0]
    token = Token(TOKEN, clock=lambda: now[0])
    waits = [token.wait("here") for _ in range(40)]
    assert waits[:BURST] == [0.0] * BURST
    told = [wait for wait in waits if wait is not None]
    assert told == sorted(told)
    assert told[-1] <= MOST_WAIT_S
    assert None in waits
    assert token.wait("elsewhere") == 0.0
    now[0] += 60
    assert token.wait("here") == 0.0


def test_tokens_of_any_length_are_compared_as_digests_of_one_length(monkeypatch):
    lengths = set()

    def compare(one, other):
        lengths.update((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    token = Token(TOKEN)
    assert not any(token.is_right(guess) for guess in ("", "x", TOKEN[:-1], TOKEN + "x", "\xe9" * 5000, "\udcff"))
    assert token.is_right(TOKEN)
    assert lengths == {32}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        (None, "", True),
    ],
)
def test_addresses_that_one_machine_has_count_as_one(one, other, same):
    assert (address_of(one) == address_of(other)) is same
