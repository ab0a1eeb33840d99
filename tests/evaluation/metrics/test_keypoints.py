"""Keypoints: what is asked of them in closed form, and MoveNet on people where its file and package are there."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.data.video import read_frames
from ipoke.evaluation.metrics.keypoints import (
    COCO_NAMES,
    MOVENET_FILE,
    KeypointEstimator,
    MoveNet,
    find_movenet,
    keypoint_error_px,
    load_movenet,
    poked_keypoint,
)

MIRRORED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


class Constant:
    """Stands for LiteRT: the first keypoint is in the middle, the second in the lower left corner."""

    def allocate_tensors(self):
        self.seen = []

    def get_input_details(self):
        return [{"index": 0}]

    get_output_details = get_input_details

    def set_tensor(self, index, value):
        self.seen.append(value)

    def invoke(self):
        assert self.seen[-1].shape == (1, 192, 192, 3)

    def get_tensor(self, index):
        found = np.zeros((1, 1, 17, 3), np.float32)
        found[0, 0, 0] = 0.5, 0.5, 0.9
        found[0, 0, 1] = 1.0, 0.0, 0.2
        return found


def test_shares_of_the_side_become_px_of_the_frame():
    estimate: KeypointEstimator = MoveNet(Constant())
    assert len(estimate.names) == len(set(estimate.names)) == 17
    for size in (64, 100):
        points, confidence = estimate(np.zeros((2, size, size, 3), np.uint8))
        assert points.shape == (2, 17, 2)
        assert points[1, 0].tolist() == [(size - 1) / 2] * 2
        assert points[1, 1].tolist() == [-0.5, size - 0.5]
        assert confidence[0, :3] == pytest.approx([0.9, 0.2, 0])
    assert estimate(np.zeros((0, 64, 64, 3), np.uint8)).points.shape == (0, 17, 2)
    with pytest.raises(ValueError, match="square"):
        estimate(np.zeros((1, 64, 48, 3), np.uint8))


def test_the_poked_keypoint_is_the_nearest_sure_one():
    points = np.array([[10.0, 10.0], [14.0, 10.0], [40.0, 40.0]])
    sure = np.array([0.1, 0.5, 0.9])
    assert poked_keypoint(points, sure, Poke(10, 10, 3, 0), size=64) == 1
    assert poked_keypoint(points, sure + 0.3, Poke(10, 10, 3, 0), size=64) == 0
    assert poked_keypoint(points, sure, Poke(40, 48, 3, 0), size=64) == 2
    assert poked_keypoint(points, sure, Poke(40, 48.1, 3, 0), size=64) is None
    assert poked_keypoint(points, sure, Poke(40, 48.1, 3, 0), size=128) == 2
    assert poked_keypoint(points, sure * 0, Poke(10, 10, 3, 0), size=64) is None


def test_errors_in_closed_form():
    estimated, truth = np.array([[3.0, 4.0], [16.0, 0.0]]), np.array([0.0, 0.0])
    assert keypoint_error_px(estimated, truth).tolist() == [5, 16]


def test_what_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.delenv("IPOKE_WEIGHTS", raising=False)
    with pytest.raises(InputError, match="IPOKE_WEIGHTS is not set"):
        find_movenet()
    monkeypatch.setenv("IPOKE_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=MOVENET_FILE):
        find_movenet()
    (tmp_path / "movenet").mkdir()
    (tmp_path / "movenet" / MOVENET_FILE).write_text("another")
    assert find_movenet() == tmp_path / "movenet" / MOVENET_FILE
    (tmp_path / MOVENET_FILE).write_text("another")
    assert find_movenet() == tmp_path / MOVENET_FILE
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(InputError, match=r"not installed; pip install 'ipoke\[pose\]'"):
        load_movenet(tmp_path / MOVENET_FILE)


def test_other_files_are_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", os)
    (tmp_path / MOVENET_FILE).write_text("another")
    for name, words in ((MOVENET_FILE, "got sha256"), ("none.tflite", "cannot be read")):
        with pytest.raises(InputError, match=words) as caught:
            load_movenet(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def movenet():
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("needs ai_edge_litert, which comes with the extra pose")
    try:
        return load_movenet(find_movenet())
    except InputError:
        pytest.skip(f"needs {MOVENET_FILE} in the folder that IPOKE_WEIGHTS names, or in its folder movenet")


@pytest.fixture(scope="module")
def people():
    folder = Path(os.environ.get("IPOKE_DATA", "")) / "weizmann"
    if "IPOKE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs videos of Weizmann in the folder weizmann of the folder that IPOKE_DATA names")
    return np.stack([next(iter(read_frames(video))) for video in sorted(folder.glob("*.mkv"))[:12]])


def test_movenet_finds_skeletons(movenet, people):
    points, confidence = movenet(people)
    assert (confidence.mean(1) > 0.35).all()
    assert confidence.mean() > 0.5
    y = dict(zip(COCO_NAMES, np.median(points[..., 1], 0), strict=True))
    assert y["nose"] < y["left_shoulder"] < y["left_hip"] < y["left_knee"] < y["left_ankle"]
    # Seen from the front, a person's left is on the right of the picture.
    x = dict(zip(COCO_NAMES, np.median(points[..., 0], 0), strict=True))
    assert x["right_shoulder"] < x["left_shoulder"]
    again = movenet(people[3:4])
    assert (again.points[0] == points[3]).all()


def test_keypoints_move_and_turn_with_the_picture(movenet, people):
    points, confidence = movenet(people)
    padded = np.pad(people, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="edge")
    for dx, dy in ((4, 0), (-3, 2), (0, -4)):
        moved = movenet(padded[:, 4 - dy : 68 - dy, 4 - dx : 68 - dx])
        seen = (confidence > 0.5) & (moved.confidence > 0.5)
        assert seen.sum() > 50
        error = np.linalg.norm(moved.points - points - np.array([dx, dy]), axis=-1)[seen]
        assert np.median(error) < 1
        assert np.mean(error) < 2
    mirrored = movenet(np.ascontiguousarray(people[:, :, ::-1]))
    seen = (confidence > 0.5) & (mirrored.confidence[:, MIRRORED] > 0.5)
    x = mirrored.points[:, MIRRORED, 0] + points[..., 0]
    assert np.median(x[seen]) == pytest.approx(63, abs=0.4)
