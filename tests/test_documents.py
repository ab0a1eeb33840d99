"""What every Markdown file keeps: lines that fit a screen, links that lead somewhere, files and symbols that exist."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ipoke.cli import program
from test_theory import check_symbols

PROJECT = Path(__file__).parents[1]
LONGEST_LINE = 120
FOLDERS = ("docs", "models", "benchmarks", "src", "tests", ".github")
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *(file for folder in FOLDERS for file in (PROJECT / folder).rglob("*.md"))])
HISTORY = ("CHANGELOG.md",)
"""What tells of earlier versions names files that are gone."""
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE_FILE = re.compile(r"`(?:[^`\n]* )?((?:[\w.-]+/)*[\w-]+\.(?:py|c|js))(?:::[^`\n]*)?`")
NOTEBOOK = "experiments.md"
ENTRY = re.compile(r"### .+\n\n\d{4}-\d\d-\d\d(?:.|\n)*\n\|(?:.|\n)*\n\n\*\*Verdict\*\*: .+\n(?:\n(?:.|\n)*)?")
SAVED_FILE = re.compile(r"\bSave this as `([\w.-]+)`")
COMMAND = re.compile(r"(?<![\w./-])ipoke [a-z][^\n]*")


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is neither in a table nor in a block of code."""
    without_fences = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    is_list = False
    for number, line in enumerate(without_fences.splitlines(), 1):
        if line.strip() and not line.startswith(" "):
            is_list = bool(re.match(r"[-*]|\d+\.", line))
        is_indented_code = line.startswith("    ") and not is_list
        if not line.startswith("|") and not is_indented_code:
            yield number, line


def check_lengths(path: Path, text: str) -> Iterator[str]:
    """Name the lines of prose that are longer than a screen is wide."""
    for number, line in prose_lines(text):
        if len(line) > LONGEST_LINE:
            yield f"{path}:{number}: {len(line)} columns"


def check_links(path: Path, text: str) -> Iterator[str]:
    """Name the relative links that lead to no file, and the anchors that lead to no heading."""
    for target in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if name and not file.exists():
            yield f"{path}: {target}: no such file"
        elif anchor and anchor not in anchors_of(text if file == path else file.read_text(encoding="utf-8")):
            yield f"{path}: {target}: no such heading"


def anchors_of(text: str) -> set[str]:
    """Derive the anchor of every heading, as GitHub does: a repeated one gets a number."""
    counts: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        anchors.add(f"{anchor}-{counts[anchor]}" if counts[anchor] else anchor)
        counts[anchor] += 1
    return anchors


def check_files(path: Path, text: str) -> Iterator[str]:
    """Name the source files in backticks that end no path of the project, and that no reader is asked to save."""
    files = set() if path.name in HISTORY else set(SOURCE_FILE.findall(text)) - set(SAVED_FILE.findall(text))
    for name in sorted(files):
        if not any(f"/{file}".endswith(f"/{name}") for file in source_files()):
            yield f"{path}: {name}: no such file"


def source_files() -> list[str]:
    """List the files of the project that a document may name, relative to it."""
    folders = ("src", "tests", "benchmarks")
    return [file.relative_to(PROJECT).as_posix() for folder in folders for file in (PROJECT / folder).rglob("*.*")]


def check_names(path: Path, text: str) -> Iterator[str]:
    """Name the dotted symbols of the package that are not there."""
    if path.name not in HISTORY:
        yield from (f"{path}: {offence}" for offence in check_symbols(text))


def check_glossary(path: Path, text: str) -> Iterator[str]:
    """Name the words of columns "in the code" that no source file holds."""
    column = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "in the code" in cells:
            column = cells.index("in the code")
        elif not line.startswith("|"):
            column = None
        elif column is not None:
            words = set(re.findall(r"\w+", " ".join(CODE.findall(cells[column]))))
            yield from (f"{path}: {cells[0]}: {word}: not in the code" for word in sorted(words - words_of_source()))


@cache
def words_of_source() -> set[str]:
    """Collect every word of the package's source files and of their names."""
    files = [file for ending in ("py", "js", "toml") for file in (PROJECT / "src").rglob(f"*.{ending}")]
    return {word for file in files for word in re.findall(r"\w+", f"{file} {file.read_text(encoding='utf-8')}")}


def check_notebook(path: Path, text: str) -> Iterator[str]:
    """Name the entries of the lab notebook that are not a dated question with a table and a verdict of one line."""
    if path.name == NOTEBOOK:
        for entry in re.split(r"^(?=#{2,3} )", text, flags=re.MULTILINE):
            if entry.startswith("### ") and not ENTRY.fullmatch(entry):
                yield f"{path}: {entry.splitlines()[0]}: expected a date, a table and **Verdict** in one line"


def check_commands(path: Path, text: str) -> Iterator[str]:
    """Name the commands in code that ipoke does not have, and their options that it does not take."""
    code = "\n".join([*CODE.findall(text), *FENCE.findall(text), *re.findall(r"^ {4}.*$", text, re.MULTILINE)])
    for line in COMMAND.findall(code) if path.name not in HISTORY else ():
        name, *words = line.strip("`").split()[1:]
        options = options_of(name, words[0] if words else "")
        if options is None:
            yield f"{path}: ipoke {name}: no such command"
        else:
            unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
            yield from (f"{path}: ipoke {name} {word}: no such option" for word in unknown)


@cache
def options_of(name: str, kind: str) -> set[str] | None:
    """List the options of a command, or of one kind of figure; none if there is no such command."""
    if name not in program.app:
        return None
    command = program.app[name]
    if name == "figure":
        if kind not in command:
            return set()
        command = command[kind]
    return {"--help", *(option for argument in command.assemble_argument_collection() for option in argument.names)}


CHECKS = [check_lengths, check_links, check_files, check_names, check_glossary, check_notebook, check_commands]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_the_document_keeps_the_rule(check, path: Path) -> None:
    assert list(check(path, path.read_text(encoding="utf-8"))) == []


def test_the_documents_are_found() -> None:
    names = {path.relative_to(PROJECT).as_posix() for path in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "docs/theory.md", "docs/glossary.md", "models/README.md"} <= names


LONG = "word " * 25


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (check_lengths, LONG),
        (check_lengths, f"- a point\n\n  {LONG}"),
        (check_lengths, f"1. a point\n    {LONG}"),
        (check_lengths, f"```\ncode\n```\n{LONG}"),
        (check_links, "[a page](nowhere.md)"),
        (check_links, "[a heading](#nowhere)\n\n# Somewhere"),
        (check_links, "[a heading of another page](docs/theory.md#nowhere)"),
        (check_links, "![a picture](docs/nothing.svg)"),
        (check_links, "[twice](#again-2)\n\n# Again\n\n# Again"),
        (check_links, "[code](#in-code)\n\n```\n# In code\n```"),
        (check_files, "`nowhere.py`"),
        (check_files, "`training/model.py`"),
        (check_files, "see `python benchmarks/nowhere.py`"),
        (check_files, "`nothing.c` and `nothing.js`"),
        (check_names, "`ipoke.nowhere.Nothing`"),
        (check_glossary, "| term | in the code |\n|---|---|\n| a poke | `Poke`, `Pokelike` |"),
        (check_commands, "`ipoke push photo.jpg`"),
        (check_commands, "as in\n\n    ipoke poke photo.jpg --pull 1,2,3,4"),
        (check_commands, "`ipoke figure samples run clips --pull`"),
        (check_commands, "```\nWEIGHTS=w python -m ipoke train clips --recipes x\n```"),
    ],
)
def test_a_planted_offender_is_found(check, text: str) -> None:
    assert list(check(PROJECT / "PLANTED.md", text))


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (check_lengths, f"| {LONG} |"),
        (check_lengths, f"```\n{LONG}\n```"),
        (check_lengths, f"as in\n\n    {LONG}"),
        (check_links, "[a page](docs/theory.md) [elsewhere](https://example.org/nothing) `[code](nowhere.md)`"),
        (check_links, "[twice](#again-1)\n\n# Again\n\n# Again"),
        (check_links, "[code](#how-code-reads-and-why)\n\n## How `code` reads, and why"),
        (check_files, "`sampling/model.py`, `model.py` and `python src/ipoke/__main__.py`"),
        (check_files, "Save this as `mine.py`. Run `python mine.py`."),
        (check_names, "`ipoke.data.poke.Poke` and `ipoke train`"),
        (check_commands, "`ipoke poke --replay=x.json`, `ipoke figure samples run --out x`, ipoke push, `ipoke.push`"),
        (check_glossary, "| term | in the code |\n|---|---|\n| a poke | `Poke` |\n\n| term |\n|---|\n| `Pokelike` |"),
    ],
)
def test_what_is_right_is_not_found(check, text: str) -> None:
    assert list(check(PROJECT / "PLANTED.md", text)) == []


VERDICT = "**Verdict**: yes.\n"
TABLE = "| a |\n|---|\n| 1 |\n"


def test_an_entry_of_the_notebook_is_dated_and_has_a_table_and_a_verdict() -> None:
    notebook = PROJECT / "docs" / NOTEBOOK
    whole = f"### Why?\n\n2026-11-23. How.\n\n{TABLE}\n{VERDICT}"
    assert list(check_notebook(notebook, f"## Theme\n\n{whole}\n{whole}")) == []
    for part in ("2026-11-23. ", TABLE, VERDICT):
        assert len(list(check_notebook(notebook, f"{whole}\n{whole.replace(part, '')}\n{whole}"))) == 1
    assert list(check_notebook(notebook, whole.replace("yes.", "yes,\nand no.")))


def test_history_may_name_what_is_gone() -> None:
    text = "`reach.py` and `ipoke.reach`"
    assert not [*check_files(PROJECT / "CHANGELOG.md", text), *check_names(PROJECT / "CHANGELOG.md", text)]
