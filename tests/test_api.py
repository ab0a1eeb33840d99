"""The reference is what the code says of itself, and its examples run."""

import doctest
from pathlib import Path

import pytest

import api_page
import commands
from ipoke.cli.app import app

FEWER = {
    "train": "--set train.autoencoder.clips=8 --set train.image_encoder.clips=8 --set train.poke_encoder.clips=8 "
    "--set train.latent_flow.clips=8",
    "scenes": "--workers 1",
    "evaluate": "--most 1 --calibrated 1",
    "table": "--most 1 --calibrated 1",
    "calibrate": "--most 1",
    "figure samples": "--most 1",
}
"""What the examples of commands are given here to take seconds."""
NOT_HERE = ("serve", "bench", "import-official", "prepare")
"""Commands that serve for ever, measure for minutes, or need files of others; only their words are read."""


def test_the_page_is_up_to_date() -> None:
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run: make api"


def test_every_name_has_an_example() -> None:
    methods = [getattr(kind, name) for kind, names in api_page.CLASSES.items() for name in names]
    known = [*api_page.FUNCTIONS, *methods, *api_page.CLASSES, *api_page.VALUES]
    finder = doctest.DocTestFinder(recurse=False)
    lacking = [one for one in known if not any(test.examples for test in finder.find(one, one.__qualname__))]
    assert lacking == []


def test_every_command_has_an_example() -> None:
    there = {name for name in app if not name.startswith("-") and app[name].show}
    assert {name.split()[0] for name in api_page.EXAMPLES} == there


@pytest.mark.parametrize("name", api_page.EXAMPLES)
def test_the_words_of_an_example_are_a_command(name: str) -> None:
    program, *words = api_page.EXAMPLES[name].split()
    assert program == "ipoke"
    called, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert name.split()[-1].replace("-", "_") in repr(called)


@pytest.mark.slow
def test_the_examples_of_commands_run(ipoke: commands.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, example in api_page.EXAMPLES.items():
        if name not in NOT_HERE:
            answer = ipoke(*example.split()[1:], *FEWER.get(name, "").split())
            assert answer.code == 0, (example, answer.err)
