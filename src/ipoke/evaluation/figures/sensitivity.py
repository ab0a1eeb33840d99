"""Control sensitivity: one point of a still, poked in every direction."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ipoke.data.clips import ClipSet
from ipoke.data.images import write_png
from ipoke.data.poke import Poke
from ipoke.evaluation.figures.chart import BLUE, GREY, ORANGE, blank_chart, require_matplotlib, write_chart
from ipoke.evaluation.figures.drawing import FOUND, INK, below, beside, framed, panel_factor, words
from ipoke.evaluation.figures.record import Made, write_record
from ipoke.evaluation.metrics.answer import measured_displacement
from ipoke.evaluation.metrics.questions import choose_questions
from ipoke.evaluation.metrics.sampler_calls import check_size, sample_frames, sample_seeds
from ipoke.evaluation.metrics.statistics import Estimate, estimate
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.render import ARROW, OUTLINE, draw_pokes, draw_targets, enlarged

DIRECTIONS = 32
"""Directions of pokes, evenly around the circle. Differs from the original, which draws 32 from half of it."""
LEAST_PX = 0.25
"""The direction of a shorter displacement cannot be measured; it counts as 90 degrees off, the mean of chance."""
COLUMNS, ROSE_PX = 8, 460
"""Sheet of a clip: samples per row, and the side of the picture beside them, px."""
LEAST_POKE_PX = 1.0
"""Clips with a shorter first poke are skipped."""


def draw_sensitivity(
    sampler: ClipSampler,
    clips: ClipSet,
    out: Path,
    *,
    numbers: Sequence[int] | None = None,
    most: int = 10,
    sheets: int = 4,
    directions: int = DIRECTIONS,
    seed: int = 0,
    guidance: bool = True,
    progress: Callable[[int, int], None],
) -> Made:
    """Write sheets of the last frames of the first ``sheets`` clips, a polar chart of all clips, and numbers.

    Each clip keeps the point and the length of its true poke, and one seed for all directions, so that nothing but the
    direction changes. Directions whose target is outside the picture are skipped.

    Raises:
        InputError: Clips of another size than the sampler's, or none with motion to poke.
    """
    require_matplotlib()
    check_size(sampler, clips)
    questions = choose_questions(clips, numbers=numbers, most=most, seed=seed)
    questions = [one for one in questions if math.hypot(*one.pokes[0][2:]) >= LEAST_POKE_PX]
    files, rows = [], []
    errors, ratios = (np.full((len(questions), directions), np.nan) for _ in range(2))
    progress(0, len(questions))
    for done, question in enumerate(questions, 1):
        true, poke = clips.clip(question.clip), question.first_pokes()[0]
        pokes = pokes_around(poke, directions)
        seeds = [sample_seeds(seed, question.clip, 1)] * directions
        drawn = sample_frames(sampler, true, [[one] for one in pokes], seeds, guidance=guidance)[:, 0]
        moved = np.stack([displacement_at(clip, poke) for clip in drawn])
        for index, (one, found) in enumerate(zip(pokes, moved, strict=True)):
            if _is_inside(one, clips.size):
                errors[done - 1, index] = angular_error_deg(one, found)
                ratios[done - 1, index] = math.hypot(*found) / math.hypot(one.dx, one.dy)
        rows.append(
            {
                "clip": question.clip,
                "x": poke.x,
                "y": poke.y,
                "length_px": math.hypot(poke.dx, poke.dy),
                "moved_px": np.round(moved, 4).tolist(),
            }
        )
        if done <= sheets:
            files.append(out / f"sensitivity-clip-{question.clip:05d}.png")
            write_png(files[-1], _sheet(true[0], drawn[:, -1], pokes, moved))
        progress(done, len(questions))
    metrics = _metrics(errors, ratios)
    files.append(out / "sensitivity.png")
    _write_polar(files[-1], metrics, directions)
    settings = {
        "numbers": list(numbers or []),
        "most": most,
        "directions": directions,
        "circle": "full",
        "guidance": guidance,
        "least_px": LEAST_PX,
        "clips_measured": len(questions),
    }
    files.append(out / "sensitivity.json")
    write_record(files[-1], "sensitivity", [sampler], clips, seed=seed, settings=settings, metrics=metrics, rows=rows)
    return Made(files, {name: metrics[name] for name in ("angular_error_deg", "length_ratio")})


def pokes_around(poke: Poke, directions: int = DIRECTIONS) -> list[Poke]:
    """Turn a poke to every direction, from right over down, keeping its point and length.

    >>> [(round(one.dx), round(one.dy)) for one in pokes_around(Poke(9, 9, 0, -3), 4)]
    [(3, 0), (0, 3), (-3, 0), (0, -3)]
    """
    length = math.hypot(poke.dx, poke.dy)
    angles = [2 * math.pi * step / directions for step in range(directions)]
    return [Poke(poke.x, poke.y, length * math.cos(angle), length * math.sin(angle)) for angle in angles]


def displacement_at(clip: UInt8[np.ndarray, "t s s 3"], poke: Poke) -> Float[np.ndarray, " 2"]:
    """Measure the displacement of the poked point from the still to the last frame, px."""
    return measured_displacement(clip)[:, round(poke.y), round(poke.x)]


def angular_error_deg(poke: Poke, found: Float[np.ndarray, " 2"]) -> float:
    """Return the angle between the poke and the measured displacement, 0 to 180 degrees; 90 if nothing moved."""
    dx, dy = found.tolist()
    if math.hypot(dx, dy) < LEAST_PX:
        return 90.0
    return abs(math.degrees(math.atan2(poke.dx * dy - poke.dy * dx, poke.dx * dx + poke.dy * dy)))


def _is_inside(poke: Poke, size: int) -> bool:
    return all(-0.5 <= at < size - 0.5 for at in poke.target)


def _metrics(errors: Float[np.ndarray, "n d"], ratios: Float[np.ndarray, "n d"]) -> dict[str, Estimate]:
    """Average angular errors, 0 to 180 degrees, and length ratios over clips: of all directions, and of each."""
    metrics = {}
    for name, values, unit in (("angular_error_deg", errors, "degrees"), ("length_ratio", ratios, "")):
        measured = values[~np.isnan(values).all(1)]
        metrics[name] = estimate(np.nanmean(measured, axis=1), unit) if len(measured) else estimate([], unit)
        for index, of_direction in enumerate(values.T):
            angle = 360 * index / values.shape[1]
            metrics[f"{name}_at_{angle:g}"] = estimate(of_direction[~np.isnan(of_direction)], unit)
    return metrics


def _sheet(
    still: UInt8[np.ndarray, "s s 3"],
    lasts: UInt8[np.ndarray, "n s s 3"],
    pokes: Sequence[Poke],
    moved: Float[np.ndarray, "n 2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the targets and the measured ends of the poked point, beside all last frames."""
    factor = panel_factor(len(still))
    panels = []
    for last, poke, found in zip(lasts, pokes, moved, strict=True):
        panel = draw_targets(draw_pokes(enlarged(last[None], factor)[0], [poke], factor), [poke], factor)
        target = Poke(poke.x, poke.y, float(found[0]), float(found[1])).scaled(factor).target
        _dot(panel, target, 2 * factor - 1, FOUND)
        panels.append(panel)
    rows = [beside(panels[start : start + COLUMNS], 4) for start in range(0, len(panels), COLUMNS)]
    grid = below(rows, 4)
    rose = _rose(still, pokes, moved, ROSE_PX)
    length = math.hypot(pokes[0].dx, pokes[0].dy)
    note = "red: target of the poke\nblue: the point in the last frame"
    left = below([words(f"one point, pokes of {length:.1f} px", ROSE_PX, 22), rose, words(note, ROSE_PX, 48)], 6)
    title = f"last frames of the {len(pokes)} samples, from right over down, left and up"
    return framed(beside([left, below([words(title, grid.shape[1], 22), grid], 6)], 24))


def _rose(
    still: UInt8[np.ndarray, "s s 3"], pokes: Sequence[Poke], moved: Float[np.ndarray, "n 2"], side: int
) -> UInt8[np.ndarray, "side side 3"]:
    """Enlarge the still around the poked point, and join each target to the measured end of the point."""
    size, (x, y) = len(still), (pokes[0].x, pokes[0].y)
    ends = np.concatenate([moved, [(poke.dx, poke.dy) for poke in pokes]])
    window = min(size, max(size // 4, 2 * math.ceil(float(np.abs(ends).max())) + 9))
    left, top = (min(max(round(at) - window // 2, 0), size - window) for at in (x, y))
    factor = side / window
    cut = still[top : top + window, left : left + window]
    shown = cv2.resize(cut, (side, side), interpolation=cv2.INTER_CUBIC)
    pairs = []
    for poke, (dx, dy) in zip(pokes, moved.tolist(), strict=True):
        here = Poke(x - left, y - top, poke.dx, poke.dy).scaled(factor)
        pairs.append((here.target, (here.x + dx * factor, here.y + dy * factor)))
    for target, end in pairs:
        cv2.line(shown, _whole(target), _whole(end), INK, 2, cv2.LINE_AA)
    for target, end in pairs:
        _dot(shown, target, 6, ARROW)
        _dot(shown, end, 6, FOUND)
    start = Poke(x - left, y - top, 0, 0).scaled(factor)
    cv2.drawMarker(shown, _whole((start.x, start.y)), OUTLINE, cv2.MARKER_CROSS, 16, 4, cv2.LINE_AA)
    cv2.drawMarker(shown, _whole((start.x, start.y)), INK, cv2.MARKER_CROSS, 14, 2, cv2.LINE_AA)
    return shown


def _dot(
    picture: UInt8[np.ndarray, "h w 3"], at: tuple[float, float], radius: int, colour: tuple[int, int, int]
) -> None:
    cv2.circle(picture, _whole(at), radius + 2, OUTLINE, -1, cv2.LINE_AA)
    cv2.circle(picture, _whole(at), radius, colour, -1, cv2.LINE_AA)


def _whole(at: tuple[float, float]) -> tuple[int, int]:
    return round(at[0]), round(at[1])


def _write_polar(path: Path, metrics: dict[str, Estimate], directions: int) -> None:
    """Draw length ratio and angular error against the direction of the poke, oriented as the picture."""
    chart = blank_chart(9.5, 5.2)
    from matplotlib.projections.polar import PolarAxes
    from matplotlib.ticker import MaxNLocator

    chart.set_layout_engine("none")
    angles = 2 * np.pi * np.arange(directions + 1) / directions
    for place, name, title, colour in (
        (1, "length_ratio", "measured length / length of the poke", BLUE),
        (2, "angular_error_deg", "angle between poke and displacement, degrees", ORANGE),
    ):
        axes = PolarAxes(chart, (0.08 + 0.48 * (place - 1), 0.14, 0.37, 0.67))
        chart.add_axes(axes)
        axes.set_theta_direction(-1)
        around = [metrics[f"{name}_at_{360 * index / directions:g}"] for index in range(directions)]
        value, low, high = (
            np.array([np.nan if one[column] is None else one[column] for one in [*around, around[0]]], float)
            for column in range(3)
        )
        axes.fill_between(angles, low, high, color=colour, alpha=0.25, lw=0, label="95 % interval over clips")
        axes.plot(angles, value, color=colour, lw=2, marker="o", ms=3, label="mean")
        if name == "length_ratio":
            axes.plot(np.linspace(0, 2 * np.pi, 200), np.ones(200), color=GREY, lw=1, ls="--", label="full response")
        axes.set_ylim(0, max(1.2 if name == "length_ratio" else 20.0, 1.05 * float(np.nanmax(high, initial=0))))
        axes.set_xticks(np.radians([0, 90, 180, 270]), ["right", "down", "left", "up"])
        axes.set_rlabel_position(-22)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        total = metrics[name]
        mean = "unavailable" if total.value is None else f"mean {total.value:.2f} ({total.low:.2f} to {total.high:.2f})"
        axes.set_title(f"{title}\n{mean}, {total.n} clips", fontsize=10, pad=12)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=3, fontsize=8, frameon=False)
    write_chart(path, chart)
