"""JSON that the package writes is the standard's."""

import json
import math
import sys
from typing import Any

import pytest

from ipoke.core.json_text import json_text
from ipoke.evaluation.metrics.report import reading, summarise, write_report
from ipoke.evaluation.metrics.statistics import Estimate, finite

FACTS = {"model": "m", "clips": "c", "protocol": {"name": "p"}}


def strictly(text: str) -> Any:
    """Read JSON as other programs do, which know no NaN."""

    def refuse(word: str) -> object:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_becomes_null(value):
    found = strictly(json_text({"a": value, "b": [1, (value, 2.5)], "c": {"d": value}, "e": "NaN"}))
    assert found == {"a": None, "b": [1, [None, 2.5]], "c": {"d": None}, "e": "NaN"}
    with pytest.raises(ValueError, match=r"NaN|Infinity"):
        strictly(json.dumps({"a": value}))


@pytest.mark.parametrize("value", [0.1, 1e-320, sys.float_info.max, -0.0, 2**70, "ä", True, None])
def test_all_else_reads_back(value):
    assert strictly(json_text([value])) == [value]


def test_a_metric_that_is_not_finite_says_why():
    found = finite(Estimate(math.inf, 1.0, math.nan, 7, "px"))
    assert found[:5] == (None, None, None, 0, "px")
    assert found.reason == "not finite: its value is inf, its high is nan over 7"
    assert finite(Estimate(1.0, None, None, 7, "px")) == (1.0, None, None, 7, "px", None)


def test_a_report_of_figures_that_are_not_finite_is_json(tmp_path):
    rows = [{"figures": {"psnr": value, "ssim": 0.5}, "features": {}} for value in (20.0, math.inf)]
    report = summarise(FACTS, rows, [], {}, seed=0)
    write_report(report, tmp_path)
    whole = strictly((tmp_path / "report.json").read_text())
    assert whole["metrics"]["psnr"]["value"] is None
    assert "not finite in 1 of 2 clips" in whole["metrics"]["psnr"]["reason"]
    assert whole["metrics"]["ssim"]["value"] == 0.5
    assert "- psnr: not finite" in (tmp_path / "report.md").read_text()


def test_nothing_is_read_off_calibration_that_is_not_finite():
    clouds = {name: Estimate(0.5, 0.4, 0.6, 9, "") for name in ("coverage_50", "coverage_90")}
    bad = finite(Estimate(math.nan, math.nan, math.nan, 9, ""))
    good = Estimate(0.9, 0.8, 0.95, 9, "")
    assert list(reading({**clouds, "energy_skill": bad, "spread_error_ratio": bad})) == []
    words = list(reading({**clouds, "energy_skill": good, "spread_error_ratio": good}))
    assert len(words) == 2
    assert not any("nan" in line for line in words)
