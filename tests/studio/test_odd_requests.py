"""Requests that nobody sends on purpose: each is answered in one line, with all headers, and never by a 500."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipoke.studio.guard import HEADERS
from ipoke.studio.limits import LIMITS
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor
from ipoke.studio.writing import written

ONE = {"picture": "still", "pokes": [], "residuals": [[[7, 0, 1]]]}


def is_answered(answer, *statuses):
    assert answer.status_code in statuses, (answer.status_code, answer.text[:300])
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        told = answer.json()["error"]
        assert len(told) <= 500
        assert told.isprintable()
    return True


HISTORIES = {
    "NaN": b"NaN",
    "infinite": b"-Infinity",
    "too large": b"1e999",
    "deep": b"[" * 5000 + b"]" * 5000,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "a long integer": b"9" * 5000,
    "half a letter": b'"\\ud800"',
    "no letters": b'"\xff\xfe"',
    "not whole": b'{"a": [1, 2',
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_history_that_is_no_json_is_refused(client, history):
    body = json.dumps(ONE).encode()[:-1] + b', "history": ' + history + b"}"
    assert is_answered(client.post("/api/export?format=tracks", content=body), 400, 422)


@pytest.mark.parametrize("history", [10**400, {"a": 1}, "\u2028", "\x00", [[[[]]]], 1e308, None])
def test_a_history_that_is_json_is_kept(client, history):
    file = client.post("/api/export?format=tracks", json={**ONE, "history": history})
    assert is_answered(file, 200)
    assert is_answered(client.post("/api/reopen", content=file.content), 200)


def test_of_keys_that_repeat_the_last_counts(client):
    body = b'{"picture": "nowhere", "picture": "still", "residuals": [[[7, 0, 1]]]}'
    assert is_answered(client.post("/api/command", content=body), 200)


@pytest.mark.parametrize(
    "sent",
    [
        {"picture": "still", "x": 1, "y": 2, "\n\x1b[2J" + "k" * 9000: 1},
        {**ONE, "picture": "\n" * 9000},
        {**ONE, "residuals": [[[2**53, 0, 1]]]},
        {**ONE, "residuals": [[[10**400, 0, 1]]]},
        {**ONE, "residuals": [[[0, 0, 10**400]]]},
        {**ONE, "residuals": [{"given": "\x00"}]},
        {**ONE, "pokes": [{"x": 1e308, "y": 0, "dx": 0, "dy": 0}]},
    ],
    ids=lambda sent: repr(sent)[:20],
)
def test_fields_that_no_page_sends_are_named_in_one_line(client, sent):
    for call in ("clips", "correlation", "export?format=gif", "command"):
        assert is_answered(client.post(f"/api/{call}", json=sent), 422)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "HEAD", "BREW", "x" * 2000])
def test_methods_that_are_not_taken_are_refused(client, method):
    assert is_answered(client.request(method, "/api/clips"), 405)
    assert is_answered(client.request(method, "/nowhere"), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/api/about/",
        "/%00",
        "/%ff%fe",
        "/static/%0a%1b[2J",
        "/api/pictures/%0d%0aX:%20y",
        "/" + "a" * 9000,
    ],
)
def test_odd_paths_are_refused(client, path):
    assert is_answered(client.get(path, follow_redirects=False), 404)


@pytest.mark.parametrize("query", ["at=", "at=nan", "at=inf", "at=-1", "at=1e999", "at=%ff", "at=" + "9" * 9000])
def test_odd_queries_are_refused(client, query):
    assert is_answered(client.post(f"/api/frame?{query}", content=b"zzz"), 400, 415)


@pytest.mark.parametrize("length", ["-1", "1e3", "\xb2", "9" * 30])
def test_lengths_that_are_none_are_refused(client, length):
    answer = client.post("/api/command", content=b"{}", headers={"content-length": length.encode("latin-1")})
    assert is_answered(answer, 400, 413, 422)


def test_a_visitor_of_any_name_is_served(client):
    for name in ("", "x" * 9000, "\xff", "a b"):
        assert is_answered(client.post("/api/command", json=ONE, headers={"x-visitor": name.encode("latin-1")}), 200)


def test_pictures_are_stored_nowhere(client):
    for call in ("/api/pictures/still", "/api/about"):
        assert client.get(call).headers["cache-control"] == "no-store"


def test_more_frames_than_one_answer_may_have_are_refused_before_any_work(client, studio):
    large = studio.pictures.add(np.zeros((1024, 1024, 3), np.uint8), "large", Visitor("testclient", ""))
    asked = {"picture": large.id, "residuals": [[[7, i, 1]] for i in range(9)], "frames": 40}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ipoke.studio.questions.LIMITS", LIMITS._replace(answer_pixels=100_000_000))
        for call in ("clips", "export?format=gif"):
            answer = client.post(f"/api/{call}", json=asked)
            assert is_answered(answer, 413)
            assert "9 samples of 40 frames of 1024 x 1024 px are 387 megapixels" in answer.json()["error"]
    assert not large.is_open


def test_numbers_that_are_not_finite_never_leave(client, studio, monkeypatch):
    monkeypatch.setattr("ipoke.studio.answers.summary", lambda *_: {"kind": "end", "ambiguity": float("inf")})
    last = json.loads(client.post("/api/clips", json=ONE).text.splitlines()[-1])
    assert last["kind"] == "error"
    assert "not finite" in last["error"]
    with pytest.raises(Problem, match="not finite"):
        written({"a": [float("nan")]})


@pytest.mark.parametrize(
    ("history", "status"),
    [("[" + "[]," * 500_000 + "[]]", 413), ('"' + "x" * 1_000_000 + '"', 422)],
    ids=["values", "letters"],
)
def test_a_history_that_is_too_large_is_refused(client, history, status):
    body = json.dumps(ONE)[:-1] + f', "history": {history}' + "}"
    assert is_answered(client.post("/api/export?format=tracks", content=body.encode()), status)


def test_the_page_may_fetch_all_pictures_that_come_with_it_at_once(client, studio):
    with ThreadPoolExecutor(8) as pool:
        ids = [picture.id for picture in studio.pictures.bundled()]
        answers = list(pool.map(lambda id_: client.get(f"/api/pictures/{id_}"), ids))
    assert len(answers) > 4
    assert [answer.status_code for answer in answers] == [200] * len(ids)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    host=st.binary(max_size=12) | st.sampled_from([b"127.0.0.1:8000", b"localhost"]),
    origin=st.binary(max_size=12) | st.just(b"http://127.0.0.1:8000") | st.just(b"http://["),
    path=st.sampled_from(["/", "/api/about", "/api/pictures/x", "/nowhere"]),
)
def test_headers_of_any_bytes_are_answered(client, host, origin, path):
    headers = {
        "host": host.replace(b"\n", b"").replace(b"\r", b""),
        "origin": origin.replace(b"\n", b"").replace(b"\r", b""),
    }
    assert is_answered(client.get(path, headers=headers), 200, 403, 404)
