"""Sampling, side by side: a model of the paper's size the plain way and our way, and a lean one."""

import importlib.util
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from ipoke.core.pixels import frames_from_clip
from ipoke.core.recipe import Recipe
from ipoke.data.poke import Poke
from ipoke.evaluation.bench.machine import PRECISIONS, available_gib, ceilings, describe
from ipoke.evaluation.bench.models import empty_model, random_model
from ipoke.evaluation.bench.operations import Operations, gflop, plainly_counted
from ipoke.evaluation.bench.peak import Sampling, peak_mib
from ipoke.evaluation.bench.results import Row, row
from ipoke.evaluation.bench.ways import Way, as_we_do, by_onnx, plainly, still_and_poke
from ipoke.sampling.model import PokeModel, load

if TYPE_CHECKING:
    from ipoke.exchange.export.onnx_model import OnnxModel

PLAIN, REFERENCE = "reference, plain way", "reference"
"""Names of the models of the paper's size in the rows."""
BATCHES = (1, 5, 8)
ROUNDS = 7
GIB_PER_GFLOP = 16 / 135
"""Memory that is taken here per 10^9 operations of the paper's latent flow, which are in proportion to its weights: in
float32 twice (packed), in bfloat16, and what is computed."""

Progress = Callable[[int, int], None]
Seconds: TypeAlias = dict[tuple[str, str, str, int], list[float]]
"""Times of (part, model, dtype, batch)."""


def measure(
    reference: Recipe,
    lean: str | Recipe,
    *,
    progress: Progress,
    batches: tuple[int, ...] = BATCHES,
    rounds: int | None = None,
) -> dict[str, Any]:
    """Time all ways in turn, round after round, so that a mood of the machine hits all of them.

    The plain way draws sample after sample: its time for n of them is that of n consecutive clips, in windows that
    overlap. Where the memory does not suffice for the reference size, its rows are left out and ratios are null.

    Args:
        reference: Recipe of the paper's size; its weights are random.
        lean: Bundled name or file of a model, or a recipe, whose weights then are random.
        progress: Told of what is done.
        batches: Samples of one still drawn together.
        rounds: Repeats after one warm-up; `ROUNDS` if unset.
    """
    rounds = ROUNDS if rounds is None else rounds
    progress(0, rounds + 1)
    counts = {REFERENCE: gflop(reference)}
    counts[PLAIN] = plainly_counted(counts[REFERENCE], reference.clip.frames)
    needed = GIB_PER_GFLOP * counts[REFERENCE]["latent_flow_inverse"][1]
    reason = None if available_gib() >= needed else f"{needed:.0f} GiB are needed, {available_gib():.0f} are free"
    name = lean if isinstance(lean, str) else lean.name
    cases = {(name, precision): Sampling(lean, precision) for precision in PRECISIONS}
    if reason is None:
        cases |= {(REFERENCE, precision): Sampling(reference, precision) for precision in PRECISIONS}
        cases[PLAIN, "float32"] = Sampling(reference, plain=True)
    leans = {p: random_model(lean, p) if isinstance(lean, Recipe) else load(lean, precision=p) for p in PRECISIONS}
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(peak_mib, cases.values())
        exported = _exported(leans["float32"]) if has_onnx() else None
        peaks: dict[tuple[str, str], float] = dict(zip(cases, found, strict=True))
    recipes = {PLAIN: reference, REFERENCE: reference, name: leans["float32"].recipe}
    limits = ceilings()
    ways = [as_we_do(name, model, precision) for precision, model in leans.items()]
    counts[name] = counts[f"{name}, ONNX"] = gflop(recipes[name])
    if exported is not None:
        recipes[f"{name}, ONNX"] = recipes[name]
        ways.append(by_onnx(f"{name}, ONNX", leans["float32"], exported))
    if reason is None:
        exact = random_model(reference)
        ours = [as_we_do(REFERENCE, exact, "float32"), as_we_do(REFERENCE, _reduced(exact), "bfloat16")]
        ways = [plainly(PLAIN, exact), *ours, *ways]
    agreement = _agreement(ways[0], ways[1:3]) if reason is None else {}
    seconds: Seconds = defaultdict(list)
    for done in range(rounds + 1):
        found = _round(ways, batches, rounds, warm_up=not done)
        for key, values in found.items():
            seconds[key] += values if done else []
        progress(done + 1, rounds + 1)
    _add_windows(seconds, batches)
    rows = list(_rows(seconds, recipes, counts, {name: limit.best for name, limit in limits.items()}, peaks))
    return {
        "what": "sampling",
        "machine": describe(),
        "ceilings_gflops": {precision: limit._asdict() for precision, limit in limits.items()},
        "rounds": rounds,
        "rows": [one._asdict() for one in rows],
        "ratios": _ratios(rows, name, max(batches)),
        "ratios_reason": reason,
        "agreement": agreement,
    }


def has_onnx() -> bool:
    """Tell whether models can be exported here."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


def _exported(model: PokeModel) -> "OnnxModel":
    """Export a model and load it again; what holds for its frames is checked on the way."""
    from ipoke.exchange.export.onnx_model import OnnxModel, export_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_onnx(model, file)
        return OnnxModel(file, threads=torch.get_num_threads())


def _round(ways: list[Way], batches: tuple[int, ...], rounds: int, *, warm_up: bool) -> Seconds:
    """Run every way once for every batch; to warm up, not the reference size, which was compared just before."""
    seconds: Seconds = defaultdict(list)
    for way in ways:
        if warm_up and way.name in (PLAIN, REFERENCE):
            continue
        singles = (1,) * -(-(max(batches) + rounds - 1) // rounds)
        for batch in singles if way.name == PLAIN else batches:
            for part, value in way.run(batch).items():
                seconds[part, way.name, way.precision, batch].append(value)
        if "decoder" not in way.steps:
            continue
        if way.name not in (PLAIN, REFERENCE):
            _open_picture(seconds, way, batches)
        if way.name != PLAIN:
            _encoder(seconds, way, batches)
    return seconds


@torch.no_grad()
def _reduced(model: PokeModel) -> PokeModel:
    """Make the model that `ipoke.load` would give in 16 bits."""
    reduced, exact = empty_model(model.recipe, "bfloat16"), model.state_dict()
    for name, tensor in reduced.state_dict().items():
        tensor.copy_(exact[name])
    return reduced


def _agreement(plain: Way, ours: list[Way]) -> dict[str, float]:
    """Compare the clips of one residual, and go there and back once."""
    plain.run(1)
    found = {}
    for way in ours:
        way.run(1)
        error = way.last - plain.last
        found[f"clip_largest_difference_{way.precision}"] = float(error.abs().max())
        found[f"clip_rms_difference_{way.precision}"] = float(error.square().mean().sqrt())
    model, noise = plain.model, plain.model.latent_flow.base_noise([0])
    with torch.no_grad():
        cond = model.condition(*still_and_poke(model.recipe.clip.size))
        back, _ = model.to_residual(model.to_latent(noise, cond), cond)
    return {**found, "round_trip_relative": float((back - noise).abs().max() / noise.abs().max())}


def _open_picture(seconds: Seconds, way: Way, batches: tuple[int, ...]) -> None:
    """Poke a picture that is open: the preview of the last frames, and whole clips, each of a new seed."""
    size = way.model.recipe.clip.size
    picture = way.model.open(frames_from_clip(still_and_poke(size)[0][0]))
    drag = [Poke(size / 2, size / 2, 8.0, 8.0)]
    picture.poke(drag)
    for batch in batches:
        for seed, (part, call) in enumerate((("next_preview", picture.preview), ("next_clip", picture.poke)), start=1):
            start = time.perf_counter()
            call(drag, samples=batch, seed=seed)
            seconds[part, way.name, way.precision, batch].append(time.perf_counter() - start)


@torch.no_grad()
def _encoder(seconds: Seconds, way: Way, batches: tuple[int, ...]) -> None:
    recipe = way.model.recipe
    clip = torch.rand(max(batches), recipe.clip.frames + 1, 3, recipe.clip.size, recipe.clip.size)
    tracks = torch.rand(max(batches), recipe.clip.frames, 2, recipe.clip.size, recipe.clip.size)
    for batch in batches:
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=way.precision == "bfloat16"):
            way.model.encode(clip[:batch], tracks[:batch])
        seconds["encoder", way.name, way.precision, batch].append(time.perf_counter() - start)


def _add_windows(seconds: Seconds, batches: tuple[int, ...]) -> None:
    """Sum up consecutive clips of the plain way."""
    for (part, name, dtype, _), values in list(seconds.items()):
        if name == PLAIN:
            for batch in batches[1:]:
                windows = np.lib.stride_tricks.sliding_window_view(values, batch).sum(1)
                seconds[part, name, dtype, batch] = windows.tolist()


def _rows(
    seconds: Seconds,
    recipes: dict[str, Recipe],
    counts: dict[str, Operations],
    limits: dict[str, float],
    peaks: dict[tuple[str, str], float],
) -> Iterator[Row]:
    order = {part: place for place, part in enumerate(("clip", "next_preview", "next_clip"))}
    for (part, model, dtype, batch), values in sorted(seconds.items(), key=lambda item: order.get(item[0][0], 9)):
        once, each = counts[model].get(part, (None, None))
        yield row(
            *(part, model, recipes[model].clip.size, batch, dtype, values),
            gflop=None if once is None or each is None else once + batch * each,
            gflops=limits[dtype],
            peak_mib=peaks.get((model, dtype)) if part == "clip" and batch == 1 else None,
        )


def _ratios(rows: list[Row], lean: str, most: int) -> dict[str, float | None]:
    """Say how many times the lean model at its default precision is faster, or smaller, than the plain way."""

    def median(part: str, model: str, batch: int) -> Row | None:
        return next((r for r in rows if (r.part, r.model, r.batch, r.dtype) == (part, model, batch, "float32")), None)

    def ratio(part: str, batch: int, figure: str = "median_ms") -> float | None:
        plain, ours = median(part, PLAIN, batch), median(part, lean, batch)
        if plain is None or ours is None:
            return None
        return round(getattr(plain, figure) / getattr(ours, figure), 2)

    names = {1: "one", 5: "five", 8: "eight"}
    return {
        "one_clip": ratio("clip", 1),
        f"{names.get(most, most)}_samples": ratio("clip", most),
        "flow_inverse": ratio("latent_flow_inverse", 1),
        "peak_memory": ratio("clip", 1, "peak_mib"),
    }
