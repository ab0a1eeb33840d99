"""Commands write numbers so that they read back as the same."""

import json
import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipoke.studio import sessions
from ipoke.studio.questions import Question, parsed
from ipoke.studio.sessions import checked, commands

NUMBERS = st.floats(-9999, 9999)


def asked(numbers: tuple[float, ...], temperature: float) -> Question:
    x, y, dx, dy = numbers
    poke = {"x": x, "y": y, "dx": dx, "dy": dy}
    fields = {"picture": "still", "pokes": [poke], "residuals": [[[7, 0, 1]]], "temperature": temperature}
    return parsed(Question, json.dumps(fields).encode())


def read_back(question: Question) -> None:
    written = commands("scenes-64", question, "still.png")
    (poke,) = question.request().pokes
    assert written["python"] is not None
    assert written["shell"] is not None
    (in_python,) = re.findall(r"Poke\(x=(.*), y=(.*), dx=(.*), dy=(.*)\)", written["python"])
    assert tuple(map(float, in_python)) == (poke.x, poke.y, poke.dx, poke.dy)
    words = shlex.split(written["shell"])
    place = words[words.index("--pin" if poke.is_pin else "--poke") + 1].split(",")
    assert tuple(map(float, place)) == ((poke.x, poke.y) if poke.is_pin else (poke.x, poke.y, poke.dx, poke.dy))
    if question.temperature != 1:
        assert float(words[words.index("--temperature") + 1]) == question.temperature
        assert f"temperature={question.temperature!r}".removesuffix(".0") in written["python"]


@settings(max_examples=100, deadline=None)
@given(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), st.floats(0, 2))
def test_numbers_read_back_as_the_same(numbers, temperature):
    read_back(asked(numbers, temperature))


def test_six_digits_would_not(monkeypatch):
    monkeypatch.setattr(sessions, "_exact", lambda value: f"{value:g}")
    with pytest.raises(AssertionError):
        read_back(asked((123.4567891, 2.0, 3.0, 4.0), 1.0))


def test_whole_numbers_are_written_plainly():
    assert "--poke 38,137,0,34" in str(commands("scenes-64", asked((38, 137, 0, 34), 1.0), "still.png")["shell"])


def test_questions_of_the_first_version_are_read_and_written_with_the_new_name():
    old = {"picture": "still", "pokes": [], "residuals": [[[7, 0, 1.0]]], "reaches": False}
    question = parsed(Question, json.dumps(old).encode())
    assert not question.request().guidance
    session = {"ipoke": "0.1.0", "model": "scenes-64", "model_sha256": "0" * 64, "question": old, "name": "still"}
    kept = checked(session | {"history": None, "format": "ipoke-studio-1"}).question.model_dump()
    assert kept["guidance"] is False
    assert "reaches" not in kept
    assert "guidance=False" in str(commands("scenes-64", question, "a.png")["python"])
    assert str(commands("scenes-64", question, "a.png")["shell"]).endswith("--unguided --out clips.webp")
