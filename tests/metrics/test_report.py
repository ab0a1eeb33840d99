import json
from typing import Any

import pytest
import torch

from ipoke.autoencoder.perceptual import WEIGHTS_VARIABLE, LpipsSqueeze
from ipoke.data.images import read_image
from ipoke.errors import InputError
from ipoke.metrics import report
from ipoke.metrics.report import UNITS, evaluate
from tiny import MovingSquares, clip_set, tiny_model

FACTS = {
    "model",
    "model_sha256",
    "clips",
    "clips_sha256",
    "test_clips",
    "samples",
    "seed",
    "optical_flow",
    "metrics",
}


def evaluated(out, **changes):
    asked: dict[str, Any] = {"samples": 2, "most": 3, "seed": 0, "progress": lambda done, total: None} | changes
    return evaluate(tiny_model(), clip_set(), clip_set(3), out, **asked)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(WEIGHTS_VARIABLE, raising=False)
        out = tmp_path_factory.mktemp("report")
        heard = []
        lines = evaluated(out, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert (out / "report.md").read_text() == "\n".join(lines) + "\n"
    return out


def test_the_report_says_what_was_measured_on_what(folder):
    told = json.loads((folder / "report.json").read_text())
    assert told.keys() == FACTS
    assert (told["model"], told["clips"], told["test_clips"], told["samples"]) == ("tiny-64", "moving-squares", 3, 2)
    assert told["model_sha256"] == tiny_model().sha256
    assert told["metrics"].keys() == UNITS.keys()
    for name, metric in told["metrics"].items():
        assert metric.keys() == {"value", "low", "high", "n", "unit", "reason"}
        assert metric["unit"] == UNITS[name]
        if "lpips" in name:
            assert metric["value"] is None
            assert "IPOKE_WEIGHTS" in metric["reason"]
        else:
            assert metric["reason"] is None, name
            assert metric["n"] == 3
            assert metric["low"] <= metric["value"] <= metric["high"], name


def test_the_figures_are_plausible(folder):
    metrics = json.loads((folder / "report.json").read_text())["metrics"]
    assert metrics["round_trip_error"]["value"] < 1e-4
    assert 5 < metrics["reconstruction_psnr"]["value"] < 40
    assert metrics["diversity_mse"]["value"] > 0
    assert (
        metrics["poke_endpoint_error_px_ground_truth"]["value"] < metrics["poke_endpoint_error_px_no_motion"]["value"]
    )
    assert metrics["poke_reach_ground_truth"]["value"] == pytest.approx(1, abs=0.3)
    assert metrics["poke_followed_error_px_ground_truth"]["value"] < 1
    assert metrics["poke_followed_reach_ground_truth"]["value"] == pytest.approx(1, abs=0.2)
    lengths = [float(abs(complex(*vector))) for vector in MovingSquares().displacements]
    assert min(lengths) <= metrics["poke_endpoint_error_px_no_motion"]["value"] <= max(lengths)


def test_there_is_a_table_and_a_strip_per_clip(folder):
    table = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(UNITS)
    assert sum("unavailable" in line for line in table) == 3
    strips = sorted((folder / "strips").iterdir())
    assert len(strips) == 3
    assert read_image(strips[0]).shape[2] == 3


def test_the_same_seed_tells_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    evaluated(tmp_path)
    again, told = (json.loads((where / "report.json").read_text()) for where in (tmp_path, folder))
    assert again == told


def test_with_weights_the_perceptual_distance_is_told(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = LpipsSqueeze().requires_grad_(False)
    for weight in network.weights:
        weight.uniform_()
    monkeypatch.setattr(report, "find_perceptual_weights", lambda given: tmp_path)
    monkeypatch.setattr(report, "load_perceptual", lambda path: network)
    evaluated(tmp_path, most=1)
    metrics = json.loads((tmp_path / "report.json").read_text())["metrics"]
    for name in ("reconstruction_lpips_squeeze", "lpips_squeeze_best", "lpips_squeeze_copy"):
        assert metrics[name]["value"] > 0
        assert metrics[name]["n"] == 1


def test_clips_of_another_size_and_too_few_samples_are_refused(tmp_path):
    with pytest.raises(InputError, match="64 px and 5 frames, the model expects 64 px and 4"):
        evaluate(
            tiny_model(),
            clip_set(frames=5),
            clip_set(),
            tmp_path,
            samples=2,
            most=1,
            seed=0,
            progress=lambda done, total: None,
        )
    with pytest.raises(InputError, match="1 samples"):
        evaluated(tmp_path, samples=1)
    with pytest.raises(InputError, match="at most 0 clips"):
        evaluated(tmp_path, most=0)
