"""Run directories: settings, inputs, metrics, checkpoints and pictures of one training, which resumes from them."""

import contextlib
import json
import re
import time
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from ipoke.core.errors import InputError
from ipoke.core.files import append_lines, is_leftover, refuse_links, refuse_pipes, write_text
from ipoke.core.folders import LOCK_FILE, writing_alone
from ipoke.core.json_text import json_text
from ipoke.core.model_files import WEIGHTS_NAME
from ipoke.core.old_settings import upgraded
from ipoke.core.reading.regular import json_of, read_bounded
from ipoke.core.recipe import Recipe
from ipoke.core.settings import stored_recipe

PICTURE = re.compile(r"[a-z_]+-\d{8}\.png")
"""How pictures in samples/ are named: stage and clips seen."""
MOST_NAMED = 3
"""Settings that an error names."""
MOST_INPUT_BYTES = 2**20
"""Of what a run was started with."""


def settings_toml(recipe: Recipe) -> str:
    """Write the keys of a recipe that have an effect as TOML, which `load_recipe` reads back to the same recipe."""
    lines: list[str] = []

    def emit(table: dict[str, Any], prefix: str) -> None:
        scalars = {key: value for key, value in table.items() if value is not None and not isinstance(value, dict)}
        if prefix and scalars:
            lines.append(f"\n[{prefix}]")
        lines.extend(f"{key} = {json_text(value, ascii_only=False)}" for key, value in scalars.items())
        for key, value in table.items():
            if isinstance(value, dict):
                emit(value, f"{prefix}.{key}" if prefix else key)

    emit(recipe.table(), "")
    return "\n".join(lines) + "\n"


class Run:
    """A folder in which a model comes to be: settings.toml, inputs.json, metrics.jsonl, checkpoints/, samples/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / WEIGHTS_NAME
        self.metrics = folder / "metrics.jsonl"
        self.settings = folder / "settings.toml"
        self.inputs = folder / "inputs.json"

    @classmethod
    @contextlib.contextmanager
    def writing(cls, folder: Path, recipe: Recipe, inputs: dict[str, Any]) -> Generator["Run"]:
        """Open a run as the only process that writes it; a mistake before its first step leaves nothing behind.

        Raises:
            InputError: As `open`, or another process writes the run.
        """
        with writing_alone(folder, "run"):
            run = cls.open(folder, recipe, inputs)
            try:
                yield run
            except Exception:
                if not run.metrics.exists() and run.has_learned_nothing():
                    run.forget()
                raise

    @classmethod
    def open(cls, folder: Path, recipe: Recipe, inputs: dict[str, Any]) -> "Run":
        """Start a run, or go on with one that has the same settings and inputs.

        One that has no checkpoint yet is started anew where settings or inputs differ: nothing is lost.

        Raises:
            InputError: The folder holds a run with other settings, or something else.
        """
        run = cls(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file, expected the folder of a run; give another --out")
        refuse_links(folder / "checkpoints", folder / "samples", run.metrics)
        refuse_pipes(run.settings, run.inputs, run.metrics, folder / "plan.json")
        begun = run.has_learned_nothing()
        if not begun and not run.settings.exists():
            raise InputError(f"{folder}: not empty and not a run; give an empty or new folder as --out")
        try:
            run.refuse_difference(recipe, inputs)
        except InputError:
            if not begun:
                raise
            run.forget()
            write_text(run.inputs, json_text(inputs, indent=2) + "\n")
            write_text(run.settings, settings_toml(recipe))
        return run

    def checkpoint(self, stage: str) -> Path:
        """Name the file that holds everything needed to go on with a stage."""
        return self.folder / "checkpoints" / f"{stage}.safetensors"

    def has_learned_nothing(self) -> bool:
        """Tell whether all that is here, if anything, is a run without a checkpoint, or less of one."""
        if not self.folder.exists():
            return True
        names = _names(self.folder)
        if self.settings.name not in names:
            return not names or (names == {self.inputs.name} and "ipoke" in _read_inputs(self.inputs))
        return (
            names <= {self.settings.name, self.inputs.name, self.metrics.name, "plan.json", "samples", "checkpoints"}
            and not _names(self.folder / "checkpoints")
            and all(map(PICTURE.fullmatch, _names(self.folder / "samples")))
            and _is_recipe(self.settings)
        )

    def forget(self) -> None:
        """Remove what a run without a checkpoint consists of."""
        for name in _names(self.folder / "samples"):
            (self.folder / "samples" / name).unlink()
        for folder in ("samples", "checkpoints"):
            with contextlib.suppress(OSError):
                (self.folder / folder).rmdir()
        for file in (self.metrics, self.folder / "plan.json", self.settings, self.inputs):
            file.unlink(missing_ok=True)

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to metrics.jsonl.

        Raises:
            InputError: The disk is full or the folder cannot be written.
        """
        append_lines(self.metrics, json_text({"time": round(time.time(), 3), **row}) + "\n")

    def drop_log_after(self, stage: str, clips: int) -> None:
        """Remove the rows of a stage that a resumed run is about to write again, and what is no row."""
        if not self.metrics.exists():
            return
        text = self.metrics.read_bytes()
        kept = [line for line in text.splitlines(keepends=True) if _stays(line, stage, clips)]
        if b"".join(kept) != text:
            write_text(self.metrics, b"".join(kept).decode())

    def refuse_difference(self, recipe: Recipe, inputs: dict[str, Any]) -> None:
        """Refuse to go on with other settings or inputs than the run was started with; a run that is not there differs.

        Raises:
            InputError: They differ.
        """
        before = _completed(self.settings) if self.settings.exists() else ""
        _refuse_difference(f"{self.folder}: run", before, settings_toml(recipe))
        known = _read_inputs(self.inputs)
        for key in ("clips_sha256", "perceptual_sha256", "start_sha256"):
            if known.get(key) != inputs.get(key):
                raise InputError(
                    f"{self.folder}: run was started with {key} {known.get(key)}, got {inputs.get(key)}; "
                    "give the same data or another --out"
                )


def _names(folder: Path) -> set[str]:
    """Name what is in a folder, but for locks and what killed writers left."""
    entries = folder.iterdir() if folder.exists() else ()
    return {entry.name for entry in entries if entry.name != LOCK_FILE and not is_leftover(entry.name)}


def _is_recipe(path: Path) -> bool:
    try:
        _stored_recipe(path)
    except (InputError, OSError, ValueError):
        return False
    return True


def _stays(line: bytes, stage: str, clips: int) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and (row.get("stage") != stage or row.get("clips", 0) <= clips)


def _read_inputs(path: Path) -> dict[str, Any]:
    try:
        known = json_of(read_bounded(path, MOST_INPUT_BYTES)) if path.exists() else {}
        if not isinstance(known, dict):
            raise ValueError("not a table")
    except ValueError as error:
        raise InputError(f"{path}: cannot read what the run was started with ({error}); restore the file") from error
    return known


def _completed(path: Path) -> str:
    """Read resolved settings of any version as this version writes them."""
    try:
        return settings_toml(_stored_recipe(path))
    except (InputError, ValueError):
        return path.read_text(encoding="utf-8", errors="replace")


def _stored_recipe(path: Path) -> Recipe:
    """Read the settings of a run, of any version."""
    return stored_recipe(upgraded(tomllib.loads(path.read_text(encoding="utf-8")), str(path)), str(path))


def _refuse_difference(what: str, before: str, now: str) -> None:
    """Compare two resolved settings and name the keys that differ, first those that both have."""
    if before == now:
        return
    old, new = _flat(before), _flat(now)
    differing = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    differing.sort(key=lambda key: (key not in old or key not in new, key))
    changes = [f"{key} was {old.get(key, 'unset')}, got {new.get(key, 'unset')}" for key in differing[:MOST_NAMED]]
    if len(differing) > MOST_NAMED:
        changes.append(f"and {len(differing) - MOST_NAMED} more")
    raise InputError(f"{what} was started with other settings: {'; '.join(changes)}; use them again or another --out")


def _flat(text: str) -> dict[str, str]:
    """Read ``section.key`` to written value from resolved settings."""
    section, pairs = "", {}
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif " = " in line:
            key, value = line.split(" = ", 1)
            pairs[section + key] = value
    return pairs
