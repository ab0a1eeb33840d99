import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from checked_shapes import unchecked
from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.poke import Poke
from ipoke.engine.library import find_compiler
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.sampling import still as module
from ipoke.sampling.still import MAX_SIDE, Still

SIZES = [(40, 70), (300, 200), (64, 64), (41, 83), (33, 20)]


def picture(height, width):
    """A smooth picture in which every place looks different."""
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([x * 255 / width, y * 255 / height, (x + y) * 127 / (width + height)], -1)
    return ramps.astype(np.uint8)


def held(origin, shown, frames=2):
    """Say the same of every pixel of every frame."""
    clip = torch.zeros(1, frames, 3, 64, 64)
    field = torch.tensor(origin).view(1, 1, 2, 1, 1).expand(1, frames, 2, 64, 64)
    return DecodedFrames(clip, clip, -field, field, torch.full((1, frames, 1, 64, 64), shown))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_picture_comes_back_in_its_own_size_as_frame_0(height, width):
    image = picture(height, width)
    still = Still(image, 64)
    assert still.source.shape == (1, 3, 64, 64)
    painted = DecodedFrames(torch.zeros(1, 2, 3, 64, 64), torch.zeros(0), None, None, None)
    for decoded in (held([0.0, 0.0], 1.0), painted):
        frames = still.compose(decoded)
        assert frames.shape == (1, 3, height, width, 3)
        np.testing.assert_array_equal(frames[0, 0], image)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_where_nothing_moves_the_picture_keeps_all_its_detail(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frames = Still(image, 64).compose(held([0.0, 0.0], 1.0)).astype(int)
    assert np.abs(frames - image).max() <= 1


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
@pytest.mark.parametrize(("height", "width"), [*SIZES, (128, 128), (256, 200)])
def test_compiled_or_not_frames_are_the_same(height, width, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, channels, 64, 64, generator=generator) for channels in (3, 3, 2, 2, 1)]
    clip, paint, motion, origin, shown = parts
    decoded = DecodedFrames(clip.tanh(), paint.tanh(), motion, 20 * origin, shown.sigmoid())
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    fast = Still(image, 64).compose(decoded).astype(int)
    monkeypatch.setattr(module, "compiled", lambda: None)
    slow = Still(image, 64).compose(decoded).astype(int)
    assert np.abs(fast - slow).max() <= 1
    assert (fast != slow).mean() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(128, 128), (64, 128), (256, 200)])
def test_displacements_move_the_picture_by_its_own_pixels(height, width):
    image = picture(height, width)
    factor = max(height, width) / 64
    frames = Still(image, 64).compose(held([3.0, -2.0], 1.0)).astype(int)
    right, down = int(3 * factor), int(2 * factor)
    np.testing.assert_allclose(frames[0, 1, down:, :-right], image[: height - down, right:], atol=1)


def test_what_is_hidden_is_painted():
    paint = torch.full((1, 1, 3, 64, 64), 0.5)
    decoded = held([0.0, 0.0], 0.25, frames=1)._replace(paint=paint)
    image = np.full((40, 70, 3), 55, np.uint8)
    expected = 0.25 * 55 + 0.75 * 1.5 * 127.5
    assert np.abs(Still(image, 64).compose(decoded)[0, 1].astype(float) - expected).max() <= 1


def test_large_pictures_are_answered_scaled_down():
    frames = Still(picture(600, 2 * MAX_SIDE), 64).compose(held([0.0, 0.0], 1.0, frames=1))
    assert frames.shape == (1, 2, 300, MAX_SIDE, 3)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pokes_land_on_what_they_were_meant_for(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    x, y = width - width // 3, height // 4
    image[max(0, y - 2) : y + 3, x - 2 : x + 3] = 255
    still = Still(image, 64)
    inner = still.to_model(Poke(x, y, width / 10, -height / 10))
    brightness = still.source[0].mean(0).numpy() + 1
    rows, columns = np.mgrid[:64, :64]
    centre = (
        float((brightness * rows).sum() / brightness.sum()),
        float((brightness * columns).sum() / brightness.sum()),
    )
    assert (inner.y, inner.x) == pytest.approx(centre, abs=0.3)
    factor = 64 / max(height, width)
    assert (inner.dx, inner.dy) == pytest.approx((factor * width / 10, -factor * height / 10))


@given(
    st.sampled_from(SIZES),
    st.floats(0.1, 0.9),
    st.floats(0.1, 0.9),
    st.floats(-50, 50),
    st.floats(-50, 50),
)
def test_pokes_come_back_from_the_model(size, across, down, dx, dy):
    height, width = size
    still = Still(np.zeros((height, width, 3), np.uint8), 64)
    poke = Poke(across * width - 0.5, down * height - 0.5, dx, dy)
    back = still.from_model(still.to_model(poke))
    assert (back.x, back.y, back.dx, back.dy) == pytest.approx((poke.x, poke.y, dx, dy), abs=1e-6)


def test_pokes_from_the_padding_land_on_the_picture():
    still = Still(np.zeros((40, 80, 3), np.uint8), 64)
    outer = still.from_model(Poke(63, 0, 1, 0))
    assert (outer.x, outer.y, outer.dx) == pytest.approx((79, 0, 1.25), abs=0.5)
    assert still.to_model(Poke(0, 0, 0, 0)).is_pin


@pytest.mark.parametrize(("x", "y"), [(-0.5, -0.5), (69.49, 39.49), (0, 39)])
def test_pokes_on_the_rim_are_inside(x, y):
    inner = Still(np.zeros((40, 70, 3), np.uint8), 64).to_model(Poke(x, y, 1, 1))
    assert 0 <= inner.x <= 63
    assert 0 <= inner.y <= 63


@pytest.mark.parametrize(("x", "y"), [(-0.6, 5), (5, -0.6), (69.5, 5), (5, 39.5), (1e9, 5)])
def test_pokes_outside_are_refused(x, y):
    with pytest.raises(InputError, match=r"outside the image of 70 x 40 px; expected x in 0\.\.69 and y in 0\.\.39"):
        Still(np.zeros((40, 70, 3), np.uint8), 64).to_model(Poke(x, y, 1, 1))


@pytest.mark.parametrize("numbers", [(float("nan"), 1, 1, 1), (1, 1, float("inf"), 1), (1, 1, 1, float("nan"))])
def test_pokes_that_are_not_finite_are_refused(numbers):
    with pytest.raises(InputError, match="expected four finite numbers"):
        Still(np.zeros((40, 70, 3), np.uint8), 64).to_model(Poke(*numbers))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((40, 40, 3), np.float32),
        np.zeros((7, 40, 3), np.uint8),
        np.zeros((1, 40, 40, 3), np.uint8),
    ],
)
@unchecked()
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(InputError, match=r"expected uint8 \(height, width, 3\) of at least 8 px"):
        Still(image, 64)


def test_the_model_sees_the_whole_picture_with_its_edges_repeated():
    image = picture(64, 32)
    seen = Still(image, 64).source[0]
    exact = clip_from_frames(image)
    torch.testing.assert_close(seen[:, :, 16:48], exact)
    torch.testing.assert_close(seen[:, :, 0], exact[:, :, 0])
    torch.testing.assert_close(seen[:, :, 63], exact[:, :, 31])
