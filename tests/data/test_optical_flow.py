import cv2
import numpy as np
import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.data.optical_flow import estimator, resize_optical_flow, to_colour, warp


def texture(rng, size):
    """Colour noise with as much to see at every scale."""
    total = np.zeros((size, size, 3), np.float32)
    for sigma in (1, 2, 4, 8):
        layer = cv2.GaussianBlur(rng.standard_normal((size, size, 3)).astype(np.float32), (0, 0), sigma)
        total += layer / layer.std() * sigma**0.5
    return np.interp(total, (total.min(), total.max()), (0, 255)).astype(np.float32)


def sample(image, x, y):
    return cv2.remap(
        image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )


def bending(size, largest, seed):
    """A pair in which everything moves smoothly, the field between them, and where that stays in sight."""
    rng = np.random.default_rng(seed)
    last = texture(rng, size)
    field = cv2.GaussianBlur(rng.standard_normal((size, size, 2)).astype(np.float32), (0, 0), size / 5)
    field *= largest / np.hypot(field[..., 0], field[..., 1]).max()
    rows, columns = np.mgrid[:size, :size]
    x, y = columns + field[..., 0], rows + field[..., 1]
    visible = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    first = sample(last, x, y)
    return *(np.clip(i, 0, 255).round().astype(np.uint8) for i in (first, last)), field.transpose(2, 0, 1), visible


def moving_disc(size, distance, seed):
    """A textured disc, a third of the image wide, that moves over a background at rest; visible is the disc."""
    rng = np.random.default_rng(seed)
    background, surface = texture(rng, size), 255 - texture(rng, size)
    angle, radius = rng.uniform(0, 2 * np.pi), size / 6
    dx, dy = distance * np.cos(angle), distance * np.sin(angle)
    rows, columns = np.mgrid[:size, :size]
    x, y = columns - (size - dx) / 2, rows - (size - dy) / 2

    def paint(shift_x, shift_y):
        cover = np.clip(radius - np.hypot(x - shift_x, y - shift_y) + 0.5, 0, 1)[..., None]
        painted = cover * sample(surface, columns - shift_x, rows - shift_y) + (1 - cover) * background
        return np.clip(painted, 0, 255).round().astype(np.uint8)

    disc = np.hypot(x, y) < radius
    return paint(0, 0), paint(dx, dy), disc * np.array([dx, dy]).reshape(2, 1, 1), disc


def end_point_error(estimated, field):
    return np.hypot(*(estimated - field))


@pytest.mark.parametrize(("size", "largest", "bound"), [(64, 2, 0.055), (64, 8, 0.12), (64, 16, 0.8), (128, 16, 0.12)])
def test_dis_follows_smooth_motion(size, largest, bound):
    errors = []
    for seed in range(4):
        first, last, field, visible = bending(size, largest, seed)
        errors.append(end_point_error(estimator("dis")(first, last), field)[visible].mean())
    assert np.mean(errors) < bound


@pytest.mark.parametrize(("size", "distance"), [(64, 2), (64, 6), (128, 10)])
def test_dis_follows_a_thing_over_a_background_at_rest(size, distance):
    for seed in range(4):
        first, last, field, disc = moving_disc(size, distance, seed)
        error = end_point_error(estimator("dis")(first, last), field)
        assert np.median(error[disc]) < 0.1
        assert np.median(error[~disc]) < 0.1


def test_dis_sees_no_motion_in_a_still():
    first, *_ = bending(64, 4, seed=0)
    assert np.abs(estimator("dis")(first, first)).max() < 0.05


def test_an_estimate_has_the_shape_of_its_images():
    wide = np.random.default_rng(0).integers(0, 256, (48, 80, 3)).astype(np.uint8)
    estimated = estimator("dis")(wide, wide)
    assert estimated.shape == (2, 48, 80)
    assert estimated.dtype == np.float32


def test_raft_without_weights_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("IPOKE_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(InputError, match=r"raft-small\.pth is not in") as caught:
        estimator("raft")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "mine") in str(caught.value)
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in str(caught.value)


def test_the_last_frame_warped_looks_like_the_first():
    first, last, field, visible = bending(64, 8, seed=2)
    tensor = torch.from_numpy(last).movedim(-1, 0)[None].double()
    warped = warp(tensor, torch.from_numpy(field)[None].double())[0].movedim(0, -1).numpy()
    difference = np.abs(warped - first)[visible].mean()
    assert difference < 2
    assert np.abs(last.astype(float) - first)[visible].mean() > 10 * difference
    backwards = warp(tensor, -torch.from_numpy(field)[None].double())[0].movedim(0, -1).numpy()
    assert np.abs(backwards - first)[visible].mean() > 10 * difference


def test_warping_a_linear_image_is_exact_and_axes_are_not_swapped():
    rows, columns = torch.meshgrid(torch.arange(9.0).double(), torch.arange(12.0).double(), indexing="ij")
    image = torch.stack((3 * columns + 5 * rows, columns))[None]
    optical_flow = torch.rand(1, 2, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    warped = warp(image, optical_flow)[..., :-1, :-1]
    expected = torch.stack((3 * optical_flow[0, 0] + 5 * optical_flow[0, 1], optical_flow[0, 0])) + image[0]
    assert torch.allclose(warped[0], expected[:, :-1, :-1], atol=1e-12)


def test_whole_pixels_shift_exactly_and_the_border_is_repeated():
    image = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift = torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1).expand(2, 2, 7, 5)
    warped = warp(image, shift)
    assert torch.allclose(warped[..., 1:, :3], image[..., :-1, 2:], atol=1e-12)
    assert torch.allclose(warped[..., 1:, 3:], image[..., :-1, 4:].expand(2, 3, 6, 2), atol=1e-12)


def test_each_image_of_a_batch_follows_its_own_field():
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    fields = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    alone = [warp(image[k : k + 1], fields[k : k + 1]) for k in (0, 1)]
    assert torch.equal(warp(image, fields), torch.cat(alone))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 32), (128, 128), (64, 32), (96, 160)])
def test_a_resized_field_still_leads_from_the_first_to_the_last(height, width):
    first, last, field, _ = bending(64, 6, seed=5)
    # Blurred, so that the resized images keep what they show.
    first, last = (
        cv2.resize(cv2.GaussianBlur(i.astype(np.float32), (0, 0), 2), (width, height), interpolation=cv2.INTER_AREA)
        for i in (first, last)
    )
    resized = torch.from_numpy(resize_optical_flow(field, height, width))[None]

    def error(field):
        warped = warp(torch.from_numpy(last).movedim(-1, 0)[None], field)[0].movedim(0, -1).numpy()
        return np.abs(warped - first)[height // 8 : -height // 8, width // 8 : -width // 8].mean()

    assert error(resized) < 2.5
    assert error(0 * resized) > 3 * error(resized)
    for wrong in (0.5, 2):
        assert error(wrong * resized) > 2 * error(resized)


def test_resizing_scales_each_axis_by_its_own_factor():
    field = np.stack((np.full((4, 6), 2), np.full((4, 6), 3))).astype(np.float32)
    resized = resize_optical_flow(field, height=2, width=18)
    np.testing.assert_allclose(resized, np.stack((np.full((2, 18), 6), np.full((2, 18), 1.5))))


def test_colours_tell_direction_and_length():
    field = np.zeros((2, 1, 5), np.float32)
    field[:, 0] = np.array([[4, 0, -4, 2, 0], [0, 4, 0, 0, 0]])
    (right, down, left, short, still) = to_colour(field)[0].tolist()
    assert right == [255, 0, 0]
    assert short == pytest.approx([255, 128, 128], abs=2)
    assert still == [255, 255, 255]
    assert left == [0, 255, 255]
    assert down[1] == 255 > down[0] > down[2] == 0
    assert to_colour(field, largest=8.0)[0, 0].tolist() == short
