"""Fig. 8 of the paper: distance of the poked point from its target, clip by clip, for one or several samplers."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.evaluation.figures.chart import BLUE, GREY, blank_chart, require_matplotlib, write_chart
from ipoke.evaluation.figures.record import Made, write_record
from ipoke.evaluation.metrics.answer import measured_displacement
from ipoke.evaluation.metrics.motion import poke_response
from ipoke.evaluation.metrics.questions import choose_questions
from ipoke.evaluation.metrics.sampler_calls import check_size, sample_frames, sample_seeds
from ipoke.evaluation.metrics.statistics import estimate, paired_difference
from ipoke.sampling.clip_sampler import ClipSampler

OUTLIER_Z = 3.0
"""Standard deviations from the mean at which the original's plots drop a clip."""
LEAST_POKE_PX = 1.0
"""Clips with a shorter first poke are skipped."""
TRUE, STILL = "true clip", "standing still"
"""References beside the samplers: the error of the measurement itself, and the length of the poke."""


def draw_control_error(
    samplers: Mapping[str, ClipSampler],
    clips: ClipSet,
    out: Path,
    *,
    most: int = 200,
    drop_outliers: bool = False,
    seed: int = 0,
    guidance: bool = True,
    progress: Callable[[int, int], None],
) -> Made:
    """Write violins of the control error of samplers, labelled by the keys of ``samplers``, and numbers.

    The control error is the distance of the poked point from its target in the last frame, at least 0, px. The point is
    tracked by optical flow from frame to frame. Its target is exact on simulated clips, and read off the true clip's
    optical flow on others. One poke and one sample per clip, as in the original. ``drop_outliers`` drops from each
    violin the clips at 3 standard deviations or more, as the original does.

    Differs from the original, which compares keypoints that a pose estimator finds.

    Raises:
        InputError: Clips of another size than a sampler's, none with motion to poke, or a label that is a reference's.
    """
    require_matplotlib()
    for name, sampler in samplers.items():
        check_size(sampler, clips)
        if name in (TRUE, STILL):
            raise InputError(f"--model: got {name!r}, which names a reference; rename the file")
    questions = choose_questions(clips, numbers=None, most=most, seed=seed)
    questions = [one for one in questions if math.hypot(*one.pokes[0][2:]) >= LEAST_POKE_PX]
    rows: list[dict[str, Any]] = []
    progress(0, len(questions))
    for done, question in enumerate(questions, 1):
        true, pokes = clips.clip(question.clip), question.first_pokes()
        poke, seeds = pokes[0], sample_seeds(seed, question.clip, 1)
        shown = {
            name: sample_frames(sampler, true, [pokes], [seeds], guidance=guidance)[0, 0]
            for name, sampler in samplers.items()
        }
        shown[TRUE] = true
        errors = {
            name: poke_response(measured_displacement(clip), poke).endpoint_error_px for name, clip in shown.items()
        }
        errors[STILL] = math.hypot(poke.dx, poke.dy)
        rows.append({"clip": question.clip, "poke": list(question.pokes[0]), "control_error_px": errors})
        progress(done, len(questions))
    by_name = {name: np.array([row["control_error_px"][name] for row in rows]) for name in (*samplers, TRUE, STILL)}
    kept = {name: without_outliers(errors) if drop_outliers else errors for name, errors in by_name.items()}
    metrics = {f"control_error_px {name}": estimate(errors, "px") for name, errors in kept.items()}
    first, *others = samplers
    for other in others:
        difference = paired_difference(by_name[other], by_name[first], "px")
        metrics[f"control_error_px {other} minus {first}"] = difference
    files = [out / "control-error.png", out / "control-error.json"]
    _write_violins(files[0], kept, of_clips=len(rows), dropped=drop_outliers)
    settings = {
        "most": most,
        "samples": 1,
        "pokes": 1,
        "guidance": guidance,
        "drop_outliers": drop_outliers,
        "clips_measured": len(rows),
        "names": list(samplers),
        "dropped": {name: len(by_name[name]) - len(kept[name]) for name in kept},
    }
    write_record(
        files[1],
        "control-error",
        list(samplers.values()),
        clips,
        seed=seed,
        settings=settings,
        metrics=metrics,
        rows=rows,
    )
    return Made(files, metrics)


def without_outliers(errors: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """Drop errors at 3 standard deviations or more from the mean, as the original's plots do.

    >>> without_outliers(np.array([1.0] * 20 + [50.0])).max()
    np.float64(1.0)
    """
    deviation = errors.std()
    return errors if deviation == 0 else errors[np.abs(errors - errors.mean()) / deviation < OUTLIER_Z]


def _write_violins(path: Path, errors: Mapping[str, Float[np.ndarray, " _"]], *, of_clips: int, dropped: bool) -> None:
    chart = blank_chart(1.8 + 1.35 * len(errors), 4.6)
    axes = chart.add_subplot()
    places = range(1, len(errors) + 1)
    axes.violinplot(list(errors.values()), positions=list(places), widths=0.8, showextrema=False)
    for body, name in zip(list(axes.collections), errors, strict=True):
        body.set(facecolor=GREY if name in (TRUE, STILL) else BLUE, edgecolor="black", linewidth=0.8, alpha=0.55)
    highest = max(float(values.max()) for values in errors.values())
    for place, values in zip(places, errors.values(), strict=True):
        low, high = np.percentile(values, [25, 75])
        axes.vlines(place, low, high, color="black", lw=3, alpha=0.6, label="middle half" if place == 1 else "")
        axes.plot(place, values.mean(), "o", color="black", mec="white", ms=7, label="mean" if place == 1 else "")
        axes.annotate(
            f"{values.mean():.2f}", (place, values.mean()), (9, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_xticks(list(places), [name.replace(" ", "\n", 1) for name in errors])
    axes.set_ylim(0, 1.08 * highest if highest > 0 else 1)
    axes.set_ylabel("distance of the poked point\nfrom its target in the last frame, px")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    note = ", without those beyond 3 standard deviations" if dropped else ""
    axes.set_title(f"control error, {of_clips} clips{note}", fontsize=10)
    write_chart(path, chart)
