"""Rows of a benchmark, for machines and for people."""

import statistics
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from ipoke.core.files import write_text
from ipoke.core.json_text import json_text
from ipoke.core.version import __version__


class Row(NamedTuple):
    """What one part of one model takes."""

    part: str
    model: str
    size: int
    batch: int
    dtype: str
    median_ms: float
    min_ms: float
    peak_mib: float | None
    """Of a process that samples one clip; for whole clips only."""
    gflop: float | None
    floor_ms: float | None
    """What ``gflop`` would take at the most operations per second that were seen on this machine."""


def row(
    part: str,
    model: str,
    size: int,
    batch: int,
    dtype: str,
    seconds: Sequence[float],
    *,
    gflop: float | None = None,
    gflops: float | None = None,
    peak_mib: float | None = None,
) -> Row:
    """Sum up one measurement; ``gflops`` is the ceiling that applies, GFLOP/s."""
    floor = 1000 * gflop / gflops if gflop is not None and gflops else None
    times = (1000 * statistics.median(seconds), 1000 * min(seconds))
    return Row(
        part,
        model,
        size,
        batch,
        dtype,
        *(round(time, 3) for time in times),
        *(None if value is None else round(value, 3) for value in (peak_mib, gflop, floor)),
    )


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Lay a result out for people; the gap is the median, as a multiple of the floor."""
    machine = result["machine"]
    yield f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}"
    for dtype, limit in result["ceilings_gflops"].items():
        yield f"{dtype}: matrix products {limit['matmul']:.0f}, convolutions {limit['convolution']:.0f} GFLOP/s"
    titles = f"{'median ms':>11}{'min':>10}{'GFLOP':>9}{'gap':>8}{'MiB':>7}"
    yield f"{'part':20} {'model':22} {'dtype':9}{'batch':>6}{titles}"
    for one in (Row(**values) for values in result["rows"]):
        gap = "" if not one.floor_ms else f"{one.median_ms / one.floor_ms:.1f}x"
        gflop = "" if one.gflop is None else f"{one.gflop:.2f}"
        peak = "" if one.peak_mib is None else f"{one.peak_mib:.0f}"
        times = f"{one.median_ms:11.2f}{one.min_ms:10.2f}"
        yield f"{one.part:20} {one.model:22} {one.dtype:9}{one.batch:6}{times}{gflop:>9}{gap:>8}{peak:>7}"
    for name, value in result["ratios"].items():
        yield f"{name:20} {'unavailable: ' + result['ratios_reason'] if value is None else f'{value:.1f}x'}"
    yield f"rounds: {result['rounds']}; ratios: median of {result['ratios_of'][0]} / median of {result['ratios_of'][1]}"


def save(path: Path, result: dict[str, Any], command: str) -> None:
    """Write a result as JSON, with its date, version and command."""
    head = {"command": command, "date": date.today().isoformat(), "ipoke": __version__}
    write_text(path, json_text({**head, **result}, indent=1) + "\n")
