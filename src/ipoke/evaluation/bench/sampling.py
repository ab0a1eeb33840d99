"""Sampling, side by side: a model of the paper's size by the plain engine and by ours, and a lean one."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch

from ipoke.core.pixels import frames_from_clip
from ipoke.core.recipe import Recipe
from ipoke.data.poke import Poke
from ipoke.evaluation.bench.kept import MINUTES, Clock, Kept
from ipoke.evaluation.bench.machine import PRECISIONS, available_gib, ceilings, describe
from ipoke.evaluation.bench.operations import counted_per_sample, gflop
from ipoke.evaluation.bench.peak import Sampling, peak_mib
from ipoke.evaluation.bench.results import Row, row
from ipoke.evaluation.bench.ways import PLAIN, REFERENCE, Way, Ways, still_and_poke
from ipoke.sampling.model import Precision

BATCHES = (1, 5, 8)
ROUNDS = 7
GIB_PER_GFLOP = 16 / 135
"""Memory that is taken here per 10^9 operations of the paper's latent flow, which are in proportion to its weights: in
float32 twice (packed), in bfloat16, and what is computed."""

Progress = Callable[[int, int], None]
Key: TypeAlias = tuple[str, Precision]
"""Name and precision of a way."""


def measure(
    reference: Recipe,
    lean: str | Recipe,
    *,
    progress: Progress,
    kept: Kept | None = None,
    minutes: float = MINUTES,
    batches: tuple[int, ...] = BATCHES,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Time all ways in turn, round after round, so that a slow moment of the machine affects all of them.

    The plain engine draws sample after sample: its time for n of them is that of n consecutive clips, in windows that
    overlap. Where the memory does not suffice for the reference size, its rows are left out and ratios are null. Every
    step is kept as soon as it is measured. When the time is over, no further step begins; the result is complete if
    each way has been measured at least once.

    Args:
        reference: Recipe of the paper's size; its weights are random.
        lean: Bundled name or file of a model, or a recipe, whose weights then are random.
        progress: Told of what is done.
        kept: What the same command has measured before, and where the result goes.
        minutes: Time for all; a step that has begun is finished.
        batches: Samples of one still drawn together.
        rounds: Repeats, if there is time for them.
    """
    clock = Clock(minutes)
    bench = _Bench(reference, lean, kept or Kept(), batches, rounds)
    steps = list(bench.steps())
    bench.kept.write(bench.result())
    for done, step in enumerate(steps):
        progress(done, len(steps))
        if clock.is_over:
            break
        step()
        bench.kept.write(bench.result())
    progress(len(steps), len(steps))
    bench.stopped = True
    result = bench.result()
    bench.kept.write(result)
    return result


class _Bench:
    """What is measured, step by step; all numbers are in ``kept.measured``."""

    def __init__(
        self, reference: Recipe, lean: str | Recipe, kept: Kept, batches: tuple[int, ...], rounds: int
    ) -> None:
        self.kept, self.batches, self.rounds = kept, batches, rounds
        self.stopped = False
        counts = gflop(reference)
        needed, free = GIB_PER_GFLOP * counts["latent_flow_inverse"][1], available_gib()
        self.reason = None if free >= needed else f"{needed:.0f} GiB are needed, {free:.0f} are free"
        self.ways = Ways(lean, reference if self.reason is None else None)
        self.size = reference.clip.size
        of_lean = gflop(self.ways.recipe)
        self.counts = {REFERENCE: counts, PLAIN: counted_per_sample(counts)}
        self.counts |= {self.ways.name: of_lean, self.ways.exported: of_lean}
        self.measured = kept.measured
        for name in ("ceilings", "peaks", "agreement", "rounds", "seconds"):
            self.measured.setdefault(name, {})

    def steps(self) -> Iterator[Callable[[], None]]:
        """List the remaining steps; the lean model comes first, because it takes little time."""
        small = [key for key in self.ways.keys if key[0] not in (PLAIN, REFERENCE)]
        large = [key for key in self.ways.keys if key not in small]
        if not self.measured["ceilings"]:
            yield self._measure_ceilings
        yield from self._turns(small, 0)
        for key, case in self._peaks_missing().items():
            yield lambda key=key, case=case: self._measure_peak(key, case)
        if large and not self.measured["agreement"]:
            yield self._measure_agreement
        yield from self._turns(large, 0)
        for number in range(1, self.rounds):
            yield from self._turns(self.ways.keys, number)

    def _turns(self, keys: list[Key], number: int) -> Iterator[Callable[[], None]]:
        for key in keys:
            if self.measured["rounds"].get(_text(key), 0) <= number:
                yield lambda key=key: self._take_turn(key)

    def _take_turn(self, key: Key) -> None:
        """Run a way once for every batch; the plain engine some samples one after another."""
        way, name = self.ways[key], key[0]
        singles = (1,) * -(-(max(self.batches) + self.rounds - 1) // self.rounds)
        for batch in singles if name == PLAIN else self.batches:
            for part, value in way.run(batch).items():
                self._add(part, key, batch, value)
        if "decoder" in way.steps:
            if name not in (PLAIN, REFERENCE):
                _open_picture(way, self.batches, lambda part, batch, value: self._add(part, key, batch, value))
            if name != PLAIN:
                _encoder(way, self.batches, lambda part, batch, value: self._add(part, key, batch, value))
        rounds = self.measured["rounds"]
        rounds[_text(key)] = rounds.get(_text(key), 0) + 1

    def _add(self, part: str, key: Key, batch: int, seconds: float) -> None:
        of_way = self.measured["seconds"].setdefault(_text(key), {})
        of_way.setdefault(part, {}).setdefault(str(batch), []).append(seconds)

    def _measure_ceilings(self) -> None:
        self.measured["ceilings"] = {precision: limit._asdict() for precision, limit in ceilings().items()}

    def _peaks_missing(self) -> dict[Key, Sampling]:
        cases: dict[Key, Sampling] = {
            (self.ways.name, precision): Sampling(self.ways.lean, precision) for precision in PRECISIONS
        }
        if self.ways.reference is not None:
            cases |= {(REFERENCE, precision): Sampling(self.ways.reference, precision) for precision in PRECISIONS}
            cases[PLAIN, "float32"] = Sampling(self.ways.reference, plain=True)
        return {key: case for key, case in cases.items() if _text(key) not in self.measured["peaks"]}

    def _measure_peak(self, key: Key, case: Sampling) -> None:
        self.measured["peaks"][_text(key)] = peak_mib(case)

    def _measure_agreement(self) -> None:
        plain, *ours = (self.ways[key] for key in self.ways.keys if key[0] in (PLAIN, REFERENCE))
        self.measured["agreement"] = _agreement(plain, ours)

    def result(self) -> dict[str, Any]:
        """Sum up what there is."""
        done = [self.measured["rounds"].get(_text(key), 0) for key in self.ways.keys]
        rows = list(self._rows())
        ratios = _ratios(rows, self.ways.name, max(self.batches))
        return {
            "complete": self.stopped and min(done) > 0,
            "what": "sampling",
            "machine": describe(),
            "ceilings_gflops": self.measured["ceilings"],
            "rounds": min(done),
            "rows": [one._asdict() for one in rows],
            "ratios": ratios,
            "ratios_of": [PLAIN, self.ways.name],
            "ratios_reason": (self.reason or "not measured yet") if None in ratios.values() else None,
            "agreement": self.measured["agreement"],
        }

    def _rows(self) -> Iterator[Row]:
        order = {part: place for place, part in enumerate(("clip", "next_preview", "next_clip"))}
        found = []
        for key in self.ways.keys:
            for part, of_part in self.measured["seconds"].get(_text(key), {}).items():
                times = {int(batch): values for batch, values in of_part.items()}
                times |= _windows(times[1], self.batches) if key[0] == PLAIN else {}
                found += [(part, key, batch, values) for batch, values in times.items()]
        for part, (name, dtype), batch, values in sorted(found, key=lambda one: order.get(one[0], 9)):
            once, each = self.counts[name].get(part, (None, None))
            limits = self.measured["ceilings"].get(dtype)
            yield row(
                *(part, name, self.size, batch, dtype, values),
                gflop=None if once is None or each is None else once + batch * each,
                gflops=None if limits is None else max(limits.values()),
                peak_mib=self.measured["peaks"].get(_text((name, dtype))) if (part, batch) == ("clip", 1) else None,
            )


def _text(key: Key) -> str:
    """Write a key as JSON can have it."""
    return " / ".join(key)


def _windows(singles: list[float], batches: tuple[int, ...]) -> dict[int, list[float]]:
    """Sum up consecutive clips for each batch; where there are too few of them, take as many times their median.

    >>> _windows([1.0, 2.0, 4.0], (1, 2, 5))
    {2: [3.0, 6.0], 5: [10.0]}
    """
    found = {}
    for batch in batches[1:]:
        if len(singles) >= batch:
            found[batch] = np.lib.stride_tricks.sliding_window_view(singles, batch).sum(1).tolist()
        else:
            found[batch] = [batch * float(np.median(singles))]
    return found


def _agreement(plain: Way, ours: list[Way]) -> dict[str, float]:
    """Compare the clips of one residual, and go there and back once."""
    found = {}
    plain.run(1)
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


def _open_picture(way: Way, batches: tuple[int, ...], add: Callable[[str, int, float], None]) -> None:
    """Poke a picture that is open: the preview of the last frames, and whole clips, each of a new seed."""
    size = way.model.recipe.clip.size
    picture = way.model.open(frames_from_clip(still_and_poke(size)[0][0]))
    drag = [Poke(size / 2, size / 2, 8.0, 8.0)]
    picture.poke(drag)
    for batch in batches:
        for seed, (part, call) in enumerate((("next_preview", picture.preview), ("next_clip", picture.poke)), start=1):
            start = time.perf_counter()
            call(drag, samples=batch, seed=seed)
            add(part, batch, time.perf_counter() - start)


@torch.no_grad()
def _encoder(way: Way, batches: tuple[int, ...], add: Callable[[str, int, float], None]) -> None:
    recipe = way.model.recipe
    clip = torch.rand(max(batches), recipe.clip.frames + 1, 3, recipe.clip.size, recipe.clip.size)
    tracks = torch.rand(max(batches), recipe.clip.frames, 2, recipe.clip.size, recipe.clip.size)
    for batch in batches:
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=way.precision == "bfloat16"):
            way.model.encode(clip[:batch], tracks[:batch])
        add("encoder", batch, time.perf_counter() - start)


def _ratios(rows: list[Row], lean: str, most: int) -> dict[str, float | None]:
    """Divide medians, or peaks, of the plain engine with a model of the paper's size by those of the lean model."""

    def median(part: str, model: str, batch: int) -> Row | None:
        return next((r for r in rows if (r.part, r.model, r.batch, r.dtype) == (part, model, batch, "float32")), None)

    def ratio(part: str, batch: int, figure: str = "median_ms") -> float | None:
        plain, ours = median(part, PLAIN, batch), median(part, lean, batch)
        if plain is None or ours is None or getattr(plain, figure) is None or getattr(ours, figure) is None:
            return None
        return round(getattr(plain, figure) / getattr(ours, figure), 2)

    names = {1: "one", 5: "five", 8: "eight"}
    return {
        "one_clip": ratio("clip", 1),
        f"{names.get(most, most)}_samples": ratio("clip", most),
        "flow_inverse": ratio("latent_flow_inverse", 1),
        "peak_memory": ratio("clip", 1, "peak_mib"),
    }
