"""A session replays to the same bytes whatever the threads and the number of samples, or says that it does not."""

import numpy as np
import pytest
import torch

import ipoke
from ipoke.core.errors import InputError
from ipoke.data.images import write_png
from ipoke.data.poke import Poke
from ipoke.engine import one_by_one as alone
from ipoke.sampling import open_picture
from ipoke.sampling.model import PokeModel, bundled_still
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Term
from ipoke.sampling.sampler import Job, Samples
from ipoke.sampling.session import Session, load_session, reopen, sample, start_session, unlike

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
    monkeypatch.setattr(Job, "singles", lambda job: [job])
    monkeypatch.setattr(Samples, "cat", staticmethod(lambda parts: parts[0]))
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
    third = picture.draw(SampleRequest(tuple(DRAG), ((Term(seed=3, number=1, draw=2),),)))
    assert np.array_equal(picture.show(third)[0], drawn.clips[1])
    with pytest.raises(InputError, match="draws: got 2, expected 3"):
        sample(noted.model_copy(update={"samples": 3}), model, bundled_still())


OLD = """{
  "format": "ipoke-session-1",
  "image": "still.png",
  "image_sha256": "a8eec5f5a5e1fea9595beadc3bd2f69aad5e4010b0a2b6cae91671cc04f144e6",
  "model": "scenes-64",
  "model_sha256": "3da664c4ceebe1cbc5ec60f8ab6089b1e846a778c7033b615cc62850644fb0f6",
  "pokes": [{"x": 38.0, "y": 137.0, "dx": 0.0, "dy": 34.0}],
  "samples": 1,
  "seed": 3,
  "temperature": 1.0,
  "frames": null,
  "reaches": true,
  "draws": [1],
  "made_with": {
    "ipoke": "0.1.0",
    "torch": "2.13.0+cpu",
    "pillow": "13.0.0",
    "av": "18.1.0",
    "processor": "Intel(R) Xeon(R) Processor (x86_64)",
    "kernels": "AVX512, with C functions"
  },
  "clips_sha256": "5298549b692afb305eae3a036373a29afce7997c9a7961332ce0079ff872cd10"
}
"""
"""As ipoke 0.1.0 wrote it."""


def test_a_session_of_the_first_version_replays(model, tmp_path):
    write_png(tmp_path / "still.png", bundled_still())
    (tmp_path / "old.json").write_text(OLD)
    session, loaded, image = reopen(tmp_path / "old.json")
    assert session.guidance
    assert session.request() == SampleRequest.of_seed(DRAG, seed=3)
    guided = sample(session, loaded, image)
    assert np.array_equal(guided.clips, sample(asked(model, tmp_path, samples=1), model, image).clips)
    (tmp_path / "oldest.json").write_text(OLD.replace('  "reaches": true,\n', ""))
    oldest = load_session(tmp_path / "oldest.json")
    assert not oldest.guidance
    assert np.array_equal(sample(oldest, model, image).clips, model.poke(image, DRAG, seed=3, guidance=False))


def test_new_sessions_write_the_new_name(model, tmp_path):
    text = asked(model, tmp_path).as_json()
    assert '"guidance": true' in text
    assert '"format": "ipoke-session-2"' in text
    assert "reaches" not in text
