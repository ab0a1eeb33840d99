"""The file of a bench: written after every step, marked as partial until the end, so that the same command resumes."""

import json
import time
from pathlib import Path
from typing import Any

from ipoke.evaluation.bench.machine import describe
from ipoke.evaluation.bench.results import save

MINUTES = 5.0
"""Time that a bench takes, where nothing else is asked for."""


class Clock:
    """The time that is left of a number of minutes."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    @property
    def is_over(self) -> bool:
        """Whether the minutes are over; what has begun is finished all the same."""
        return time.monotonic() >= self._end


class Kept:
    """What a command has measured, by name; in memory alone where no file is given.

    A file of the same command, version and machine that is still partial is taken up; any other is replaced.
    """

    def __init__(self, path: Path | None = None, command: str = "ipoke bench") -> None:
        self._path, self._command = path, command
        self.measured: dict[str, Any] = self._found()

    def _found(self) -> dict[str, Any]:
        if self._path is None or not self._path.is_file():
            return {}
        try:
            earlier = json.loads(self._path.read_text(encoding="utf-8"))
            same = earlier["command"] == self._command and earlier["machine"] == describe()
            return earlier["measured"] if same and earlier["complete"] is False else {}
        except (KeyError, TypeError, ValueError):
            return {}

    def write(self, result: dict[str, Any]) -> None:
        """Write the result so far; with all that was measured, unless it is complete."""
        if self._path is not None:
            partial = {} if result["complete"] else {"measured": self.measured}
            save(self._path, {**result, **partial}, self._command)
