"""Commands run in this process, and what their answers must be like."""

import sys
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

import tiny
from ipoke.cli import program

PICTURE = tiny.MovingSquares(1).clip(0)[0]


class Answer(NamedTuple):
    code: int | str | None
    out: str
    err: str


class Command(Protocol):
    def __call__(self, *words: str | int | Path) -> Answer: ...


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Make a function that runs a command as the console script does."""

    def run(*words: str | int | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["ipoke", *map(str, words)])
        capsys.readouterr()
        code: int | str | None = 0
        try:
            program.main()
        except SystemExit as leaving:
            code = leaving.code
        heard = capsys.readouterr()
        return Answer(code, heard.out, heard.err)

    return run


def files(folder: Path) -> set[str]:
    """Name every file below a folder."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def is_one_line(answer: Answer, *fragments: str) -> bool:
    """Tell whether a mistake was answered as promised: one line on standard error, exit code 2."""
    lines = answer.err.splitlines()
    return (
        answer.code == 2
        and len(lines) == 1
        and lines[0].startswith("ipoke: ")
        and answer.out == ""
        and all(fragment in lines[0] for fragment in fragments)
    )
