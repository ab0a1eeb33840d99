"""Figures of a report (calibration, rank histograms) and of a table (methods compared)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ipoke.evaluation.figures.chart import BLUE, GREEN, GREY, blank_chart, write_chart
from ipoke.evaluation.metrics.report import Report
from ipoke.evaluation.metrics.statistics import Estimate
from ipoke.evaluation.metrics.table import TABLES, TableNumber

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 11
"""Most bars of a rank histogram; neighbouring ranks are joined."""
MOST_POINTS = 24
"""Most keypoints with a histogram of their own, those that move most often first."""


def draw_report(report: Report, out: Path) -> list[Path]:
    """Draw calibration.png and, if points have names, ranks.png.

    Raises:
        InputError: matplotlib is not installed.
    """
    if report.metrics["energy_score"].value is None:
        return []
    is_stochastic = report.metrics["coverage_50"].value is not None
    chart = blank_chart(11 if is_stochastic else 4.5, 3.6)
    widths = [1.1, 0.9, 1.3] if is_stochastic else [1]
    panels = chart.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    _draw_scores(panels[0], report)
    if is_stochastic:
        _draw_coverage(panels[1], report)
        counts = np.sum(list(report.ranks.values()), axis=0)
        _histogram(panels[2], counts)
        panels[2].set_xlabel(f"rank of the true end among {len(counts) - 1} samples")
        panels[2].set_ylabel("frequency (flat is 1)")
        panels[2].set_title("Ranks (dashed: calibrated)", fontsize=10)
    chart.suptitle(f"{report.facts['model']} on {report.facts['clips']}, {report.metrics['energy_score'].n} clips")
    write_chart(out / "calibration.png", chart)
    return [out / "calibration.png", *_draw_points(report, out / "ranks.png")]


def draw_table(which: TableNumber, reports: Mapping[str, Report], out: Path) -> list[Path]:
    """Draw table.png: the value of each method with its interval, one panel per column of the table.

    Raises:
        InputError: matplotlib is not installed.
    """
    columns = [
        name
        for name in TABLES[which].columns
        if any(report.metrics[name].value is not None for report in reports.values())
    ]
    chart = blank_chart(1.75 * len(columns) + 1.2, 0.36 * len(reports) + 1.2)
    panels = np.atleast_1d(chart.subplots(1, len(columns), sharey=True))
    for name, panel in zip(columns, panels, strict=True):
        for row, report in enumerate(reports.values()):
            metric = report.metrics[name]
            if metric.value is not None and metric.low is not None and metric.high is not None:
                colour = BLUE if row == 0 else GREY
                panel.plot([metric.low, metric.high], [row, row], color=colour, linewidth=2.5)
                panel.plot([metric.value], [row], "o", color=colour, markersize=5)
        panel.set_title(name.replace("_px", ", px").replace("_", " "), fontsize=8)
        panel.tick_params(labelsize=7)
        panel.grid(axis="x", alpha=0.3)
        panel.margins(x=0.15, y=0.12)
        panel.locator_params(axis="x", nbins=3)
    panels[0].set_yticks(range(len(reports)), list(reports), fontsize=9)
    panels[0].invert_yaxis()
    clips = next(iter(reports.values())).facts["clips"]
    chart.suptitle(f"Table {which}, {TABLES[which].about}: values with 95 % intervals on {clips}", fontsize=10)
    write_chart(out / "table.png", chart)
    return [out / "table.png"]


def _draw_scores(panel: "Axes", report: Report) -> None:
    """Draw the energy score between those of standing still and of true futures."""
    labels = {
        "energy_score_copy": "standing still",
        "energy_score": report.facts["model"],
        "energy_score_oracle": "true futures",
    }
    shown = {label: report.metrics[name] for name, label in labels.items() if report.metrics[name].value is not None}
    _bars(panel, list(shown.values()), list(shown), [GREY, BLUE, GREEN])
    skill = report.metrics["energy_skill"].value
    panel.set_title("Where points end" + ("" if skill is None else f": skill {skill:.2f}"), fontsize=10)
    panel.set_ylabel("energy score, px (lower is better)")


def _draw_coverage(panel: "Axes", report: Report) -> None:
    """Draw the coverage of true ends by the samples, beside calibrated coverage."""
    levels = (50, 90)
    covered = [report.metrics[f"coverage_{level}"] for level in levels]
    _bars(panel, covered, [f"central {level} %" for level in levels], [BLUE, BLUE])
    for place, level in enumerate(levels):
        panel.hlines(level / 100, place - 0.45, place + 0.45, color="black", linestyle="--", linewidth=1)
    panel.set_ylim(0, 1)
    panel.set_ylabel("share of true ends inside")
    panel.set_title("Coverage (dashed: calibrated)", fontsize=10)


def _draw_points(report: Report, path: Path) -> list[Path]:
    """Draw a rank histogram per keypoint."""
    names = sorted((name for name in report.ranks if name != "grid"), key=lambda name: -sum(report.ranks[name]))
    names = names[:MOST_POINTS]
    if not names:
        return []
    columns = min(6, len(names))
    rows = -(-len(names) // columns)
    chart = blank_chart(1.9 * columns, 1.5 * rows + 0.5)
    panels = chart.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        _histogram(panel, np.array(report.ranks[name]))
        panel.set_title(name.replace("_", " "), fontsize=8)
        panel.tick_params(labelsize=7)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    chart.suptitle("Ranks of true ends among the samples, keypoint by keypoint (dashed: calibrated)", fontsize=10)
    write_chart(path, chart)
    return [path]


def _bars(panel: "Axes", metrics: Sequence[Estimate], labels: Sequence[str], colours: Sequence[str]) -> None:
    values, low, high = (
        np.array([getattr(metric, part) for metric in metrics], np.float64) for part in ("value", "low", "high")
    )
    places = np.arange(len(values))
    panel.bar(places, values, yerr=[values - low, high - values], color=colours, width=0.62, capsize=4)
    panel.set_xticks(places, [label.replace(" ", "\n", 1) for label in labels], fontsize=8)


def _histogram(panel: "Axes", counts: Int[np.ndarray, " ranks"]) -> None:
    frequencies = joined(counts)
    width = len(counts) / len(frequencies)
    panel.bar((np.arange(len(frequencies)) + 0.5) * width - 0.5, frequencies, width=0.94 * width, color=BLUE)
    panel.axhline(1, color="black", linestyle="--", linewidth=1)
    panel.set_xticks([0, len(counts) - 1])


def joined(counts: Int[np.ndarray, " ranks"]) -> Float[np.ndarray, " bars"]:
    """Join neighbouring ranks, equally many per bar; return frequencies relative to a flat histogram.

    >>> joined(np.array([2] * 11 + [1] * 11)).tolist()[:6]
    [1.3333333333333333, 1.3333333333333333, 1.3333333333333333, 1.3333333333333333, 1.3333333333333333, 1.0]
    """
    each = next(
        size for size in range(1, len(counts) + 1) if len(counts) % size == 0 and len(counts) // size <= MOST_BARS
    )
    bars = counts.reshape(-1, each).sum(1)
    return bars * len(bars) / max(1, bars.sum())
