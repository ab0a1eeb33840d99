from typing import Any

import numpy as np
import pytest
import torch

import ipoke
from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.sampling import sampler
from ipoke.sampling.request import SampleRequest
from tiny import MovingSquares, tiny_model

IMAGE = np.repeat(np.repeat(MovingSquares().clip(0)[0], 2, 0), 2, 1)
DRAG, OTHER = [Poke(x=64, y=60, dx=16, dy=-8)], [Poke(x=40, y=70, dx=-9, dy=5)]


def counted(monkeypatch, of, name):
    calls, method = [], getattr(of, name)

    def watched(*arguments, **named):
        calls.append(arguments)
        return method(*arguments, **named)

    monkeypatch.setattr(of, name, watched)
    return calls


def test_it_gives_the_clips_of_the_model():
    picture = tiny_model().open(IMAGE)
    for pokes, seed in ((DRAG, 0), (OTHER, 3), ([], 1), (DRAG, 0)):
        assert (
            picture.poke(pokes, samples=2, seed=seed) == tiny_model().poke(IMAGE, pokes, samples=2, seed=seed)
        ).all()


def test_what_depends_on_the_picture_is_computed_once(monkeypatch):
    model = tiny_model()
    images = counted(monkeypatch, model.conditions.image, "forward")
    features = counted(monkeypatch, model.engine, "source_features")
    pokes = counted(monkeypatch, model.conditions, "encode_pokes")
    picture = model.open(IMAGE)
    for drag in (DRAG, OTHER, DRAG):
        picture.preview(drag)
        picture.poke(drag)
    assert (len(images), len(features), len(pokes)) == (1, 1, 3)


@pytest.mark.parametrize("frames", [None, 2])
def test_a_preview_shows_the_last_frames(frames):
    picture = tiny_model().open(IMAGE)
    preview = picture.preview(DRAG, samples=3, seed=5, frames=frames).astype(int)
    clips = picture.poke(DRAG, samples=3, seed=5, frames=frames)
    assert preview.shape == (3, 128, 128, 3)
    assert np.abs(preview - clips[:, -1]).max() <= 1
    assert np.abs(preview - clips[:, 0]).max() > 5


@pytest.mark.parametrize(
    "change",
    [{"samples": 2}, {"seed": 1}, {"temperature": 0.5}, {"frames": 3}, {"pokes": OTHER}, {"guidance": False}],
    ids=str,
)
def test_after_a_preview_of_something_else_it_starts_anew(change):
    picture = tiny_model().open(IMAGE)
    picture.preview(DRAG)
    asked: dict[str, Any] = {"pokes": DRAG, **change}
    assert (picture.poke(**asked) == tiny_model().poke(IMAGE, **asked)).all()


def test_what_cannot_be_done_is_refused_by_both():
    picture = tiny_model().open(IMAGE)
    for call in (picture.poke, picture.preview):
        with pytest.raises(InputError, match="samples: got 0"):
            call(DRAG, samples=0)
        with pytest.raises(InputError, match="outside the image"):
            call([Poke(500, 2, 1, 1)])


def test_a_rough_preview_reuses_the_jacobian_of_the_drag_before(monkeypatch):
    model = ipoke.load("scenes-64")
    picture = model.open(ipoke.bundled_still())
    jacobians = counted(monkeypatch, sampler, "jacobian_at_mode")
    ends = []
    for length in (10, 20, 30):
        request = SampleRequest.of_seed([Poke(x=38, y=137, dx=0, dy=length)])
        drawn = picture.draw(request.roughly())
        ends.append(picture.predict_motion(drawn)[0, 1, 34, 9].item() * 4)
    assert len(jacobians) == 1
    assert np.abs(np.array(ends) - [10, 20, 30]).max() < 4
    picture.draw(SampleRequest.of_seed([Poke(x=38, y=137, dx=0, dy=30)]))
    assert len(jacobians) == 2


def test_frames_can_be_shown_one_by_one():
    picture = tiny_model().open(IMAGE)
    drawn = picture.draw(SampleRequest.of_seed(DRAG, samples=2))
    whole = picture.show(drawn).astype(int)
    for frame in range(4):
        one = picture.show(drawn, [frame])
        assert (one[:, 0] == IMAGE).all()
        assert np.abs(one[:, 1] - whole[:, frame + 1]).max() <= 1
    last, motion = picture.show_last(drawn)
    assert np.abs(last.astype(int) - whole[:, -1]).max() <= 1
    assert motion is not None
    assert torch.allclose(motion, picture.predict_motion(drawn), atol=1e-3)
    assert motion.abs().max() > 0.1
