import builtins
import json

import pytest

from ipoke.evaluation.metrics.residual_std import RESIDUAL_STDS
from ipoke.networks.autoencoder.lpips import WEIGHTS_VARIABLE
from ipoke.sampling.model import load
from ipoke.scenes import write_scenes
from tiny import FRAMES

FEW = ("--samples", "2", "--most", "2", "--calibrated", "1", "--cloud", "2", "--workers", "1")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "scenes"
    write_scenes(
        folder, clips=8, size=64, seed=1, workers=1, frames=FRAMES, test_fraction=0.4, progress=lambda *_: None
    )
    return folder


@pytest.fixture(autouse=True)
def without_weights(monkeypatch) -> None:
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)


def test_a_model_is_evaluated_and_its_calibration_drawn(ipoke, model_file, clips, tmp_path):
    answer = ipoke("evaluate", model_file, clips, "--out", tmp_path / "report", *FEW)
    assert answer.code == 0, answer.err
    assert answer.out.startswith((tmp_path / "report" / "report.md").read_text())
    assert (tmp_path / "report" / "calibration.png").exists()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["samples"], report["metrics"]["ssim"]["n"]) == (2, report["test_clips"])
    assert list(clips.glob("questions-test-seed0-most2.jsonl"))
    again = ipoke("evaluate", model_file, clips, "--out", tmp_path / "report", *FEW)
    assert again.out == answer.out


@pytest.mark.parametrize("flag", ["--unguided", "--as-drawn"])
def test_a_model_is_evaluated_without_guidance(ipoke, model_file, clips, tmp_path, flag):
    answer = ipoke("evaluate", model_file, clips, "--out", tmp_path, *FEW, flag)
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "report.json").read_text())["guidance"] is False


def test_old_names_of_options_are_not_in_the_help(ipoke):
    for words in (["poke"], ["evaluate"], ["table"], ["figure", "ambiguity"]):
        told = ipoke(*words, "--help").out
        assert "--unguided" in told
        assert "--as-drawn" not in told


def test_a_model_is_calibrated(ipoke, model_file, clips, tmp_path):
    out = tmp_path / "calibrated.safetensors"
    answer = ipoke("calibrate", model_file, clips, "--out", out, "--most", "1", "--samples", "2")
    assert answer.code == 0, answer.err
    rows = [line.split() for line in answer.out.splitlines()[1:-1]]
    assert [float(row[0]) for row in rows] == list(RESIDUAL_STDS)
    best = min(rows, key=lambda row: float(row[1]))[0]
    assert answer.out.endswith(f"wrote {out}, whose residuals have the standard deviation {float(best):g}\n")
    assert load(out).residual_std == float(best)
    assert load(out).facts["residual_std_fitted_on"] == clips.name
    wrong = ipoke("calibrate", model_file, clips, "--out", tmp_path / "calibrated.pt")
    assert wrong.code == 2
    assert "expected a file ending in .safetensors" in wrong.err


@pytest.mark.parametrize("name", ["copy-x0", "nearest-clip"])
def test_trivial_answers_are_evaluated_by_name(ipoke, clips, tmp_path, name):
    answer = ipoke("evaluate", name, clips, "--out", tmp_path / "report", *FEW)
    assert answer.code == 0, answer.err
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["model"] == name
    assert report["metrics"]["ssim"]["value"] is not None
    for motion in ("poke_reach", "pin_leakage_px", "energy_score", "frechet_motion_grid"):
        cuts = "cuts to other clips" in (report["metrics"][motion]["reason"] or "")
        assert cuts == (name == "nearest-clip"), motion


def test_a_table_compares_models(ipoke, model_file, clips, tmp_path):
    out = tmp_path / "table"
    answer = ipoke("table", 3, clips, "--model", f"ours={model_file}", "--model", "copy-x0", "--out", out, *FEW)
    assert answer.code == 0, answer.err
    assert answer.out.startswith((out / "report.md").read_text())
    assert list(json.loads((out / "report.json").read_text())["methods"]) == ["ours", "copy-x0"]
    assert {"table.png", "ours", "copy-x0"} <= {path.name for path in out.iterdir()}


def test_without_matplotlib_the_numbers_are_written_all_the_same(ipoke, clips, tmp_path, monkeypatch):
    really = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return really(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    answer = ipoke("evaluate", "copy-x0", clips, "--out", tmp_path / "report", *FEW)
    assert answer.code == 0
    assert answer.err == "no figures: figure: matplotlib is not installed; pip install 'ipoke[eval]'\n"
    assert (tmp_path / "report" / "report.json").exists()
    assert not (tmp_path / "report" / "calibration.png").exists()


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (["a=copy-x0", "a=nearest-clip"], "expected LABEL=NAME with a unique label"),
        (["=copy-x0"], "got '=copy-x0', expected LABEL=NAME"),
        (["a/b=copy-x0"], "without slashes"),
        (["missing"], "got 'missing', expected"),
    ],
)
def test_labels_that_cannot_be_folders_are_refused(ipoke, clips, tmp_path, models, told):
    given = [word for model in models for word in ("--model", model)]
    answer = ipoke("table", 1, clips, *given, "--out", tmp_path / "table", *FEW)
    assert answer.code == 2
    assert told in answer.err
    assert len(answer.err.splitlines()) == 1
