import cv2
import numpy as np
import pytest

from ipoke.data.optical_flow import estimator
from ipoke.data.poke import Poke
from ipoke.evaluation.metrics.motion import pin_leakage_px, poke_response


def moved(dx, dy, at):
    """Make a field with one displacement at one pixel and nothing elsewhere."""
    field = np.zeros((2, 64, 64), np.float32)
    field[:, at[1], at[0]] = dx, dy
    return field


def textured(size=96):
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def test_a_known_translation_is_a_full_response():
    image = textured()
    first, last = image[16:80, 16:80], image[14:78, 11:75]
    optical_flow = estimator("dis")(first, last)
    response = poke_response(optical_flow, Poke(x=30, y=33, dx=5, dy=2))
    assert response.endpoint_error_px < 0.5
    assert response.reach == pytest.approx(1, abs=0.1)
    against = poke_response(optical_flow, Poke(x=30, y=33, dx=-5, dy=-2))
    assert against.reach == pytest.approx(-1, abs=0.1)
    assert against.endpoint_error_px == pytest.approx(2 * np.hypot(5, 2), abs=0.5)


@pytest.mark.parametrize(
    ("measured", "error", "reach"),
    [((6, 8), 0, 1), ((0, 0), 10, 0), ((3, 4), 5, 0.5), ((-8, 6), np.hypot(14, 2), 0), ((12, 16), 10, 2)],
)
def test_the_response_in_closed_form(measured, error, reach):
    got = poke_response(moved(*measured, at=(20, 11)), Poke(x=20.4, y=10.6, dx=6, dy=8))
    assert (got.endpoint_error_px, got.reach) == pytest.approx((error, reach), abs=1e-6)


def test_a_pin_has_no_direction():
    with pytest.raises(ValueError, match="got a pin"):
        poke_response(moved(0, 0, at=(20, 11)), Poke(20, 11, 0, 0))


def test_a_pin_leaks_by_the_length_of_its_motion():
    assert pin_leakage_px(moved(3, -4, at=(20, 11)), Poke(20.4, 10.6, 0, 0)) == 5
    assert pin_leakage_px(moved(3, -4, at=(20, 11)), Poke(11, 20, 0, 0)) == 0
    with pytest.raises(ValueError, match="expected a pin"):
        pin_leakage_px(moved(3, -4, at=(20, 11)), Poke(20, 11, 1, 0))
