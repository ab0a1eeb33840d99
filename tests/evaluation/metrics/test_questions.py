import numpy as np
import pytest

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.evaluation.metrics.questions import (
    MOST_POKES,
    PIN_DISTANCE_PX,
    choose_questions,
    draw_question,
    is_simulated,
    questions_of,
)
from ipoke.scenes import write_scenes
from tiny import MovingSquares, clip_set


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> ClipSet:
    folder = tmp_path_factory.mktemp("questions") / "scenes"
    write_scenes(folder, clips=6, size=64, seed=1, workers=1, frames=4, test_fraction=1.0, progress=lambda *_: None)
    return ClipSet(folder, split="test")


def test_a_question_depends_on_the_seed_and_its_clip_alone():
    squares = clip_set()
    few, many = (questions_of(squares, seed=3, most=most)[1] for most in (2, 6))
    assert {question.clip for question in few} == {0, 5}
    by_clip = {question.clip: question for question in many}
    assert [by_clip[question.clip] for question in few] == few
    assert questions_of(squares, seed=4, most=6)[1] != many


def test_pokes_are_the_true_displacements_of_what_moves():
    squares = MovingSquares()
    for question in questions_of(clip_set(), seed=0, most=6)[1]:
        assert len(question.pokes) == MOST_POKES
        for x, y, dx, dy in question.pokes:
            assert (dx, dy) == tuple(squares.displacements[question.clip])
            left, top = squares.corners[question.clip]
            assert left <= x < left + 16
            assert top <= y < top + 16
        if question.pin is not None:
            x, y = question.pin
            assert np.hypot(*squares.optical_flow(question.clip)[:, int(y), int(x)]) < 0.3
            assert all(max(abs(x - p[0]), abs(y - p[1])) >= PIN_DISTANCE_PX for p in question.pokes)
    assert any(question.pin is not None for question in questions_of(clip_set(), seed=0, most=6)[1])


def test_still_clips_are_left_out_and_counted(monkeypatch):
    clips, moved = clip_set(), MovingSquares().displacements * 0
    monkeypatch.setattr(clips, "displacements", moved)
    with pytest.raises(InputError, match="nothing moves in 3 clips"):
        questions_of(clips, seed=0, most=3)
    moved[2] = (4, 3)
    asked, questions = questions_of(clips, seed=0, most=6)
    assert (asked.still, [question.clip for question in questions]) == (5, [2])


def test_of_simulated_clips_the_hand_is_asked_first(scenes):
    assert is_simulated(scenes)
    assert not is_simulated(clip_set())
    for index in range(len(scenes)):
        question = draw_question(scenes, index, seed=0)
        assert question is not None
        assert question.pokes[0] == tuple(scenes.extras(index)["poke"])
        assert [question.first_pokes(n)[0] for n in (1, 5)] == [question.first_pokes()[0]] * 2


def test_questions_are_stored_once_and_read_ever_after(scenes):
    drawn = questions_of(scenes, seed=5, most=3)
    file = scenes.folder / "questions-test-seed5-most3.jsonl"
    written = file.read_bytes()
    assert questions_of(scenes, seed=5, most=3) == drawn
    assert file.read_bytes() == written
    file.write_bytes(written.replace(drawn[0].clips_sha256.encode(), b"0" * 64))
    with pytest.raises(InputError, match="questions about another set"):
        questions_of(scenes, seed=5, most=3)
    file.write_bytes(written[:40])
    with pytest.raises(InputError, match="not a file of questions; remove it"):
        questions_of(scenes, seed=5, most=3)


def test_a_set_with_stored_questions_can_be_made_longer(scenes):
    questions_of(scenes, seed=6, most=2)
    count = write_scenes(
        scenes.folder, clips=7, size=64, seed=1, workers=1, frames=4, test_fraction=1.0, progress=lambda *_: None
    )
    assert count == 7
    with pytest.raises(InputError, match="questions about another set"):
        questions_of(ClipSet(scenes.folder, split="test"), seed=6, most=2)


def test_questions_about_chosen_clips():
    assert [question.clip for question in choose_questions(clip_set(), numbers=[2, 0], most=1, seed=0)] == [2, 0]
    with pytest.raises(InputError, match="got 9, expected 0 to 5"):
        choose_questions(clip_set(), numbers=[9], most=1, seed=0)
