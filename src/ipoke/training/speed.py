"""How fast a stage learns on this machine: a few real steps, from random weights, timed."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

from ipoke.core.runs import Run
from ipoke.data.batches import Batch
from ipoke.training.loop import Loop
from ipoke.training.parallel import Workers
from ipoke.training.stage import Stage, StepContext


class Timed(NamedTuple):
    """What some steps took."""

    clips: int
    seconds: float
    waited: float
    """Seconds in which a step had to wait for its data."""

    @property
    def clips_per_s(self) -> float:
        """How many clips were learned from per second."""
        return self.clips / self.seconds


class _Silent:
    def progress(self, stage: str, clips: int, total: int, figures: dict[str, float]) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


def timed_steps(loop: Loop, batches: Iterator[Batch], seconds: float) -> Timed:
    """Take steps for some seconds, at least one, after one that is not counted; nothing is written."""
    stage, batch = loop.stage, loop.stage.settings.batch
    first = _moved(next(batches), stage.device)
    stage.begin(first, StepContext(0, 0.0, torch.Generator().manual_seed(0)))
    loop.step(first)
    _finished(stage.device)
    begun, clips, waited = time.perf_counter(), 0, 0.0
    while clips == 0 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        given = next(batches)
        waited += time.perf_counter() - start
        loop.step(_moved(given, stage.device))
        loop.clips += batch
        loop.average.update(stage.players[loop.kept], clips=loop.clips, batch=batch)
        clips += batch
    _finished(stage.device)
    return Timed(clips, time.perf_counter() - begun, waited)


def bare_loop(stage: Stage, run: Run) -> Loop:
    """Make a loop that only takes steps."""
    return Loop(
        stage,
        run,
        seed=0,
        checkpoint_every_clips=10**9,
        sample_every_clips=10**9,
        workers=Workers.alone(),
        reporter=_Silent(),
        should_stop=lambda: False,
    )


def _moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(part.to(device) for part in batch))


def _finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
