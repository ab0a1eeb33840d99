"""A session replays to the same bytes whatever the threads and the number of samples, or says that it does not."""

import numpy as np
import pytest
import torch

import ipoke
from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.engine import one_by_one as alone
from ipoke.sampling import open_picture
from ipoke.sampling.model import PokeModel, bundled_still
from ipoke.sampling.residual_terms import Term
from ipoke.sampling.session import Session, load_session, sample, start_session, unlike

DRAG = [Poke(x=38, y=137, dx=0, dy=34)]


@pytest.fixture(scope="module")
def model() -> PokeModel:
    return ipoke.load("scenes-64")


def asked(model: PokeModel, folder, samples: int = 3, temperature: float = 1.0) -> Session:
    names = (folder / "still.png", "scenes-64")
    return start_session(
        model, bundled_still(), DRAG, names=names, folder=folder, samples=samples, seed=3, temperature=temperature
    )


def by_threads(threads: int, work):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return work()
    finally:
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)


def same_by_threads_and_samples(model: PokeModel, folder, threads: int = 2) -> None:
    one = by_threads(1, lambda: sample(asked(model, folder), model, bundled_still()))
    two = by_threads(threads, lambda: sample(asked(model, folder), model, bundled_still()))
    fewer = by_threads(threads, lambda: sample(asked(model, folder, samples=1), model, bundled_still()))
    assert one.session == two.session
    assert np.array_equal(one.clips, two.clips)
    assert np.array_equal(one.clips[:1], fewer.clips)
    assert unlike(one.session, two.session) is None


def test_threads_and_the_number_of_samples_change_no_bit(model, tmp_path):
    same_by_threads_and_samples(model, tmp_path)


def test_in_one_batch_they_would(model, tmp_path, monkeypatch):
    monkeypatch.setattr(open_picture, "_single", lambda wanted, row: wanted)
    monkeypatch.setattr(open_picture, "_joined", lambda singles: singles[0])
    monkeypatch.setattr(open_picture, "one_by_one", lambda work, items: [work(item) for item in items])
    monkeypatch.setattr(open_picture, "one_thread", alone.contextlib.nullcontext)
    with pytest.raises(AssertionError):
        same_by_threads_and_samples(model, tmp_path, threads=1)


def test_the_session_is_read_back_as_it_was_written(model, tmp_path):
    made = sample(asked(model, tmp_path, samples=1), model, bundled_still()).session
    made.save(tmp_path / "a.json")
    assert load_session(tmp_path / "a.json") == made
    assert made.draws == (1,)


def test_a_replay_says_when_it_is_not_the_same(model, tmp_path):
    made = sample(asked(model, tmp_path, samples=1), model, bundled_still()).session
    assert made.made_with is not None
    older = made.model_copy(update={"made_with": made.made_with.model_copy(update={"torch": "1.0"})})
    assert unlike(older, made) is None
    otherwise = older.model_copy(update={"clips_sha256": "0" * 64})
    words = unlike(otherwise, made)
    assert words == f"replay: pixels differ from those of the session (torch 1.0 then, {torch.__version__} now)"
    other = made.model_copy(update={"made_with": made.made_with.model_copy(update={"pillow": "1"})})
    assert "the same pixels" in str(unlike(other, made))
    assert "no hash" in str(unlike(asked(model, tmp_path), made))


def test_draws_are_noted_and_replayed(model, tmp_path):
    """What was drawn again is not looked for again."""
    picture = model.open(bundled_still())
    noted = asked(model, tmp_path, samples=2).model_copy(update={"draws": (1, 3)})
    drawn = sample(noted, model, bundled_still())
    plain = sample(asked(model, tmp_path, samples=2), model, bundled_still())
    assert drawn.session.draws == (1, 3)
    assert np.array_equal(drawn.clips[0], plain.clips[0])
    assert not np.array_equal(drawn.clips[1], plain.clips[1])
    third = picture.draw(DRAG, [(Term(seed=3, number=1, draw=2),)])
    assert np.array_equal(picture.show(third)[0], drawn.clips[1])
    with pytest.raises(InputError, match="draws: got 2, expected 3"):
        sample(noted.model_copy(update={"samples": 3}), model, bundled_still())
