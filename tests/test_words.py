"""The words of 0.1.0 that the glossary replaced do not come back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENDINGS = {".py", ".md", ".toml", ".html", ".js", ".css", ".c"}
HISTORY = {"docs/experiments.md", "docs/glossary.md"}
"""Pages that tell what earlier versions did or how they named it."""
OLD_WORDS = {
    r"as[ _-]drawn": "unguided",
    r"pulled (until|all the way)": "guided",
    r"pulls? a place": "drag a point",
    r"affinity|affinities": "motion correlation",
    r"moves? along with": "motion correlation",
    r"says[ _]motion": "predicts motion",
    r"wholeness": "continuity mask",
    r"(painting|moving)[ _]?decoder": "SPADE decoder, warp decoder",
    r"beaten track": "extreme residuals",
    r"dares less": "more conservative motion",
    r"nursery": "fork server",
    r"same mood": "same seed",
}
"""Patterns, without regard to case, and what is written instead."""
ALIASES = {
    "src/ipoke/cli/program.py": ['"--as-drawn": "--unguided"'],
    "src/ipoke/cli/use.py": ['name="affinity"'],
    "src/ipoke/sampling/model.py": ["affinity = motion_correlation"],
    "src/ipoke/studio/server.py": ['"/api/affinity"'],
}
"""Names of 0.1.0 that are still accepted."""


def pages() -> Iterator[Path]:
    """Iterate over the sources and the documentation."""
    yield ROOT / "README.md"
    for folder in ("src", "docs", "benchmarks"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in ENDINGS and file.relative_to(ROOT).as_posix() not in HISTORY:
                yield file


def old_words(name: str, text: str) -> Iterator[str]:
    """Find old words in a text, with their lines and what to write instead."""
    for alias in ALIASES.get(name, ()):
        text = text.replace(alias, "")
    for pattern, better in OLD_WORDS.items():
        for found in re.finditer(rf"(?<![a-z])({pattern})(?![a-z])", text, re.IGNORECASE):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{name}:{line}: {found[0]!r}; write {better}"


def test_old_words_are_gone() -> None:
    found = [one for page in pages() for one in old_words(page.relative_to(ROOT).as_posix(), page.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Samples as drawn, or pulled until they arrive.", 2),
        ("def motion_affinity(): ...", 1),
        ("class PaintingDecoder, class MovingDecoder, says_motion", 3),
        ("The guided samples follow the drag; a nurseryman is no offender.", 0),
    ],
)
def test_a_planted_old_word_is_found(text: str, count: int) -> None:
    assert len(list(old_words("docs/page.md", text))) == count


def test_aliases_are_allowed_in_their_files_alone() -> None:
    for name, aliases in ALIASES.items():
        content = (ROOT / name).read_text("utf-8")
        for alias in aliases:
            assert alias in content, f"{name}: the alias {alias} is gone; take it out of this list"
            assert list(old_words("docs/page.md", alias))
