from functools import partial

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


def test_many_names_of_one_address_forget_nobody_elses_pictures():
    pictures = make([0.0], pictures_per_visitor=3, pictures_per_address=4, pictures=6)
    mine = [pictures.add(IMAGE, "mine", ME) for _ in range(2)]
    for name in range(2):
        pictures.add(IMAGE, "theirs", Visitor(ME.address, f"name {name}"))
    for name in range(2, 32):
        for send in (pictures.check_room, partial(pictures.add, IMAGE, "theirs")):
            with pytest.raises(Problem, match="too many pictures"):
                send(Visitor(ME.address, f"name {name}"))
    assert all(pictures.get(one.id) is one for one in mine)
    elsewhere = pictures.add(IMAGE, "elsewhere", Visitor("192.0.2.2", "you"))
    new = pictures.add(IMAGE, "mine", ME)
    assert pictures.get(mine[1].id)
    assert pictures.get(new.id)
    assert pictures.get(elsewhere.id)
    with pytest.raises(Problem, match="send it again"):
        pictures.get(mine[0].id)


def test_when_all_is_full_the_old_ones_make_room():
    now = [0.0]
    pictures = make(now, pictures=2, picture_seconds=100)
    for name in "ab":
        pictures.add(IMAGE, name, Visitor(name, ""))
    with pytest.raises(Problem, match="too many pictures"):
        pictures.add(IMAGE, "c", ME)
    now[0] = 101
    assert pictures.add(IMAGE, "c", ME).visitor == ME


class Opener:
    def open(self, image):
        return object()


def test_who_opens_most_pictures_has_them_closed():
    pictures = make([0.0], opened=3)
    mine, *theirs = [pictures.add(IMAGE, "x", Visitor("a", name)) for name in ("me", *["other"] * 4)]
    for picture in (mine, *theirs, pictures.get("still")):
        picture.opened(Opener())
        pictures.close_some()
    assert [one.is_open for one in (mine, *theirs)] == [True, False, False, True, True]
    assert pictures.get("still").is_open
