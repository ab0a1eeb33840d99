"""Versions agree: those of the package, and the lowest, tested and bounded versions of its dependencies."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ipoke import __version__

PROJECT = Path(__file__).parents[1]
TESTED, LOWEST = "constraints.txt", "constraints-lowest.txt"
LOCKS = ("requirements.lock", "requirements-torch.lock")
REGISTRY = re.compile(r"index-url|find-links|trusted-host|://[^\s]*(?:simple|pypi|whl|packages)", re.IGNORECASE)


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def bounds(pyproject: str) -> dict[str, Requirement]:
    """Read the direct dependencies, those of every extra too."""
    project = tomllib.loads(pyproject)["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    required = [Requirement(line) for lines in lists for line in lines]
    return {canonicalize_name(one.name): one for one in required if one.name != project["name"]}


def pins(text: str) -> dict[str, Version]:
    """Read lines ``name==version``."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def disagreements(
    required: dict[str, Requirement], tested: dict[str, Version], lowest: dict[str, Version]
) -> list[str]:
    """Name what a bound, a tested version and a lowest version say differently."""
    said = []
    for name in sorted({*required, *tested, *lowest}):
        if not (name in required and name in tested and name in lowest):
            said.append(f"{name}: not in all three")
            continue
        allowed = list(required[name].specifier)
        if [one.operator for one in allowed] not in (["=="], [">="]):
            said.append(f"{name}: no single lower bound")
        elif Version(allowed[0].version) != lowest[name]:
            said.append(f"{name}: bound {allowed[0].version}, lowest {lowest[name]}")
        elif tested[name] not in required[name].specifier:
            said.append(f"{name}: tested {tested[name]}, which is not allowed")
    return said


def locked(text: str) -> dict[str, list[tuple[Version, int]]]:
    """Read the versions of a lock, each with the number of its hashes; a package may have one per marker."""
    found: dict[str, list[tuple[Version, int]]] = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        name, version = block.split()[0].split("==")
        found.setdefault(canonicalize_name(name), []).append((Version(version), block.count("--hash=sha256:")))
    return found


def test_the_package_has_one_version() -> None:
    assert tomllib.loads(text_of("pyproject.toml"))["project"]["version"] == __version__
    assert f"\nversion: {__version__}\n" in text_of("CITATION.cff")


def test_the_package_is_typed() -> None:
    assert resources.files("ipoke").joinpath("py.typed").is_file()


def test_bounds_tested_and_lowest_versions_agree() -> None:
    assert disagreements(bounds(text_of("pyproject.toml")), pins(text_of(TESTED)), pins(text_of(LOWEST))) == []


@pytest.mark.parametrize(
    ("bound", "tested", "lowest"),
    [
        ("av>=17", "18.1", "16"),
        ("av>=17", "16", "17"),
        ("av>=17,<18", "17", "17"),
        ("av", "17", "17"),
        ("av==17", "18", "17"),
        ("cv>=17", "18", "17"),
    ],
)
def test_a_planted_disagreement_is_found(bound: str, tested: str, lowest: str) -> None:
    required = {Requirement(bound).name: Requirement(bound)}
    assert disagreements(required, {"av": Version(tested)}, {"av": Version(lowest)})


def test_the_lock_has_the_tested_versions_and_hashes_of_all() -> None:
    rest, torch = (locked(text_of(name)) for name in LOCKS)
    assert "torch" in torch
    assert "torch" not in rest
    for name, version in pins(text_of(TESTED)).items():
        assert [one for one, _ in {**torch, **rest}[name]] == [version], name
    for lock in (rest, torch):
        assert [name for name, versions in lock.items() if any(hashes == 0 for _, hashes in versions)] == []
    shared = rest.keys() & torch.keys()
    assert {name: rest[name] for name in shared} == {name: torch[name] for name in shared}


def test_no_file_names_a_registry() -> None:
    names = ["pyproject.toml", TESTED, LOWEST, *LOCKS, "Makefile", ".ci/run", ".github/workflows/ci.yml"]
    assert [name for name in names if REGISTRY.search(text_of(name))] == []
    assert all(
        REGISTRY.search(line)
        for line in (
            "--index-url https://a.b/c",
            "--find-links wheels",
            "https://pypi.org/simple/",
            "https://a.b/whl/cpu",
        )
    )


def test_the_workflow_takes_the_oldest_and_the_newest() -> None:
    workflow, pyproject = text_of(".github/workflows/ci.yml"), tomllib.loads(text_of("pyproject.toml"))["project"]
    lowest, tested = (pins(text_of(name))["torch"] for name in (LOWEST, TESTED))
    pythons = [line.rpartition(" ")[2] for line in pyproject["classifiers"] if ":: 3." in line]
    assert f'torch: ["{lowest}", "{tested}"]' in workflow
    assert f'python: ["{pythons[0]}", "{pythons[-1]}"]' in workflow
    assert pyproject["requires-python"] == f">={pythons[0]}"
