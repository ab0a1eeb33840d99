"""Rows of an evaluation, one per clip: they let it resume, and let two evaluations be compared clip by clip."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipoke.core.errors import InputError
from ipoke.core.files import append_lines, refuse_links, refuse_pipes, write_text
from ipoke.core.json_text import json_text
from ipoke.core.reading.regular import json_of, read_bounded

LARGEST_ROWS = 2**28
"""Bytes of a file of rows; one row has a few kilobytes."""
OLD_FACTS = {"reaches": "guidance"}
"""Facts by their names in files of 0.1.0, and as they are named now."""


class Rows:
    """A file of JSON lines, created with the first rows: a header of facts on the evaluation, then a row per clip."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        """Open the rows of an evaluation, if there are any; a file with a header alone counts as none.

        Raises:
            InputError: The file holds rows of another evaluation, or something else.
        """
        self.path, self.facts = path, facts
        self.by_clip: dict[int, dict[str, Any]] = {}
        refuse_links(path)
        refuse_pipes(path)
        lines = _read(path) if path.exists() else []
        if lines and lines[0] != facts and (len(lines) > 1 or lines[0].get("format") != facts.get("format")):
            name = next(iter(sorted(key for key in facts if facts[key] != lines[0].get(key))), "something")
            raise InputError(
                f"{self.path}: holds rows measured with {name} {lines[0].get(name)}, not {facts.get(name)}; "
                "choose another --out"
            )
        self._is_begun = len(lines) > 1
        self.by_clip = {line.pop("clip"): line for line in lines[1:]}

    def add(self, measured: Mapping[int, dict[str, Any]]) -> None:
        """Append the rows of clips: all of them or none.

        Raises:
            InputError: The disk is full or the folder is read-only.
        """
        lines = "".join(json_text({"clip": clip, **row}) + "\n" for clip, row in measured.items())
        if self._is_begun:
            append_lines(self.path, lines)
        else:
            write_text(self.path, json_text(self.facts) + "\n" + lines)
        self._is_begun = True
        self.by_clip |= measured


def read_rows(path: Path) -> dict[int, dict[str, Any]]:
    """Read the rows of an evaluation by the numbers of their clips.

    Raises:
        InputError: The file does not hold the rows of an evaluation.
    """
    return {line.pop("clip"): line for line in _read(path)[1:]}


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        text = read_bounded(path, LARGEST_ROWS, "evaluation").decode("utf-8")
        # A line without an end was cut off by a kill.
        rows = [json_of(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        if not all(isinstance(row, dict) for row in rows) or not all(type(row.get("clip")) is int for row in rows[1:]):
            raise ValueError("rows without the number of a clip")
        return [{OLD_FACTS.get(key, key): value for key, value in row.items()} for row in rows[:1]] + rows[1:]
    except ValueError as error:
        raise InputError(f"{path}: not the rows of an evaluation ({error}); choose another --out") from error
