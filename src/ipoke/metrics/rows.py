"""What was measured, one line per clip, so that an interrupted evaluation goes on and two can be compared in pairs."""

import json
from pathlib import Path
from typing import Any

from ipoke.errors import InputError
from ipoke.files import unwritable
from ipoke.reading import json_of, read_bounded
from ipoke.runs import write_text

LARGEST_ROWS = 2**28
"""Bytes of a file; a row has a few kilobytes."""


class Rows:
    """A file of JSON lines: the first says what is measured, each other is one clip; appended line by line."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        """Open the rows of an evaluation, or begin them.

        Raises:
            InputError: The file holds rows of another evaluation, or cannot be written.
        """
        self.path = path
        self.by_clip: dict[int, dict[str, Any]] = {}
        if path.exists():
            self._take(facts)
        else:
            write_text(path, json.dumps(facts) + "\n")

    def add(self, clip: int, row: dict[str, Any]) -> None:
        """Append a clip's row."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"clip": clip, **row}) + "\n")
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.by_clip[clip] = row

    def _take(self, facts: dict[str, Any]) -> None:
        lines = _read(self.path)
        if not lines or lines[0] != facts:
            before = lines[0] if lines else {}
            name = next(iter(sorted(key for key in facts if facts[key] != before.get(key))), "something")
            raise InputError(
                f"{self.path}: holds rows measured with {name} {before.get(name)}, not {facts.get(name)}; "
                "choose another --out"
            )
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self.by_clip = {line.pop("clip"): line for line in lines[1:]}


def read_rows(path: Path) -> dict[int, dict[str, Any]]:
    """Read the rows of an evaluation by the numbers of their clips.

    Raises:
        InputError: No rows of an evaluation are there.
    """
    return {line.pop("clip"): line for line in _read(path)[1:]}


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        text = read_bounded(path, LARGEST_ROWS, "evaluation").decode("utf-8")
        # A line that a kill cut off has no end.
        rows = [json_of(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        if not all(isinstance(row, dict) for row in rows) or not all(type(row.get("clip")) is int for row in rows[1:]):
            raise ValueError("rows without the number of a clip")
        return rows
    except ValueError as error:
        raise InputError(f"{path}: not the rows of an evaluation ({error}); choose another --out") from error
