import numpy as np
import pytest

from ipoke.studio.limits import LIMITS
from ipoke.studio.pictures import Pictures
from ipoke.studio.problem import Problem
from ipoke.studio.visitors import Visitor

ME = Visitor("192.0.2.1", "me")
IMAGE = np.zeros((16, 16, 3), np.uint8)


def make(now, **limits):
    return Pictures({"still": IMAGE}, LIMITS._replace(**limits), clock=lambda: now[0])


def test_pictures_are_forgotten_when_nobody_asks_for_them():
    now = [0.0]
    pictures = make(now, picture_seconds=100)
    kept, left = pictures.add(IMAGE, "kept", ME), pictures.add(IMAGE, "left", ME)
    now[0] = 80
    assert pictures.get(kept.id) is kept
    now[0] = 150
    assert pictures.get(kept.id) is kept
    with pytest.raises(Problem, match="send it again"):
        pictures.get(left.id)
    now[0] = 1e6
    assert pictures.get("still").is_bundled


def test_the_one_that_was_asked_for_longest_ago_gives_way():
    now = [0.0]
    pictures = make(now, pictures_per_visitor=2)
    first, second = pictures.add(IMAGE, "1", ME), pictures.add(IMAGE, "2", ME)
    now[0] = 1
    pictures.get(first.id)
    pictures.add(IMAGE, "3", ME)
    assert pictures.get(first.id) is first
    with pytest.raises(Problem):
        pictures.get(second.id)
    assert [picture.id for picture in pictures.bundled()] == ["still"]


def test_names_cannot_be_guessed():
    pictures = make([0.0])
    names = {pictures.add(IMAGE, "x", ME).id for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 24 for name in names)
