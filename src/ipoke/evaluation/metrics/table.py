"""Tables 1 to 3 of the paper: several methods on the same questions, with their differences clip by clip."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from ipoke.core.files import write_text
from ipoke.core.json_text import json_text
from ipoke.evaluation.metrics.report import CLIP_METRICS, Report, escaped, interval, number
from ipoke.evaluation.metrics.rows import read_rows
from ipoke.evaluation.metrics.statistics import Estimate, paired_difference

TableNumber: TypeAlias = Literal[1, 2, 3]


class Table(NamedTuple):
    """A table of the paper: its subject and its columns."""

    about: str
    columns: tuple[str, ...]


MOTION = ("poke_endpoint_error_px", "poke_reach", "energy_score", "energy_skill", "coverage_90")
"""Columns beside the paper's: whether samples follow the pokes, and whether they are calibrated."""
LPIPS_SQUEEZE = ("lpips_squeeze", "lpips_squeeze_best", "energy_score_lpips_squeeze")
FRECHET = ("fvd_i3d", "frechet_random_conv3d", "frechet_motion_grid")
TABLES: dict[TableNumber, Table] = {
    1: Table("controlled video synthesis", (*FRECHET, "lpips_alex", *LPIPS_SQUEEZE, "ssim", *MOTION)),
    2: Table("stochastic video synthesis", (*FRECHET, "diversity_mse", "diversity_lpips", *MOTION)),
    3: Table("latent flow against a conditional VAE", (*FRECHET, "diversity_mse", "diversity_lpips", *MOTION)),
}


def write_table(which: TableNumber, reports: Mapping[str, Report], out: Path) -> list[str]:
    """Write report.json and report.md of several evaluations of the same questions; return the lines of the latter.

    Each evaluation is in the folder of ``out`` with its name in ``reports``. The other methods are compared with the
    first one: differences are taken clip by clip, with a bootstrap over clips.
    """
    columns = TABLES[which].columns
    base, *others = reports
    differences = {label: _differences(out / label, out / base, columns) for label in others}
    lines = list(_lines(which, reports, differences))
    first = reports[base].facts
    whole: dict[str, Any] = {
        "format": "ipoke-table-1",
        "table": which,
        "about": TABLES[which].about,
        **{key: first[key] for key in ("clips", "clips_sha256", "protocol", "samples", "pokes", "seed", "test_clips")},
        "methods": {
            label: {
                "model": report.facts["model"],
                "model_sha256": report.facts["model_sha256"],
                "context_frames": report.facts["context_frames"],
                "metrics": {name: report.metrics[name]._asdict() for name in columns},
                "minus_first": {name: value._asdict() for name, value in differences.get(label, {}).items()},
            }
            for label, report in reports.items()
        },
    }
    write_text(out / "report.json", json_text(whole, indent=2) + "\n")
    write_text(out / "report.md", "\n".join(lines) + "\n")
    return lines


def _differences(folder: Path, first: Path, columns: Sequence[str]) -> dict[str, Estimate]:
    """Subtract the first evaluation's metrics, over the clips that have both."""
    ours, theirs = read_rows(folder / "clips.jsonl"), read_rows(first / "clips.jsonl")
    units = {metric.name: metric.unit for metric in CLIP_METRICS if not metric.median}
    found = {}
    for name in columns:
        pairs = [
            (ours[clip]["figures"][name], theirs[clip]["figures"][name])
            for clip in sorted(ours.keys() & theirs.keys())
            if name in units and name in ours[clip]["figures"] and name in theirs[clip]["figures"]
        ]
        if pairs:
            found[name] = paired_difference([a for a, _ in pairs], [b for _, b in pairs], units[name])
    return found


def _lines(
    which: TableNumber, reports: Mapping[str, Report], differences: dict[str, dict[str, Estimate]]
) -> Iterator[str]:
    base = next(iter(reports))
    facts, columns = reports[base].facts, TABLES[which].columns
    shown = [name for name in columns if any(report.metrics[name].value is not None for report in reports.values())]
    yield f"# Table {which}: {TABLES[which].about}, on {escaped(facts['clips'])}"
    yield ""
    yield (
        f"{facts['test_clips']} clips, {facts['samples']} samples each, pokes per clip: {facts['pokes']}, protocol "
        f"{facts['protocol']['name']}, seed {facts['seed']}; 95 % intervals over clips below each value."
    )
    yield ""
    yield "| method | " + " | ".join(_title(name, reports) for name in shown) + " |"
    yield "|---|" + "--:|" * len(shown)
    for label, report in reports.items():
        sees = "" if report.facts["context_frames"] == 1 else f" (sees {report.facts['context_frames']} frames)"
        yield f"| {label}{sees} | " + " | ".join(_cell(report.metrics[column]) for column in shown) + " |"
    compared = [column for column in shown if any(column in of_one for of_one in differences.values())]
    if compared:
        yield ""
        yield f"Minus {base}, clip by clip:"
        yield ""
        yield "| method | " + " | ".join(compared) + " |"
        yield "|---|" + "--:|" * len(compared)
        for label, of_one in differences.items():
            yield (
                f"| {label} | "
                + " | ".join(_cell(of_one[column]) if column in of_one else "" for column in compared)
                + " |"
            )
    for column in columns:
        if column not in shown:
            yield ""
            yield f"{column} is unavailable: {reports[base].metrics[column].reason}."


def _title(name: str, reports: Mapping[str, Report]) -> str:
    unit = next(
        (report.metrics[name].unit for report in reports.values() if report.metrics[name].value is not None), ""
    )
    return f"{name}, {unit}" if unit else name


def _cell(metric: Estimate) -> str:
    return "" if metric.value is None else f"{number(metric.value)}<br>({interval(metric, '.3g')})"
