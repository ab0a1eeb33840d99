"""The numbers of a figure, as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ipoke.core.files import write_text
from ipoke.core.json_text import json_text
from ipoke.data.clips import ClipSet
from ipoke.evaluation.metrics.statistics import Estimate
from ipoke.sampling.clip_sampler import ClipSampler


class Made(NamedTuple):
    """Files and numbers of a figure."""

    files: list[Path]
    metrics: dict[str, Estimate]


def write_record(
    path: Path,
    figure: str,
    samplers: Sequence[ClipSampler],
    clips: ClipSet,
    *,
    seed: int,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Estimate],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write the numbers of a figure as JSON, with everything that decides them; ``rows`` holds one entry per clip."""
    record = {
        "format": "ipoke-figure-1",
        "figure": figure,
        "models": [{"name": sampler.name, "sha256": sampler.sha256} for sampler in samplers],
        "clips": clips.folder.name,
        "clips_sha256": clips.sha256,
        "split": clips.split or "all",
        "seed": seed,
        "settings": dict(settings),
        "metrics": {name: estimate._asdict() for name, estimate in metrics.items()},
        "rows": list(rows),
    }
    write_text(path, json_text(record, indent=1) + "\n")
