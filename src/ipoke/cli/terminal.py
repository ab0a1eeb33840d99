"""The terminal: lines of text, progress bars on standard error, and a graceful stop on Ctrl-C."""

import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ipoke.core.errors import printable
from ipoke.core.recipe import STAGES

LINE_EVERY_S = 60.0
"""Seconds between lines of progress where standard error is not a terminal."""


class Lines(Console):
    """A console for lines of text; control characters in file names and contents are escaped."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print text; escape control characters, and characters that the stream's encoding lacks."""
        super().print(*(self._shown(one) if isinstance(one, str) else one for one in objects), **options)

    def _shown(self, text: str) -> str:
        return printable(text).encode(self.encoding, "backslashreplace").decode(self.encoding)


out = Lines()
"""Standard output: the results of a command."""
err = Lines(stderr=True)
"""Standard error: progress and errors."""


def is_watched() -> bool:
    """Tell whether standard error is a terminal, which can show bars."""
    return sys.stderr.isatty()


@contextmanager
def progress_bar(what: str) -> Generator[Callable[[int, int], None]]:
    """Show a progress bar; the yielded function updates it: (done, total)."""
    with _bars() as bars:
        task = bars.add_task(printable(what), total=None)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield report


class TrainingView:
    """A progress bar with losses per training stage; without a terminal, a line per minute."""

    def __init__(self) -> None:
        self._bars = _bars(TextColumn("{task.fields[figures]}", markup=False))
        self._tasks: dict[str, TaskID] = {}
        self._last_line = 0.0

    def __enter__(self) -> "TrainingView":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def progress(self, stage: str, clips: int, total: int, figures: dict[str, float]) -> None:
        """Update the bar of a stage, or print a line."""
        shown = {name: value for name, value in figures.items() if not name.startswith("gradient_norm")}
        text = " ".join(f"{name} {value:.3g}" for name, value in shown.items())
        if stage not in self._tasks:
            title = f"{STAGES.index(stage) + 1}/{len(STAGES)} {stage}" if stage in STAGES else stage
            self._tasks[stage] = self._bars.add_task(title, total=total, completed=clips, figures="")
        self._bars.update(self._tasks[stage], completed=clips, figures=text)
        if not is_watched() and (time.monotonic() - self._last_line > LINE_EVERY_S or clips >= total):
            self._last_line = time.monotonic()
            err.print(f"{stage} {clips}/{total} {text}")

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        err.print(text)


def _bars(*columns: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *columns,
        console=err,
        disable=not is_watched(),
    )


@contextmanager
def stop_requests() -> Generator[Callable[[], bool]]:
    """Let the yielded function report the first Ctrl-C or SIGTERM; the second one kills the process."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked = True
        err.print("stopping after this step; press Ctrl-C again to kill")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
