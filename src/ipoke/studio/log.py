"""What the server says to whoever runs it: no more than a person can read, whatever visitors do."""

import logging
import time
from collections.abc import Callable
from typing import TextIO

LINES, MINUTE_S = 20, 60.0
"""So many messages in such a time."""
LONGEST = 2000
"""Characters of a message."""
NAMES = ("uvicorn", "asyncio", "ipoke.studio")


class Sparing(logging.Handler):
    """Writes a few messages a minute, and says how many it left out.

    Args:
        stream: Where they go.
        clock: Seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._stream, self._clock = stream, clock
        self._began, self._count = clock(), 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, or count it."""
        if self._clock() - self._began >= MINUTE_S:
            self.flush()
            self._began, self._count = self._clock(), 0
        self._count += 1
        if self._count <= LINES:
            self._write(self.format(record))

    def flush(self) -> None:
        """Say how many were left out."""
        if self._count > LINES:
            self._write(f"{self._count - LINES} more messages of this minute were left out")
            self._count = 0

    def _write(self, text: str) -> None:
        kept = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text[:LONGEST])
        try:
            self._stream.write(f"{kept}\n")
            self._stream.flush()
        except (OSError, ValueError):  # there is nobody left to tell
            return


def log_sparingly(stream: TextIO) -> None:
    """Let everything that the server logs go through one such handler."""
    handler = Sparing(stream)
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
