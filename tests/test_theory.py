"""What docs/theory.md names is there: symbols of the package, tests, and recipe keys with the defaults it claims."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from ipoke.core.recipe import Recipe
from ipoke.core.sections import DecoderSettings, WarpDecoderSettings
from ipoke.core.settings import load_recipe

PROJECT = Path(__file__).parents[1]
TEXT = (PROJECT / "docs" / "theory.md").read_text(encoding="utf-8")
FILE_ENDINGS = ("py", "md", "toml")
CODE = re.compile(r"`([^`\n]+)`")
ASSIGNED = re.compile(r"([a-z0-9_]+(?:\.[a-z0-9_]+)+)(?: = (.+))?")
BARE = re.compile(r"(?<!latent[ -])(?<!optical[ -])(?<!backward[ -])\bflows?\b", re.IGNORECASE)
NUMBERED = [
    *(f"Eq. {n}" for n in range(1, 10)),
    *(f"Fig. {n}" for n in range(1, 10)),
    *(f"Table {n}" for n in (1, 2, 3)),
]
LEAN = ("lean-64", "lean-128", "tiny-64")
CHANGES_NO_RESULT = {"name", "train.checkpoint_every_clips", "train.sample_every_clips"}
SECTIONS = ["Sec. 3", "Sec. 3.1", "Sec. 3.2", "Sec. 3.3", "Sec. 4.1", "Sec. 4.3"]


def check_symbols(text: str) -> Iterator[str]:
    """Name the symbols that cannot be found, or that are defined elsewhere."""
    for name in re.findall(r"`(ipoke(?:\.\w+)+)`", text):
        try:
            found, module = resolved(name)
        except (ImportError, AttributeError) as error:
            yield f"{name}: {error}"
            continue
        home = getattr(found, "__module__", module)
        if isinstance(home, str) and home.startswith("ipoke") and home != module:
            yield f"{name}: is defined in {home}"


def resolved(name: str) -> tuple[object, str]:
    """Import the longest module that a dotted name starts with, and look the rest up in it."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        module = ".".join(parts[:split])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not (module == error.name or module.startswith(f"{error.name}.")):
                raise
            continue
        for part in parts[split:]:
            found = getattr(found, part)
        return found, module
    raise ImportError(f"no module {name}")


def check_tests(text: str) -> Iterator[str]:
    """Name the tests that are not defined in the file that is named."""
    for span in CODE.findall(text):
        if span.startswith("tests/") and "::" in span:
            file, *names = span.split("::")
            if "::".join(names) not in defined_tests(PROJECT / file):
                yield f"{span}: no such test"
        elif span.startswith("tests/") and not (PROJECT / span).exists():
            yield f"{span}: no such file"


@cache
def defined_tests(file: Path) -> set[str]:
    """List the test functions of a file, those of classes as ``Class::test``."""
    if not file.is_file():
        return set()
    tests = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            tests.add(node.name)
        elif isinstance(node, ast.ClassDef):
            tests |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return {test for test in tests if test.rpartition("::")[2].startswith("test_")}


def check_keys(text: str) -> Iterator[str]:
    """Name the dotted words that are no recipe keys, values that a key refuses, and defaults that are others."""
    for match in CODE.finditer(text):
        assigned = ASSIGNED.fullmatch(match[1])
        if assigned is None or match[1].startswith("ipoke.") or match[1].rpartition(".")[2] in FILE_ENDINGS:
            continue
        try:
            section, key = located(assigned[1])
            given = None if assigned[2] is None else read_value(section, key, assigned[2])
        except (KeyError, tomllib.TOMLDecodeError, ValidationError) as error:
            yield f"{match[1]}: {error}"
            continue
        default = getattr(section, key)
        is_claimed = text[match.end() :].startswith(" (the default)")
        if assigned[2] is not None and is_claimed != (given == default):
            yield f"{match[1]}: the default is {default!r}"
        elif assigned[2] is None and is_claimed:
            yield f"{match[1]}: claims a default without its value"


def located(dotted: str) -> tuple[BaseModel, str]:
    """Find the section of the default recipe that holds a key."""
    section: BaseModel = Recipe()
    *parents, key = dotted.split(".")
    for parent in parents:
        if parent not in type(section).model_fields or not isinstance(getattr(section, parent), BaseModel):
            raise KeyError(f"no section {parent}")
        section = getattr(section, parent)
    if isinstance(section, DecoderSettings) and key in WarpDecoderSettings.model_fields and key != "kind":
        section = section if key in type(section).model_fields else WarpDecoderSettings()
    if key not in type(section).model_fields:
        raise KeyError(f"no key {key}")
    return section, key


def read_value(section: BaseModel, key: str, text: str) -> object:
    """Read a value as a recipe would."""
    field = type(section).model_fields[key].rebuild_annotation()
    return TypeAdapter(field).validate_python(tomllib.loads(f"value = {text}")["value"])


def check_names(text: str) -> Iterator[str]:
    """Name the places where a flow is called just that: optical or of latents?"""
    prose = CODE.sub("", text)
    for match in BARE.finditer(" ".join(prose.split())):
        yield f"bare {match[0]}"


def check_mathematics(text: str) -> Iterator[str]:
    """Name the lines whose inline mathematics does not end, or has an escape that Markdown takes for its own."""
    prose = re.sub(r"^```math\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in CODE.sub("", prose).splitlines():
        if line.count("$") % 2:
            yield f"{line}: an odd number of $"
        elif re.search(r"\\[^a-zA-Z]", "".join(line.split("$")[1::2])):
            yield f"{line}: an escape that Markdown takes"


def check_rows(text: str) -> Iterator[str]:
    """Name the equations, figures, tables and sections of the paper without a row, and rows that say too little."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    numbers = {label for row in rows for label in labels(row[0])}
    yield from (f"{label}: has no row" for label in (*NUMBERED, *SECTIONS) if label not in numbers)
    for row in rows:
        if any(not cell.strip() for cell in row):
            yield f"{row[0]}: has an empty cell"
        if (
            any(label.startswith("Eq.") for label in labels(row[0]))
            and "tests/" not in row[-1]
            and "as Eq." not in row[-1]
        ):
            yield f"{row[0]}: names no test"


def labels(cell: str) -> set[str]:
    """Read the labels at the start of a row: "Fig. 3, 4, 5" are three."""
    match = re.match(r"\s*(Eq\.|Fig\.|Table|Sec\.) ([\d.]+(?:, [\d.]+)*)", cell)
    return {f"{match[1]} {number}" for number in match[2].split(", ")} if match else set()


def check_lean_recipes(text: str) -> Iterator[str]:
    """Name the keys that the lean recipes change and section 3 does not speak of; one training stage speaks for all."""
    spoken = {stage_free(span.partition(" = ")[0]) for span in CODE.findall(text.partition("## 3.")[2])}
    defaults = dict(leaves(Recipe()))
    for name in LEAN:
        for key, value in leaves(load_recipe(name)):
            told = stage_free(key) in spoken or any(key.startswith(f"{section}.") for section in spoken)
            if value != defaults.get(key) and key not in CHANGES_NO_RESULT and not told:
                yield f"{name}: {key} differs from the default and is not spoken of"


def leaves(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """List the keys of a recipe with their values."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def stage_free(key: str) -> str:
    """Leave the stage out of a key of a training stage."""
    return re.sub(r"^train\.\w+\.(?=\w)", "train.", key)


CHECKS = [check_lean_recipes, check_symbols, check_tests, check_keys, check_names, check_mathematics, check_rows]


@pytest.mark.parametrize("check", CHECKS)
def test_the_document_keeps_its_word(check) -> None:
    assert list(check(TEXT)) == []


def test_enough_is_named_for_the_checks_to_mean_something() -> None:
    assert len(set(re.findall(r"`ipoke\.[\w.]+`", TEXT))) > 40
    assert len({span for span in CODE.findall(TEXT) if "::" in span}) > 40
    assert TEXT.count("(the default)") > 25


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (check_symbols, "`ipoke.networks.latent_flow.LatentFlow.to_residuals`"),
        (check_symbols, "`ipoke.latent_flows.LatentFlow`"),
        (check_symbols, "`ipoke.nowhere`"),
        (check_symbols, "`ipoke.networks.latent_flow.ActNorm`"),
        (check_tests, "`tests/networks/test_latent_flow.py::test_that_is_not_there`"),
        (check_tests, "`tests/networks/test_latent_flow.py::build`"),
        (check_tests, "`tests/test_latent_flows.py::test_wrong_sizes_are_refused`"),
        (check_tests, "`tests/cli/test_cli.py::test_every_command_explains_itself`"),
        (check_tests, "`tests/test_nothing.py`"),
        (check_keys, "`augment.rotate_vector`"),
        (check_keys, "`augmentation.rotate_vectors`"),
        (check_keys, "`latent_channels.size`"),
        (check_keys, '`augment.interpolation = "cubic"`'),
        (check_keys, "`augment.hue = -0.15 to 0.30`"),
        (check_keys, "`pokes.max_pokes = 1` (the default)"),
        (check_keys, "`pokes.max_pokes = 5`"),
        (check_keys, "`pokes.max_pokes` (the default)"),
        (check_names, "a normalising flow"),
        (check_names, "the\nflow of latents"),
        (check_mathematics, "where $a\n+ b$ is"),
        (check_mathematics, r"where $a\, b$ is"),
        (check_lean_recipes, TEXT.replace("`latent_flow.logit_bound`", "")),
        (check_lean_recipes, TEXT.replace("`train.latent_flow.amsgrad = true`", "")),
        (check_rows, TEXT.replace("| Eq. 7 |", "| Eq. 5 |")),
        (check_rows, TEXT.replace("| Fig. 3, 4, 5 |", "| Fig. 3, 5 |")),
        (check_rows, TEXT.replace("| Table 3 |", "| Table 2 |")),
        (check_rows, f"{TEXT}\n| a | | c |\n"),
        (check_rows, re.sub(r"(\| Eq\. 6 .*\|).*\|\n", r"\1 none |\n", TEXT)),
    ],
)
def test_a_planted_mistake_is_found(check, text: str) -> None:
    assert list(check(text))


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (check_symbols, "`ipoke.core.settings` and `ipoke.data.poke.Poke.target`"),
        (
            check_tests,
            "`tests/cli/test_cli.py::TestHelp::test_every_command_explains_itself` in `tests/cli/test_cli.py`",
        ),
        (check_keys, "`docs/theory.md`, `pokes.max_pokes = 5` (the default), `train.autoencoder.betas = [0.0, 0.9]`"),
        (check_names, "the latent flow, optical\nflow, backward flow and `flow`"),
        (check_mathematics, "where $a$ is\n```math\nb\\, c$\n```"),
    ],
)
def test_what_is_right_is_not_found(check, text: str) -> None:
    assert list(check(text)) == []
