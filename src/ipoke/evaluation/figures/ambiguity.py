"""Fig. 9 of the paper: error and sample diversity against the number of pokes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.clips import ClipSet
from ipoke.evaluation.figures.chart import BLUE, ORANGE, blank_chart, require_matplotlib, write_chart
from ipoke.evaluation.figures.record import Made, write_record
from ipoke.evaluation.metrics.questions import MOST_POKES, choose_questions, is_simulated
from ipoke.evaluation.metrics.sampler_calls import check_size, sample_frames, sample_seeds
from ipoke.evaluation.metrics.statistics import Estimate, estimate, paired_difference
from ipoke.evaluation.metrics.true_futures import followed_points
from ipoke.networks.autoencoder.lpips import find_lpips, load_lpips
from ipoke.sampling.clip_sampler import ClipSampler

Errors = Float[np.ndarray, "n t"]
"""Error of each sample in each frame after the still."""


class ErrorMeasure(NamedTuple):
    """How the error of samples is measured."""

    name: str
    unit: str
    errors: Callable[[UInt8[np.ndarray, "n t s s 3"], UInt8[np.ndarray, "t s s 3"], int], Errors]
    """Takes the samples, the true clip and its number."""


def draw_ambiguity(
    sampler: ClipSampler,
    clips: ClipSet,
    out: Path,
    *,
    samples: int = 50,
    most: int = 50,
    seed: int = 0,
    guidance: bool = True,
    progress: Callable[[int, int], None],
) -> Made:
    """Write curves of the error of samples, mean and standard deviation, against the number of pokes.

    For each clip and frame: the mean and the unbiased standard deviation of the samples' errors; averaged over time,
    then over clips. Samples are drawn under the first n pokes of a clip, n from 5 to 1, with the same seeds, so that
    nothing but the pokes changes. Clips with fewer than 5 pokes are skipped.

    Raises:
        InputError: Clips of another size than the sampler's, or none with 5 pokes.
    """
    require_matplotlib()
    check_size(sampler, clips)
    measure = choose_measure(clips)
    questions = choose_questions(clips, numbers=None, most=most, seed=seed)
    usable = [question for question in questions if len(question.pokes) == MOST_POKES]
    if not usable:
        raise InputError(f"{clips.folder}: no clip has {MOST_POKES} places to poke; prepare clips in which more moves")
    counts = list(range(MOST_POKES, 0, -1))
    rows: list[dict[str, Any]] = []
    total = len(usable) * len(counts)
    progress(0, total)
    for question in usable:
        true, seeds = clips.clip(question.clip), sample_seeds(seed, question.clip, samples)
        row: dict[str, Any] = {"clip": question.clip, "pokes": counts, "mean": [], "std": []}
        for count in counts:
            pokes = question.first_pokes(count)
            drawn = sample_frames(sampler, true, [pokes], [seeds], guidance=guidance)[0]
            mean, std = mean_and_std(measure.errors(drawn, true, question.clip))
            row["mean"].append(mean)
            row["std"].append(std)
            progress(len(rows) * len(counts) + len(row["mean"]), total)
        rows.append(row)
    metrics = _metrics(rows, measure, counts)
    files = [out / "ambiguity.png", out / "ambiguity.json"]
    _write_curves(files[0], metrics, measure, samples=samples, of_clips=len(rows))
    settings = {
        "samples": samples,
        "most": most,
        "guidance": guidance,
        "error": measure.name,
        "clips_measured": len(rows),
        "clips_left_out": len(questions) - len(usable),
    }
    write_record(files[1], "ambiguity", [sampler], clips, seed=seed, settings=settings, metrics=metrics, rows=rows)
    return Made(files, metrics)


def choose_measure(clips: ClipSet) -> ErrorMeasure:
    """Choose keypoints on simulated clips, else LPIPS if its weights are found, else pixels."""
    if is_simulated(clips):
        return ErrorMeasure("keypoint MSE", "px^2", lambda drawn, _, number: keypoint_errors(drawn, clips, number))
    folder = find_lpips("squeeze")
    if folder is None:
        return ErrorMeasure("pixel MSE, pixels in [-1, 1]", "", lambda drawn, true, _: pixel_errors(drawn, true))

    lpips = load_lpips(folder, "squeeze")

    @torch.no_grad()
    def by_lpips(drawn: UInt8[np.ndarray, "n t2 s s 3"], true: UInt8[np.ndarray, "t2 s s 3"], _: int) -> Errors:
        target = lpips.embed(clip_from_frames(true[1:]))
        distances = [lpips.distance(lpips.embed(clip_from_frames(clip[1:])), target) for clip in drawn]
        return torch.stack(distances).double().numpy()

    return ErrorMeasure("LPIPS, SqueezeNet", "", by_lpips)


def keypoint_errors(drawn: UInt8[np.ndarray, "n t2 s s 3"], clips: ClipSet, number: int) -> Errors:
    """Track the keypoints of a simulated clip through samples; return mean squared distances to the true ones, px^2."""
    truth = clips.numbers(number, "keypoints", clips.frames + 1, None, 2).astype(np.float64)
    return np.stack([((followed_points(clip, truth[0]) - truth) ** 2).sum(-1).mean(-1)[1:] for clip in drawn])


def pixel_errors(drawn: UInt8[np.ndarray, "n t2 s s 3"], true: UInt8[np.ndarray, "t2 s s 3"]) -> Errors:
    """Return the mean squared error of each frame, pixels in [-1, 1]."""
    difference = (drawn[:, 1:].astype(np.float64) - true[1:]) / 127.5
    return (difference**2).mean((2, 3, 4))


def mean_and_std(errors: Errors) -> tuple[float, float]:
    """Return mean and unbiased standard deviation over samples, averaged over time; of one sample the latter is 0.

    >>> mean_and_std(np.array([[1.0, 2.0], [3.0, 2.0]]))
    (2.0, 0.7071067811865476)
    """
    std = float(errors.std(0, ddof=1).mean()) if len(errors) > 1 else 0.0
    return float(errors.mean()), std


def _metrics(rows: Sequence[Mapping[str, Any]], measure: ErrorMeasure, counts: Sequence[int]) -> dict[str, Estimate]:
    metrics = {}
    for name in ("mean", "std"):
        of_count = {count: [row[name][index] for row in rows] for index, count in enumerate(counts)}
        for count, values in of_count.items():
            metrics[f"error_{name}_{count}_pokes"] = estimate(values, measure.unit)
        metrics[f"error_{name}_{counts[0]}_minus_1_pokes"] = paired_difference(
            of_count[counts[0]], of_count[1], measure.unit
        )
    return metrics


def _write_curves(
    path: Path, metrics: Mapping[str, Estimate], measure: ErrorMeasure, *, samples: int, of_clips: int
) -> None:
    chart = blank_chart(8, 3.6)
    counts = range(1, MOST_POKES + 1)
    unit = measure.unit.replace("^2", "²")
    for place, name, title, colour, marker in (
        (1, "mean", "mean error", BLUE, "o"),
        (2, "std", f"standard deviation over {samples} samples", ORANGE, "s"),
    ):
        axes = chart.add_subplot(1, 2, place)
        around = [metrics[f"error_{name}_{count}_pokes"] for count in counts]
        value, low, high = (np.array([one[column] or 0.0 for one in around]) for column in range(3))
        bars = np.maximum(0, [value - low, high - value])
        axes.errorbar(list(counts), value, bars, color=colour, marker=marker, capsize=4, lw=1.8)
        axes.set_xticks(list(counts))
        axes.set_xlabel("number of pokes")
        axes.set_ylabel(f"{measure.name}{f', {unit}' if unit else ''}")
        axes.set_title(title, fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    chart.suptitle(f"{of_clips} clips; bars: 95 % intervals over clips", fontsize=10)
    write_chart(path, chart)
