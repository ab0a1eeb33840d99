import json
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.clips import ClipSet
from ipoke.data.images import read_image
from ipoke.data.poke import Poke
from ipoke.evaluation.figures import ambiguity, control_error, sensitivity, transfer
from ipoke.evaluation.figures.samples import draw_samples
from ipoke.evaluation.metrics.statistics import Estimate
from ipoke.networks.autoencoder.perceptual import WEIGHTS_VARIABLE
from ipoke.sampling.transfer import encode_clip, residual_of, round_trip

SQUARES = tiny.MovingSquares(3)
CLIPS = cast(ClipSet, SQUARES)


def moved_square(clip: int, dx: float, dy: float) -> np.ndarray:
    """Give the frames after the still in which the square of a clip goes straight to (dx, dy), to whole px."""
    frames = []
    for step in range(1, SQUARES.frames + 1):
        x, y = SQUARES.corners[clip] + np.round(np.array([dx, dy]) * step / SQUARES.frames).astype(int)
        frame = SQUARES.grounds[clip].copy()
        frame[y : y + 16, x : x + 16] = SQUARES.squares[clip]
        frames.append(frame)
    return np.stack(frames)


class Mover:
    """Moves the square of a clip by what ``answer`` makes of the poke."""

    name, sha256, size, frames, context = "mover", "1" * 64, tiny.SIZE, tiny.FRAMES, 1

    shows_still = True

    def __init__(self, *, obeys: bool = True, is_stochastic: bool = False) -> None:
        self.obeys, self.is_stochastic = obeys, is_stochastic

    def sample_clips(self, context: Tensor, pokes: Sequence[Sequence[Poke]], seeds: Sequence[Sequence[int]]) -> Tensor:
        answers = []
        for still, asked, of_one in zip(context, pokes, seeds, strict=True):
            stills = [clip_from_frames(SQUARES.clip(clip)[0]) for clip in range(len(SQUARES))]
            clip = min(range(len(SQUARES)), key=lambda index: float((stills[index] - still[0]).abs().mean()))
            answers.append(torch.stack([clip_from_frames(self._frames(clip, asked[0], seed)) for seed in of_one]))
        return torch.stack(answers)

    def _frames(self, clip: int, poke: Poke, seed: int) -> np.ndarray:
        if not self.obeys:
            return moved_square(clip, 5, 0)
        turn = math.radians(seed % 30) if self.is_stochastic else 0.0
        dx, dy = poke.dx, poke.dy
        return moved_square(clip, dx * math.cos(turn) - dy * math.sin(turn), dx * math.sin(turn) + dy * math.cos(turn))


def silent(done: int, total: int) -> None:
    assert 0 <= done <= total


def value(estimate: Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def told(path):
    record = json.loads(path.read_text())
    assert {"models", "clips_sha256", "split", "seed", "settings", "metrics", "rows"} <= record.keys()
    assert all(model.keys() == {"name", "sha256"} for model in record["models"])
    for metric in record["metrics"].values():
        assert metric.keys() == {"value", "low", "high", "n", "unit", "reason"}
    return record


class TestSensitivity:
    def test_a_sampler_that_does_as_it_is_asked(self, tmp_path):
        made = sensitivity.draw_sensitivity(Mover(), CLIPS, tmp_path, most=2, sheets=1, directions=8, progress=silent)
        assert value(made.metrics["angular_error_deg"]) < 8
        assert value(made.metrics["length_ratio"]) == pytest.approx(1, abs=0.1)
        record = told(tmp_path / "sensitivity.json")
        assert len([name for name in record["metrics"] if name.startswith("length_ratio_at_")]) == 8
        assert all(file.exists() for file in made.files)
        assert len(made.files) == 3

    def test_a_sampler_that_does_not_listen_is_off_by_chance(self, tmp_path):
        made = sensitivity.draw_sensitivity(
            Mover(obeys=False), CLIPS, tmp_path, most=1, sheets=0, directions=8, progress=silent
        )
        assert value(made.metrics["angular_error_deg"]) == pytest.approx(90, abs=3)

    def test_angles(self):
        poke = Poke(9, 9, 4, 0)
        for found, degrees in (([2, 0], 0), ([0, 3], 90), ([-1, 0], 180), ([0.1, 0.1], 90), ([2, -2], 45)):
            assert sensitivity.angular_error_deg(poke, np.array(found, float)) == pytest.approx(degrees)

    def test_pokes_go_all_around_with_one_length(self):
        around = sensitivity.pokes_around(Poke(9, 8, 3, 4))
        assert len(around) == 32
        assert {(one.x, one.y) for one in around} == {(9, 8)}
        assert [math.hypot(one.dx, one.dy) for one in around] == pytest.approx([5] * 32)
        assert np.sum([(one.dx, one.dy) for one in around], 0) == pytest.approx([0, 0])


class TestControlError:
    def test_samplers_are_compared_clip_by_clip(self, tmp_path):
        samplers = {"good": Mover(), "deaf": Mover(obeys=False)}
        made = control_error.draw_control_error(samplers, CLIPS, tmp_path, most=3, progress=silent)
        good, deaf, still = (value(made.metrics[f"control_error_px {name}"]) for name in (*samplers, "standing still"))
        assert good < 1 < deaf
        assert still == pytest.approx(np.hypot(*SQUARES.displacements.T).mean(), abs=0.01)
        assert value(made.metrics["control_error_px deaf minus good"]) == pytest.approx(deaf - good)
        record = told(tmp_path / "control-error.json")
        assert record["settings"]["names"] == ["good", "deaf"]
        assert read_image(tmp_path / "control-error.png").shape[2] == 3

    def test_outliers_are_kept_unless_asked(self, tmp_path):
        errors = np.array([1.0] * 20 + [50.0])
        assert control_error.without_outliers(errors).tolist() == [1.0] * 20
        assert control_error.without_outliers(np.ones(3)).tolist() == [1.0] * 3

    def test_a_reference_cannot_be_the_name_of_a_model(self, tmp_path):
        with pytest.raises(InputError, match="names a reference"):
            control_error.draw_control_error({"true clip": Mover()}, CLIPS, tmp_path, progress=silent)


class TestAmbiguity:
    def test_what_is_certain_has_no_spread(self, tmp_path, monkeypatch):
        monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
        made = ambiguity.draw_ambiguity(Mover(), CLIPS, tmp_path, samples=4, most=2, progress=silent)
        for count in range(1, 6):
            assert value(made.metrics[f"error_std_{count}_pokes"]) == 0
            assert value(made.metrics[f"error_mean_{count}_pokes"]) < 1e-3
        assert told(tmp_path / "ambiguity.json")["settings"]["error"].startswith("pixel MSE")

    def test_chance_shows_as_spread(self, tmp_path, monkeypatch):
        monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
        sampler = Mover(is_stochastic=True)
        made = ambiguity.draw_ambiguity(sampler, CLIPS, tmp_path, samples=4, most=1, progress=silent)
        assert value(made.metrics["error_std_1_pokes"]) > 1e-3

    def test_mean_and_unbiased_spread(self):
        errors = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
        assert ambiguity.mean_and_std(errors) == pytest.approx((1.5, 1.0))
        assert ambiguity.mean_and_std(errors[:1]) == (0.5, 0.0)

    def test_pixels_are_compared_in_minus_one_to_one(self):
        true = np.zeros((3, 4, 4, 3), np.uint8)
        drawn = np.stack([true, true + np.uint8(255)])
        assert ambiguity.pixel_errors(drawn, true).tolist() == [[0, 0], [4, 4]]

    def test_keypoints_of_the_true_clip_are_nearly_right(self, clip_set):
        clips = ClipSet(clip_set)
        true = clips.clip(1)
        still = np.broadcast_to(true[:1], true.shape)
        errors = ambiguity.keypoint_errors(np.stack([true, still]), clips, 1)
        assert errors.shape == (2, tiny.FRAMES)
        truth = clips.extras(1)["keypoints"].astype(float)
        assert errors[1] == pytest.approx(((truth[1:] - truth[0]) ** 2).sum(-1).mean(-1), rel=1e-5)
        assert errors[0, -1] < errors[1, -1]


class TestTransfer:
    def pose(self, number: int, video: str, grey: list[float], **keypoints: tuple[float, float]) -> transfer.Pose:
        return transfer.Pose(number, video, np.array(grey, float), keypoints)

    def test_the_nearest_pose_of_a_duplicated_frame_is_that_frame(self):
        rng = np.random.default_rng(0)
        greys = rng.normal(size=(5, 16)).tolist()
        poses = [self.pose(number, f"video-{number}", grey) for number, grey in enumerate([*greys, greys[2]])]
        match = transfer.nearest_pose(poses[2], poses)
        assert (match.pose.clip, match.distance) == (5, 0)
        assert "grey" in match.rule

    def test_another_start_of_the_same_video_is_not_taken(self):
        poses = [self.pose(0, "a", [0, 0]), self.pose(1, "a", [0, 0]), self.pose(2, "b", [9, 9])]
        assert transfer.nearest_pose(poses[0], poses).pose.clip == 2
        with pytest.raises(ValueError, match="one video"):
            transfer.nearest_pose(poses[0], poses[:2])

    def test_keypoints_go_before_pictures(self):
        source = self.pose(0, "a", [0.0], hand=(1, 1), foot=(5, 9))
        near, far = (
            self.pose(1, "b", [9.0], hand=(1, 2), foot=(5, 10)),
            self.pose(2, "c", [0.0], hand=(1, 7), foot=(5, 9)),
        )
        plant = self.pose(3, "d", [0.0], leaf=(1, 1), tip=(5, 9))
        match = transfer.nearest_pose(source, [source, plant, far, near])
        assert (match.pose.clip, match.distance) == (1, 1)
        assert "keypoints" in match.rule
        assert "grey" in transfer.nearest_pose(source, [plant]).rule

    def test_motions_are_compared_where_any_of_them_moves(self):
        field = np.zeros((2, 4, 4), np.float32)
        right, down = field.copy(), field.copy()
        right[0, 1], down[1, 1] = 3, 4
        told = transfer.motion_differences(right, right, [down, field])
        assert told["motion_difference_px_transferred"] == 0
        assert told["motion_difference_px_random"] == pytest.approx((5 + 3) / 2)
        assert set(transfer.motion_differences(field, field, [field]).values()) == {0}

    def test_residuals_lead_back_to_latents(self):
        model = tiny.tiny_model()
        encoded = encode_clip(model, CLIPS.clip(0), [Poke(28, 28, 5, 2)])
        back = round_trip(model, encoded, residual_of(model, encoded))
        assert 0 <= back.rms <= back.largest < 1e-3


def test_samples_are_the_same_for_the_same_seed(tmp_path):
    torch.manual_seed(0)
    first, again = (
        draw_samples(tiny.tiny_model(), CLIPS, tmp_path / name, samples=2, most=2, seed=4, progress=silent)
        for name in "ab"
    )
    assert [file.name for file in first.files] == [
        "samples-clip-00000.png",
        "samples-clip-00002.png",
        "samples.png",
        "samples.json",
    ]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first.files, again.files, strict=True))
    assert [metric.n for metric in first.metrics.values()] == [2, 2, 2]
