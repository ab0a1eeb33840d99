"""The tutorial does what it says: its blocks run in order, with fewer clips."""

import re
import shlex
from pathlib import Path

import pytest

import commands
from ipoke.data.video import read_frames

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STAGES = ("autoencoder", "image_encoder", "poke_encoder", "latent_flow")
FEWER = " ".join(f"--set train.{stage}.clips=8" for stage in STAGES)
REPLACED = {"range(40)": "range(6)", "--set budget.hours=0.1": FEWER, "--most 8": "--most 2"}
"""What takes minutes on the page, and takes seconds here."""


def blocks(page: str) -> list[tuple[str, str]]:
    """List the code blocks of a page, each with its language."""
    return [(language, code) for language, code in BLOCK.findall(page)]


@pytest.mark.slow
def test_the_tutorial_runs(ipoke: commands.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    for whole, part in REPLACED.items():
        assert page.count(whole) == 1, whole
        page = page.replace(whole, part)
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, str(PAGE), "exec"), {})
            continue
        for line in code.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "ipoke"
            assert ipoke(*arguments).code == 0, line
    played = list(read_frames("poked.webp"))
    assert played[0].shape[2] == 3
    assert len(played) >= 11
    assert (tmp_path / "report" / "report.md").is_file()


def test_every_block_of_the_tutorial_is_run() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(blocks(page)) == page.count("```") / 2 == 5
