import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.clips import ClipSet
from ipoke.data.images import read_image
from ipoke.evaluation.metrics import evaluate as evaluation
from ipoke.evaluation.metrics.evaluate import Settings, evaluate
from ipoke.evaluation.metrics.measure import Instruments
from ipoke.evaluation.metrics.protocol import PROTOCOLS
from ipoke.evaluation.metrics.report import Report, report_lines
from ipoke.evaluation.metrics.round_trips import ABOUT_ROUND_TRIPS, RESIDUALS
from ipoke.networks.autoencoder.lpips import WEIGHTS_VARIABLE, Lpips, Network
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.scenes import write_scenes
from ipoke.training.baselines.copy_source import CopySource
from tiny import FRAMES, MovingSquares, clip_set, tiny_model

NETWORKS: tuple[Network, ...] = ("squeeze", "alex")
FIXED_NAMES = {
    *("ssim", "psnr", "lpips_squeeze", "lpips_alex", "lpips_vgg", "diversity_mse", "diversity_lpips"),
    *("poke_endpoint_error_px", "poke_reach", "pin_leakage_px", "keypoint_error_px", "nll_bits_per_dim"),
    *("round_trip_error", "frechet_random_conv3d", "frechet_motion_grid", "fvd_i3d", "energy_score", "energy_skill"),
    *("coverage_50", "coverage_90", "spread_error_ratio"),
}
"""What scripts read."""


class Truth:
    """A sampler that knows the true clips of a set."""

    name, sha256, size, frames, context = "truth", "1" * 64, 64, FRAMES, 1
    is_stochastic = shows_still = True

    def __init__(self, clips: ClipSet) -> None:
        self.clips = {clip[0].tobytes(): clip for clip in map(clips.clip, range(len(clips)))}

    def sample_clips(self, context, pokes, seeds: Sequence[Sequence[int]]):
        frames = ((context[:, 0].permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        true = torch.stack([clip_from_frames(self.clips[frame.tobytes()])[1:] for frame in frames])
        return true[:, None].expand(-1, len(seeds[0]), -1, -1, -1, -1)


def asked(**changes: Any) -> Settings:
    given: dict[str, Any] = {"samples": 3, "most": 4, "calibrated": 2, "cloud": 4} | changes
    return Settings(given.pop("protocol", PROTOCOLS["paper"]), **given)


def evaluated(out: Path, sampler: ClipSampler | None = None, clips: ClipSet | None = None, **changes: Any) -> Report:
    return evaluate(
        sampler or tiny_model(), clips or clip_set(), clip_set(3), out, asked(**changes), progress=lambda *_: None
    )


def values(report: Report) -> dict[str, float]:
    return {name: metric.value for name, metric in report.metrics.items() if metric.value is not None}


@pytest.fixture(autouse=True)
def without_weights(monkeypatch) -> None:
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> ClipSet:
    folder = tmp_path_factory.mktemp("evaluate") / "scenes"
    write_scenes(
        folder, clips=2, size=64, seed=3, workers=1, frames=FRAMES, test_fraction=1.0, progress=lambda *_: None
    )
    return ClipSet(folder, split="test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(WEIGHTS_VARIABLE, raising=False)
        out = tmp_path_factory.mktemp("report")
        heard: list[tuple[int, int]] = []
        evaluate(
            tiny_model(), clip_set(), clip_set(3), out, asked(batch=2), progress=lambda *count: heard.append(count)
        )
    assert heard == [(0, 6), (2, 6), (4, 6), (5, 6), (6, 6)]
    return out


def test_the_report_has_the_fixed_names_and_says_what_was_measured_on_what(folder):
    told = json.loads((folder / "report.json").read_text())
    assert told["metrics"].keys() >= FIXED_NAMES | ABOUT_ROUND_TRIPS.keys()
    assert (told["model"], told["clips"], told["test_clips"], told["samples"]) == ("tiny-64", "moving-squares", 4, 3)
    assert told["model_sha256"] == tiny_model().sha256
    assert (told["clips_sha256"], told["seed"], told["protocol"]["name"]) == ("0" * 64, 0, "paper")
    for name, metric in told["metrics"].items():
        assert metric.keys() == {"value", "low", "high", "n", "unit", "reason"}, name
        if metric["value"] is None:
            assert (metric["n"], bool(metric["reason"])) == (0, True), name
        else:
            assert (metric["reason"], metric["n"] > 0) == (None, True), name
            if name in ABOUT_ROUND_TRIPS:  # the worst of all, which has no interval
                assert (metric["low"], metric["high"], metric["n"]) == (None, None, 4 * RESIDUALS), name
                assert 0 < metric["value"] < 1e-5, name
            else:
                assert metric["low"] <= metric["value"] <= metric["high"], name


def test_what_is_missing_says_how_to_get_it(folder):
    told = json.loads((folder / "report.json").read_text())["metrics"]
    for name in ("lpips_squeeze", "lpips_alex", "lpips_vgg", "diversity_lpips", "fvd_i3d", "keypoint_error_px"):
        assert told[name]["value"] is None
        assert "IPOKE_WEIGHTS" in told[name]["reason"], name
    assert "simulated clips" in told["energy_skill"]["reason"]
    assert "got 4 clips for 64 features, expected at least 65" in told["frechet_motion_grid"]["reason"]
    lines = (folder / "report.md").read_text().splitlines()
    assert any(line.startswith("- fvd_i3d: I3D weights not found") for line in lines)
    assert not any(line.startswith("| fvd_i3d") for line in lines)


def test_the_figures_are_plausible(folder):
    told = {name: one["value"] for name, one in json.loads((folder / "report.json").read_text())["metrics"].items()}
    assert told["round_trip_error"] < 1e-4
    assert 5 < told["reconstruction_psnr"] < 40
    assert told["diversity_mse"] > 0
    assert told["ssim"] < told["ssim_best"] < 1
    assert told["poke_endpoint_error_px_ground_truth"] < 1
    assert told["poke_reach_ground_truth"] == pytest.approx(1, abs=0.2)
    lengths = [float(abs(complex(*vector))) for vector in MovingSquares().displacements]
    assert min(lengths) <= told["poke_endpoint_error_px_no_motion"] <= max(lengths)


def test_there_is_a_strip_per_chosen_clip(folder):
    strips = sorted((folder / "strips").iterdir())
    assert len(strips) == 4
    assert read_image(strips[0]).shape[2] == 3


def test_numbers_depend_neither_on_batches_nor_on_threads(folder, tmp_path):
    expected = json.loads((folder / "report.json").read_text())["metrics"]
    for number, (batch, workers) in enumerate([(1, 1), (4, 1), (1, 2), (3, 2)]):
        got = values(evaluated(tmp_path / str(number), batch=batch, workers=workers))
        assert got.keys() == {name for name, one in expected.items() if one["value"] is not None}
        for name, value in got.items():
            assert value == pytest.approx(expected[name]["value"], rel=1e-3, abs=1e-5), (name, batch, workers)


@pytest.mark.parametrize("cut", [1, 5000])
def test_an_evaluation_killed_inside_a_batch_goes_on_to_the_same_bytes(folder, tmp_path, cut):
    def interrupt(done: int, total: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny_model(), clip_set(), clip_set(3), tmp_path, asked(batch=2), progress=interrupt)
    assert not (tmp_path / "report.json").exists()
    rows = tmp_path / "clips.jsonl"
    rows.write_bytes(rows.read_bytes()[:-cut])
    heard: list[tuple[int, int]] = []
    evaluate(
        tiny_model(), clip_set(), clip_set(3), tmp_path, asked(batch=2), progress=lambda *count: heard.append(count)
    )
    assert heard[0] == (2, 6)
    for name in ("clips.jsonl", "calibration.jsonl", "report.json", "report.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
    with pytest.raises(InputError, match="measured with samples 3, not 4; choose another --out"):
        evaluated(tmp_path, samples=4)


def test_two_evaluations_do_not_write_one_report(tmp_path):
    def second(*_: int) -> None:
        with pytest.raises(InputError, match="is writing this report; wait for it"):
            evaluated(tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny_model(), clip_set(), None, tmp_path, asked(), progress=second)
    assert not list(tmp_path.iterdir())


def test_the_truth_is_perfect(tmp_path):
    report = evaluated(tmp_path, Truth(clip_set()))
    got = values(report)
    assert (got["ssim"], got["diversity_mse"]) == (pytest.approx(1), 0)
    assert got["psnr"] > 99
    for name in ("poke_endpoint_error_px", "poke_reach", "pin_leakage_px"):
        assert got[name] == got[f"{name}_ground_truth"]
    assert got["energy_score"] == pytest.approx(0, abs=1e-3)
    assert got["energy_score_copy"] > 0.3
    assert "no invertible density" in (report.metrics["nll_bits_per_dim"].reason or "")


def test_standing_still_has_no_skill_no_reach_and_no_spread(tmp_path, scenes):
    got = values(evaluated(tmp_path, CopySource(64, FRAMES), scenes))
    assert got["energy_skill"] == pytest.approx(0, abs=1e-6)
    assert got["energy_score"] == pytest.approx(got["energy_score_copy"])
    assert got["energy_score_oracle"] < got["energy_score_copy"]
    assert (got["poke_reach"], got["diversity_mse"], got["still_pixels_change"]) == (0, 0, 0)
    assert got["poke_endpoint_error_px"] == pytest.approx(got["poke_endpoint_error_px_no_motion"])
    assert got["keypoint_error_px"] == pytest.approx(got["poke_endpoint_error_px"], abs=0.1)
    assert got["keypoint_error_px_ground_truth"] < got["keypoint_error_px"]
    told = json.loads((tmp_path / "report.json").read_text())
    assert sum(map(sum, told["rank_histograms"].values())) == 0 or "poked" in told["rank_histograms"]


def test_a_density_is_held_against_true_and_false_futures(tmp_path, scenes):
    report = evaluated(tmp_path, tiny_model(), scenes)
    ranking = report.metrics["likelihood_ranking"]
    assert ranking.n == 2
    assert ranking.value is not None
    assert 0 <= ranking.value <= 1
    row = json.loads((tmp_path / "calibration.jsonl").read_text().splitlines()[1])
    assert len(row["log_p_true"]) == len(row["log_p_false"]) == 4
    assert np.array(row["samples"]).shape == np.array(row["truths"]).shape == np.array(row["oracle"]).shape
    assert report.flatness is not None
    assert 0 <= report.flatness.p <= 1
    assert any("As a forecast of where points end" in line for line in report_lines(report)) == (
        report.metrics["energy_skill"].value is not None
    )


def test_the_official_protocol_takes_the_range_from_the_data_and_says_so(folder, tmp_path):
    report = evaluated(tmp_path, protocol=PROTOCOLS["official"])
    paper = json.loads((folder / "report.json").read_text())["metrics"]
    got = values(report)
    assert got["psnr"] < paper["psnr"]["value"]
    assert got["poke_reach"] == pytest.approx(paper["poke_reach"]["value"], rel=1e-3)
    assert "Protocol official (with_source True, range_of_data True" in "\n".join(report_lines(report))


def test_with_weights_the_perceptual_distances_are_told(tmp_path, monkeypatch):
    torch.manual_seed(0)
    networks: dict[Network, Lpips] = {}
    for name in NETWORKS:
        networks[name] = Lpips(name).requires_grad_(False)
    for network in networks.values():
        for weight in network.weights:
            weight.uniform_()
    monkeypatch.setattr(evaluation, "find_instruments", lambda *_: (Instruments(networks), {}))
    got = values(evaluated(tmp_path, most=2, calibrated=1))
    for name in networks:
        assert 0 < got[f"lpips_{name}_best"] < got[f"lpips_{name}"]
        assert got[f"diversity_lpips_{name}"] > 0
    assert got["reconstruction_lpips_squeeze"] > 0
    told = json.loads((tmp_path / "report.json").read_text())["metrics"]["diversity_lpips"]
    assert (told["value"], told["unit"]) == (got["diversity_lpips_alex"], "LPIPS (alex)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 1}, "--samples: got 1, expected at least 2"),
        ({"most": 0}, "--most: got 0, expected at least 1"),
        ({"workers": 0}, "--workers: got 0"),
        ({"clips": clip_set(frames=5)}, "64 px and 5 frames, tiny-64 expects 64 px and 4"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        evaluated(tmp_path, **changes)
