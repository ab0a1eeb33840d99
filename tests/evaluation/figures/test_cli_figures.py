import json
import sys

import pytest

import tiny
from commands import files, is_one_line
from ipoke.scenes import write_scenes

NAMES = ("samples", "transfer", "sensitivity", "control-error", "ambiguity")
FEW = {
    "samples": ("--most", 1, "--samples", 1),
    "transfer": ("--most", 1, "--samples", 1),
    "sensitivity": ("--most", 1, "--directions", 4),
    "control-error": ("--most", 2, "--model", "copy-x0"),
    "ambiguity": ("--most", 2, "--samples", 2),
}
PICTURES = {
    "samples": {"samples.png", "samples-clip-00000.png"},
    "transfer": {"transfer-clip-00000.png"},
    "sensitivity": {"sensitivity.png", "sensitivity-clip-00000.png"},
    "control-error": {"control-error.png"},
    "ambiguity": {"ambiguity.png"},
}


def test_the_figures_are_listed_and_explain_themselves(ipoke):
    listed = ipoke("figure", "--help").out
    for name in NAMES:
        assert name in listed
        answer = ipoke("figure", name, "--help")
        assert answer.code == 0
        assert answer.out.startswith(f"Usage: ipoke figure {name} --out PATH")


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_pictures_and_numbers(ipoke, tmp_path, model_file, clip_set, name):
    out = tmp_path / "figure"
    words = ("--split", "train", "--seed", 2, "--out", out)
    answer = ipoke("figure", name, model_file, clip_set, *FEW[name], *words)
    assert (answer.code, answer.err) == (0, "")
    assert files(out) == {f"{name}.json"} | PICTURES[name]
    assert all(f"wrote {out / file}" in answer.out for file in files(out))
    record = json.loads((out / f"{name}.json").read_text())
    assert (record["figure"], record["seed"], record["split"]) == (name, 2, "train")
    assert record["models"][0]["name"] == "tiny-64"
    assert all(len(model["sha256"]) == 64 for model in record["models"])


def test_the_test_split_is_enough(ipoke, tmp_path, model_file):
    clips = tmp_path / "clips"
    write_scenes(
        clips, clips=2, size=64, seed=1, workers=1, frames=tiny.FRAMES, test_fraction=1.0, progress=lambda *_: None
    )
    answer = ipoke("figure", "samples", model_file, clips, *FEW["samples"], "--out", tmp_path / "figure")
    assert (answer.code, answer.err) == (0, "")
    words = ("--model", "copy-x0", "--out", tmp_path / "errors")
    assert ipoke("figure", "control-error", model_file, clips, *words).code == 0
    assert is_one_line(
        ipoke("figure", "samples", "nearest-clip", clips, "--out", tmp_path / "none"), "no clips of the train split"
    )


@pytest.mark.parametrize("flags", [[], ["--unguided"], ["--as-drawn"]])
def test_a_figure_says_whether_samples_were_guided(ipoke, tmp_path, model_file, clip_set, flags):
    words = ("--split", "train", "--most", 1, "--samples", 1, "--out", tmp_path)
    assert ipoke("figure", "samples", model_file, clip_set, *words, *flags).code == 0
    assert json.loads((tmp_path / "samples.json").read_text())["settings"]["guidance"] is not bool(flags)


def test_mistakes_are_one_line(ipoke, tmp_path, model_file, clip_set, monkeypatch):
    out = tmp_path / "figure"
    words = ("--split", "train", "--out", out)
    assert is_one_line(ipoke("figure", "samples", "no-model", clip_set, *words), "no-model")
    assert is_one_line(ipoke("figure", "samples", model_file, tmp_path, *words), str(tmp_path))
    assert is_one_line(
        ipoke("figure", "samples", model_file, clip_set, "--clip", 99, *words), "got 99, expected 0 to 4"
    )
    assert is_one_line(ipoke("figure", "samples", "scenes-64", clip_set, *words), "expects 64 px and 10")
    assert is_one_line(ipoke("figure", "nothing", model_file, clip_set, *words), "nothing")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for name in ("sensitivity", "control-error", "ambiguity"):
        answer = ipoke("figure", name, model_file, clip_set, *words)
        assert is_one_line(answer, "matplotlib is not installed", "pip install 'ipoke[eval]'")
    assert not out.exists()
