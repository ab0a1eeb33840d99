"""Logging with a limited rate, so that visitors cannot flood the log."""

import logging
import time
from collections.abc import Callable
from typing import TextIO

LINES, MINUTE_S = 20, 60.0
"""Most messages in an interval, and the interval."""
LONGEST = 2000
"""Longest message, characters."""
NAMES = ("uvicorn", "asyncio", "ipoke.studio")


class RateLimitedHandler(logging.Handler):
    """Writes at most `LINES` messages per minute, and the number of those dropped.

    Args:
        stream: The output.
        clock: Gives seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._stream, self._clock = stream, clock
        self._began, self._count = clock(), 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, or count it as dropped."""
        if self._clock() - self._began >= MINUTE_S:
            self.flush()
            self._began, self._count = self._clock(), 0
        self._count += 1
        if self._count <= LINES:
            self._write(self.format(record))

    def flush(self) -> None:
        """Write the number of dropped messages."""
        if self._count > LINES:
            self._write(f"{self._count - LINES} more messages of this minute were dropped")
            self._count = 0

    def _write(self, text: str) -> None:
        kept = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text[:LONGEST])
        try:
            self._stream.write(f"{kept}\n")
            self._stream.flush()
        except (OSError, ValueError):  # the output is closed
            return


def limit_log_rate(stream: TextIO) -> None:
    """Send all log messages of the server through one `RateLimitedHandler` handler."""
    handler = RateLimitedHandler(stream)
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
