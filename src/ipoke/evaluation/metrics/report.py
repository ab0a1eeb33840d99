"""From rows per clip to report.json and report.md: every metric with its interval, or the reason it is missing."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ipoke.core.errors import InputError, printable
from ipoke.core.files import write_text
from ipoke.core.json_text import json_text
from ipoke.evaluation.metrics.calibration import (
    RankFlatness,
    coverage,
    energy_score,
    energy_skill,
    likelihood_ranking,
    moving_points,
    rank_flatness,
    rank_histogram,
    spread_error_ratio,
    variance_and_squared_error,
)
from ipoke.evaluation.metrics.frechet import frechet_interval
from ipoke.evaluation.metrics.round_trips import ABOUT_ROUND_TRIPS
from ipoke.evaluation.metrics.statistics import Estimate, estimate, finite, unavailable


class Metric(NamedTuple):
    """A metric that is the mean, or median, of one number per clip."""

    name: str
    unit: str
    median: bool = False
    about: str = ""


LPIPS = ("squeeze", "alex", "vgg")
CLIP_METRICS = (
    Metric("ssim", "", about="mean over frames and samples"),
    Metric("ssim_best", "", about="the best of the samples"),
    Metric("psnr", "dB", about="mean over frames and samples"),
    Metric("psnr_best", "dB"),
    *(Metric(f"lpips_{name}", "", about="mean over frames and samples") for name in LPIPS),
    *(Metric(f"lpips_{name}_best", "", about="the best of the samples") for name in LPIPS),
    *(
        Metric(f"energy_score_lpips_{name}", "", about="root of LPIPS as the distance of clips; lower is better")
        for name in LPIPS
    ),
    Metric("diversity_mse", "", about="all ordered pairs of samples, pixels in [-1, 1]"),
    *(Metric(f"diversity_lpips_{name}", "", about="all ordered pairs of samples") for name in LPIPS),
    Metric("poke_endpoint_error_px", "px", about="measured displacement at the poke against the poke"),
    Metric("poke_endpoint_error_px_said", "px", about="by the motion that the decoder predicts at the poke"),
    Metric("poke_endpoint_error_px_ground_truth", "px", about="of the true clips: the limit of the measurement"),
    Metric("poke_endpoint_error_px_no_motion", "px", about="length of the poke"),
    Metric("poke_reach", "", median=True, about="displacement along the poke, over its length; 1 reaches the target"),
    Metric("poke_reach_said", "", median=True, about="by the motion that the decoder predicts at the poke"),
    Metric("poke_reach_ground_truth", "", median=True),
    Metric("pin_leakage_px", "px", about="motion at a pin"),
    Metric("pin_leakage_px_said", "px", about="by the motion that the decoder predicts at the pin"),
    Metric("pin_leakage_px_unasked", "px", about="the same place in the same sample without the pin"),
    Metric("pin_leakage_px_ground_truth", "px"),
    Metric("keypoint_error_px", "px", about="end of the poked keypoint against its true end"),
    Metric("keypoint_error_px_ground_truth", "px", about="of the true clips: the limit of the measurement"),
    Metric("still_pixels_change", "grey levels", about="where the true clip is still"),
    Metric("nll_bits_per_dim", "bits", about="of the true clip's latent, a posterior sample"),
    Metric("nll_bits_per_dim_diagonal_gaussian", "bits", about="a diagonal Gaussian fitted to training latents"),
    Metric("round_trip_error", "", about="latent to residual and back, largest relative error"),
    Metric("reconstruction_psnr", "dB", about="clip to latent and back"),
    Metric("reconstruction_lpips_squeeze", ""),
)
CLOUD_METRICS = (
    Metric("energy_score", "px", about="tracked points at the last frame, root mean square distance; lower is better"),
    Metric("energy_score_copy", "px", about="of standing still"),
    Metric("energy_score_oracle", "px", about="of a second set of true futures"),
    Metric("coverage_50", "", about="share of true ends in the central half of the samples; 0.5 is calibrated"),
    Metric("coverage_90", "", about="0.9 is calibrated"),
)
ABOUT = {
    "fvd_i3d": "Frechet distance of I3D logits, clips at 224 px; with_source of the protocol says which frames",
    "diversity_lpips": "the paper's column, by the first available of AlexNet, VGG and SqueezeNet",
    "energy_skill": "1: as good as true futures, 0: as bad as standing still",
    "spread_error_ratio": "1 is calibrated, below 1 over-confident",
    "likelihood_ranking": "how often a true future is likelier than one of another poke; 0.5 is chance",
    "frechet_motion_grid": "of optical flow on a grid; not FVD",
    "frechet_random_conv3d": "of a fixed random 3-D network's features; not FVD",
}
"""What the metrics that are not means over clips are about."""
NOT_MEASURED = "no clip of the split allows this measurement"


class Report(NamedTuple):
    """Result of an evaluation."""

    facts: dict[str, Any]
    metrics: dict[str, Estimate]
    ranks: dict[str, list[int]]
    """Rank histograms by keypoint: counts of each rank, 0 to n, of the truth among the n samples."""
    flatness: RankFlatness | None


def summarise(
    facts: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    clouds: Sequence[dict[str, Any]],
    reasons: dict[str, str],
    *,
    seed: int,
) -> Report:
    """Compute metrics from rows; ``reasons`` says why a metric is missing, by its name or a prefix or suffix."""

    def why(name: str) -> str:
        known = [key for key in reasons if name.startswith(key) or name.endswith(key)]
        return reasons[max(known, key=len)] if known else NOT_MEASURED

    metrics: dict[str, Estimate] = {}
    of_clouds = [_cloud_figures(row) for row in clouds]
    for found, definitions in (([row["figures"] for row in rows], CLIP_METRICS), (of_clouds, CLOUD_METRICS)):
        for metric in definitions:
            values = [of_clip[metric.name] for of_clip in found if metric.name in of_clip]
            metrics[metric.name] = (
                estimate(values, metric.unit, median=metric.median)
                if values
                else unavailable(metric.unit, why(metric.name))
            )
    metrics["diversity_lpips"] = _diversity_lpips(metrics)
    for name in ("i3d", "motion_grid", "random_conv3d"):
        metric = "fvd_i3d" if name == "i3d" else f"frechet_{name}"
        pairs = [row["features"][name] for row in rows if name in row["features"]]
        metrics[metric] = _frechet(pairs, seed) if pairs else unavailable("", why(metric))
    metrics |= _of_clouds(clouds, of_clouds, why)
    return Report(facts, {name: finite(found) for name, found in metrics.items()}, *_ranks(clouds, seed))


def _frechet(pairs: Sequence[Sequence[Sequence[float]]], seed: int) -> Estimate:
    """Compute the Frechet distance of features of true and generated clips; unavailable for too few clips."""
    real, fake = np.array(pairs).transpose(1, 0, 2)
    try:
        found = frechet_interval(real, fake, seed=seed, paired=True)
    except InputError as error:
        return unavailable("", str(error))
    return Estimate(found.value, found.low, found.high, len(pairs), "")


def _cloud_figures(row: dict[str, Any]) -> dict[str, float]:
    """Compute the metrics of one clip's clouds; coverage, variance and error are of the moving points alone."""
    start, samples, truths = (np.array(row[name]) for name in ("start", "samples", "truths"))
    values = {
        "energy_score": energy_score(samples, truths),
        "energy_score_copy": energy_score(start[None], truths),
    }
    if "oracle" in row:
        values["energy_score_oracle"] = energy_score(np.array(row["oracle"]), truths)
    moving = moving_points(samples, truths, start)
    if len(samples) > 1 and moving.any():
        samples, truths = samples[:, moving], truths[:, moving]
        values |= {f"coverage_{level}": float(coverage(samples, truths, level / 100).mean()) for level in (50, 90)}
        values["variance"], values["squared_error"] = variance_and_squared_error(samples, truths)
    return values


def _of_clouds(
    clouds: Sequence[dict[str, Any]], values: Sequence[dict[str, float]], why: Callable[[str], str]
) -> dict[str, Estimate]:
    """Compute those metrics of clouds that are not means over clips."""
    metrics = {
        name: unavailable("", why(name)) for name in ("energy_skill", "spread_error_ratio", "likelihood_ranking")
    }

    def column(name: str) -> list[float]:
        return [one[name] for one in values if name in one]

    if column("energy_score_oracle"):
        metrics["energy_skill"] = energy_skill(
            *(column(name) for name in ("energy_score", "energy_score_copy", "energy_score_oracle"))
        )
    if column("variance"):
        metrics["spread_error_ratio"] = spread_error_ratio(column("variance"), column("squared_error"))
    ranked = [row for row in clouds if "log_p_true" in row]
    if ranked:
        true = np.array([row["log_p_true"] for row in ranked])
        false = np.array([row["log_p_false"] for row in ranked])
        metrics["likelihood_ranking"] = likelihood_ranking(true, false)
    return metrics


def _ranks(clouds: Sequence[dict[str, Any]], seed: int) -> tuple[dict[str, list[int]], RankFlatness | None]:
    """Count the ranks of the truth among the samples, by the name of the point, and test their flatness."""
    counts: dict[str, np.ndarray] = {}
    judged = []
    for number, row in enumerate(clouds):
        start, samples, truths = (np.array(row[name]) for name in ("start", "samples", "truths"))
        moving = moving_points(samples, truths, start)
        if len(samples) < 2 or not moving.any():
            continue
        judged.append((samples[:, moving], truths[:, moving]))
        names = np.array(row.get("names", ["grid"] * len(start)))[moving]
        histogram = rank_histogram(*judged[-1], seed=seed + number).sum(1)
        for name, one in zip(names.tolist(), histogram, strict=True):
            counts[name] = counts.get(name, 0) + one
    return {name: count.tolist() for name, count in sorted(counts.items())}, (
        rank_flatness(judged, seed=seed, draws=199) if judged else None
    )


def _diversity_lpips(metrics: dict[str, Estimate]) -> Estimate:
    """Return the LPIPS diversity by the first available network, AlexNet first as in the paper; its unit names it."""
    for name in ("alex", "vgg", "squeeze"):
        found = metrics[f"diversity_lpips_{name}"]
        if found.value is not None:
            return found._replace(unit=f"LPIPS ({name})")
    return metrics["diversity_lpips_squeeze"]


def write_report(report: Report, out: Path) -> None:
    """Write report.json and report.md."""
    table = {name: value._asdict() for name, value in report.metrics.items()}
    whole = {**report.facts, "metrics": table, "rank_histograms": report.ranks}
    if report.flatness is not None:
        whole["rank_flatness"] = {
            "unevenness": report.flatness.unevenness,
            "by_chance": report.flatness.by_chance,
            "p": report.flatness.p,
        }
    write_text(out / "report.json", json_text(whole, indent=2) + "\n")
    write_text(out / "report.md", "\n".join(report_lines(report)) + "\n")


def report_lines(report: Report) -> Iterator[str]:
    """Format a report as Markdown."""
    facts = report.facts
    yield f"# {escaped(facts['model'])} on {escaped(facts['clips'])}"
    yield ""
    protocol = ", ".join(f"{name} {value}" for name, value in facts["protocol"].items() if name != "name")
    yield f"Protocol {facts['protocol']['name']} ({protocol})."
    yield ""
    shown = (name for name in facts if name not in ("format", "model", "clips", "protocol", "instruments"))
    yield "; ".join(f"{name} {escaped(str(facts[name]))}" for name in shown)
    yield ""
    yield "| metric | value | 95 % interval over clips | n | |"
    yield "|---|--:|---|--:|---|"
    about = {metric.name: metric.about for metric in (*CLIP_METRICS, *CLOUD_METRICS)} | ABOUT | ABOUT_ROUND_TRIPS
    missing: dict[str, list[str]] = {}
    for name, metric in report.metrics.items():
        if metric.value is None:
            missing.setdefault(metric.reason or NOT_MEASURED, []).append(name)
        else:
            yield (
                f"| {name} | {number(metric.value)} {metric.unit} | {interval(metric)} | {metric.n} "
                f"| {about.get(name, '')} |"
            )
    if missing:
        yield ""
        yield "Unavailable:"
        yield ""
        yield from (f"- {', '.join(names)}: {reason}" for reason, names in missing.items())
    for line in reading(report.metrics):
        yield ""
        yield line


def reading(metrics: dict[str, Estimate]) -> Iterator[str]:
    """Describe the calibration in sentences, as far as its intervals allow."""
    skill, ratio = metrics["energy_skill"], metrics["spread_error_ratio"]
    if skill.value is not None and skill.low is not None and skill.high is not None:
        if skill.low > 0:
            better = "better than standing still"
        elif skill.high < 0:
            better = "worse than standing still"
        else:
            better = "not distinguishable from standing still"
        yield (
            f"As a forecast of where points end, samples are {better}: they cover {100 * skill.value:.0f} % of the "
            f"way from standing still to true futures ({interval(skill, '.2f')})."
        )
    words = []
    for level in (50, 90):
        covered = metrics[f"coverage_{level}"]
        if covered.value is not None and covered.low is not None and covered.high is not None:
            off = "" if covered.low <= level / 100 <= covered.high else ", off"
            words.append(f"{100 * covered.value:.0f} % of true ends lie in the central {level} % of the samples{off}")
    if words and ratio.value is not None and ratio.low is not None and ratio.high is not None:
        if ratio.high < 1:
            verdict = "the samples are over-confident: they differ less than they err"
        elif ratio.low > 1:
            verdict = "the samples are under-confident: they differ more than they err"
        else:
            verdict = "spread and error agree"
        yield f"{'; '.join(words)}. The spread-error ratio is {number(ratio.value)}: {verdict}."


def escaped(text: str) -> str:
    """Escape a name for Markdown."""
    return re.sub(r"[\\`*<>|\[\]$]", r"\\\g<0>", printable(text))


def number(value: float) -> str:
    """Format a number with four significant digits."""
    return f"{value:.4g}" if value and math.isfinite(value) else f"{value:g}"


def interval(metric: Estimate, form: str = ".4g") -> str:
    """Format the interval of an estimate; empty if it has none."""
    return "" if metric.low is None or metric.high is None else f"{metric.low:{form}} to {metric.high:{form}}"
