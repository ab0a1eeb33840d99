"""Figs. 3 to 5 of the paper: samples for one poke beside the true clip."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from ipoke.data.clips import ClipSet
from ipoke.data.images import write_png
from ipoke.data.poke import Poke
from ipoke.evaluation.figures.drawing import (
    below,
    beside,
    displacement_panel,
    first_panel,
    framed,
    largest_length,
    last_panel,
    legend,
    strip,
    words,
)
from ipoke.evaluation.figures.record import Made, write_record
from ipoke.evaluation.metrics.answer import measured_displacement
from ipoke.evaluation.metrics.motion import poke_response
from ipoke.evaluation.metrics.questions import choose_questions
from ipoke.evaluation.metrics.sampler_calls import check_size, sample_frames, sample_seeds
from ipoke.evaluation.metrics.statistics import estimate
from ipoke.sampling.clip_sampler import ClipSampler

LABEL_PX = 100
"""Width of the labels left of film strips."""
MOVING_PX = 1.0
"""Pixels that move further in the true clip or a sample count for the sample diversity."""


def draw_samples(
    sampler: ClipSampler,
    clips: ClipSet,
    out: Path,
    *,
    samples: int,
    numbers: Sequence[int] | None = None,
    most: int = 6,
    seed: int = 0,
    guidance: bool = True,
    progress: Callable[[int, int], None],
) -> Made:
    """Write a film strip per clip (true clip, then samples, with their displacements), a grid of all, and numbers.

    Raises:
        InputError: Clips of another size than the sampler's, or none with motion to poke.
    """
    check_size(sampler, clips)
    questions = choose_questions(clips, numbers=numbers, most=most, seed=seed)
    files, grid_clips, grid_fields, grid_pokes, rows = [], [], [], [], []
    progress(0, len(questions))
    for done, question in enumerate(questions, 1):
        pokes, true = question.first_pokes(), clips.clip(question.clip)
        seeds = sample_seeds(seed, question.clip, samples)
        drawn = sample_frames(sampler, true, [pokes], [seeds], guidance=guidance)[0]
        shown = np.concatenate([true[None], drawn])
        fields = [measured_displacement(clip) for clip in shown]
        files.append(out / f"samples-clip-{question.clip:05d}.png")
        titles = ["true clip", *(f"sample {number}" for number in range(1, samples + 1))]
        write_png(files[-1], strips_with_displacements(shown, fields, [pokes] * len(shown), titles))
        responses = [poke_response(field, pokes[0]) for field in fields]
        std = np.hypot(*np.stack(fields[1:]).std(0))
        moving = np.hypot(*np.abs(np.stack(fields)).max(0)) > MOVING_PX
        rows.append(
            {
                "clip": question.clip,
                "poke": list(question.pokes[0]),
                "poke_endpoint_error_px": float(np.mean([one.endpoint_error_px for one in responses[1:]])),
                "poke_endpoint_error_px_ground_truth": responses[0].endpoint_error_px,
                "sample_diversity_px": float(std[moving].mean()) if moving.any() else 0.0,
            }
        )
        grid_clips.append(shown)
        grid_fields.append(fields)
        grid_pokes.append(pokes)
        progress(done, len(questions))
    files.append(out / "samples.png")
    write_png(files[-1], _overview(grid_clips, grid_fields, grid_pokes, [row["clip"] for row in rows]))
    names = ("poke_endpoint_error_px", "poke_endpoint_error_px_ground_truth", "sample_diversity_px")
    metrics = {name: estimate([row[name] for row in rows], "px") for name in names}
    settings = {"samples": samples, "most": most, "numbers": list(numbers or []), "pokes": 1, "guidance": guidance}
    files.append(out / "samples.json")
    write_record(files[-1], "samples", [sampler], clips, seed=seed, settings=settings, metrics=metrics, rows=rows)
    return Made(files, metrics)


def strips_with_displacements(
    shown: UInt8[np.ndarray, "n t s s 3"],
    fields: Sequence[Float32[np.ndarray, "2 s s"]],
    pokes: Sequence[Sequence[Poke]],
    titles: Sequence[str],
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay clips out as rows in time, with their displacements from frame 0 to the last, all on one scale."""
    largest = largest_length(fields)
    rows, header = [], None
    for clip, field, of_clip, title in zip(shown, fields, pokes, titles, strict=True):
        row, numbers = strip(clip, of_clip)
        side = row.shape[0]
        panel = displacement_panel(field, largest)
        rows.append(beside([words(title, LABEL_PX, side, left=True), row, panel]))
        to_last = words(f"displacement, 0 to {len(clip) - 1}", side + 2 * 10, 22, size=13)
        header = beside([words("", LABEL_PX, 22), numbers, to_last[:, 10:-10]])
    sheet = below([*([header] if header is not None else []), *rows], 6)
    return framed(beside([sheet, below([words("", 1, 22), legend(largest, 116)], 6)], 20))


def _overview(
    clips: Sequence[UInt8[np.ndarray, "n t s s 3"]],
    fields: Sequence[Sequence[Float32[np.ndarray, "2 s s"]]],
    pokes: Sequence[Sequence[Poke]],
    numbers: Sequence[int],
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay out one clip per row: still, last frame of the true clip and of each sample, and their displacements."""
    largest = largest_length([field for of_clip in fields for field in of_clip])
    rows = []
    for shown, of_clip, drags, number in zip(clips, fields, pokes, numbers, strict=True):
        still = first_panel(shown[0, 0], drags)
        side = still.shape[0]
        lasts = [last_panel(clip[-1], drags) for clip in shown]
        maps = [displacement_panel(field, largest) for field in of_clip]
        parts = [words(f"clip {number}", 70, side, left=True), still, beside(lasts, 4), beside(maps, 4)]
        rows.append(beside(parts))
    names = ["true", *(f"sample {number}" for number in range(1, len(clips[0])))]
    last, to_last = len(clips[0][0]) - 1, beside([words(name, side, 22) for name in names], 4)
    wide = to_last.shape[1]
    header = beside(
        [
            words("", 70, 44),
            words("still and poke", side, 44),
            below([words(f"frame {last} (dot: target of the poke)", wide, 22), to_last], 0),
            below([words(f"displacement from frame 0 to {last}", wide, 22), to_last], 0),
        ]
    )
    return framed(beside([below([header, *rows], 6), below([words("", 1, 44), legend(largest, 116)], 6)], 20))
