import json

import pytest

from ipoke.evaluation.metrics.evaluate import Settings, evaluate
from ipoke.evaluation.metrics.protocol import PROTOCOLS
from ipoke.evaluation.metrics.table import TABLES, write_table
from ipoke.networks.autoencoder.lpips import WEIGHTS_VARIABLE
from ipoke.training.baselines.copy_source import CopySource
from tiny import FRAMES, clip_set, tiny_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(WEIGHTS_VARIABLE, raising=False)
        out = tmp_path_factory.mktemp("table")
        settings = Settings(PROTOCOLS["paper"], samples=2, most=4, calibrated=2, cloud=3)
        samplers = {"ours": tiny_model(), "again": tiny_model(), "still": CopySource(64, FRAMES)}
        reports = {
            label: evaluate(sampler, clip_set(), clip_set(3), out / label, settings, progress=lambda *_: None)
            for label, sampler in samplers.items()
        }
    return out, reports


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_table_has_a_row_per_method_and_what_it_lacks_below(made, number):
    out, reports = made
    lines = write_table(number, reports, out)
    assert (out / "report.md").read_text() == "\n".join(lines) + "\n"
    assert lines[0] == f"# Table {number}: {TABLES[number].about}, on moving-squares"
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert rows == ["method", "ours", "again", "still", "method", "again", "still"]
    assert any(line.startswith("fvd_i3d is unavailable: I3D weights not found") for line in lines)
    told = json.loads((out / "report.json").read_text())
    assert (told["table"], list(told["methods"])) == (number, list(reports))
    for label, method in told["methods"].items():
        assert method["metrics"].keys() == set(TABLES[number].columns)
        assert method["model_sha256"] == reports[label].facts["model_sha256"]


def test_differences_are_taken_clip_by_clip(made):
    out, reports = made
    write_table(1, reports, out)
    methods = json.loads((out / "report.json").read_text())["methods"]
    assert methods["ours"]["minus_first"] == {}
    for name, difference in methods["again"]["minus_first"].items():
        assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0), name
    ssim = {label: reports[label].metrics["ssim"].value for label in reports}
    assert methods["still"]["minus_first"]["ssim"]["value"] == pytest.approx(ssim["still"] - ssim["ours"])
    assert methods["still"]["minus_first"]["ssim"]["n"] == 4
