"""The house rules that no tool knows: who may import whom, who may print, which names and calls are never used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "src" / "ipoke"
ROOMS: list[str] = [
    *("core", "bundled", "data", "scenes", "networks", "engine", "sampling", "exchange"),
    *("training", "evaluation", "studio", "cli", "ipoke", "__main__"),
]
"""The order in which rooms may import; `ipoke` is the package's own surface. docs/architecture.md draws it."""
OTHERS = "*"
PARTS: dict[str, list[str]] = {
    "core": [
        *("version", "errors", "json_text", "files", "folders", "reading", "pixels"),
        *("values", "sections", "unused", "recipe", "old_settings", "settings", "model_files", "runs"),
    ],
    "networks": ["nn", "bijections", "autoencoder", "conditions", "latent_flow", "round_trip"],
    "engine": [
        *("library", "processor", "ranges", "one_by_one"),
        *("inverse", "rollout", "warp_decoder", "spade_decoder", "engine", "holder"),
    ],
    "sampling": [
        *("clip_sampler", "networks", "residual_terms", "request", "guidance", "sampler", "still", "open_picture"),
        *("motion_correlation", "transfer", "render", "model", "made_with", "session", "video_clip"),
    ],
    "training": ["baselines", OTHERS],
    "evaluation": ["metrics", "figures", "bench"],
    "exchange": ["official", "export"],
    "cli": ["terminal", "demo", OTHERS],
}
"""The order inside of rooms whose files build on each other."""
SPEAKING = ("cli",)
TALKATIVE_MODULES = {"rich", "cyclopts", "argparse", "click", "getopt", "optparse"}
PICKLING_MODULES = {"cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
PICKLE_ERROR = "UnpicklingError"
"""What a refused file raises: the one name of the module pickle that is needed."""
LONGEST = 500
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|home|root|Users|tmp|var|opt|mnt)/")


def room_of(path: Path) -> str:
    """Name the room of a file, or of a module written as a path."""
    first = path.parts[0].removesuffix(".py")
    return "ipoke" if first == "__init__" else first


def rank_of(room: str, rest: tuple[str, ...]) -> int:
    """Say at which place of its room's order something stands; the room itself stands last."""
    parts = PARTS.get(room, [OTHERS])
    name = rest[0].removesuffix(".py") if rest else "__init__"
    if name == "__init__":
        return len(parts)
    return parts.index(name) if name in parts else parts.index(OTHERS)


def ipoke_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and dotted module, without the leading `ipoke.`, of every import from the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = "." * node.level + (node.module or "")
            names = [f"{stem}.{alias.name}" if is_module(stem, alias.name) else stem for alias in node.names]
        else:
            continue
        for name in names:
            if name == "ipoke" or name.startswith(("ipoke.", ".")):
                yield node.lineno, name.removeprefix("ipoke.")


def is_module(stem: str, name: str) -> bool:
    """Tell whether `from stem import name` imports a file of the package."""
    return (PACKAGE.parent.joinpath(*stem.split("."), name).with_suffix(".py")).exists()


def check_imports(path: Path, tree: ast.AST) -> Iterator[str]:
    """Name the imports that go up the order of rooms or of their parts, or do not say from where they come."""
    here = room_of(path)
    for line, module in ipoke_imports(tree):
        room, *rest = module.split(".")
        if not room:
            yield f"{path}:{line}: relative import"
        elif room not in ROOMS:
            yield f"{path}:{line}: imports {room}, which is no room"
        elif here != room and ROOMS.index(room) >= ROOMS.index(here):
            yield f"{path}:{line}: {here} imports {room}"
        elif here == room and rank_of(room, tuple(rest)) > rank_of(room, path.parts[1:]):
            yield f"{path}:{line}: imports {module}, which stands after it"


def check_speech(path: Path, tree: ast.AST) -> Iterator[str]:
    """Name whatever prints, parses a command line or looks for a device outside the rooms that do."""
    if room_of(path) in SPEAKING:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input"):
            yield f"{path}:{node.lineno}: calls {node.func.id}"
        for module in imported_modules(node):
            if module.split(".")[0] in TALKATIVE_MODULES:
                yield f"{path}: {module} is imported"
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in ("sys.stdout", "sys.stderr", "sys.argv", "torch.cuda.is_available", "cuda.is_available"):
                yield f"{path}:{node.lineno}: uses {name}"


def imported_modules(node: ast.AST) -> list[str]:
    """List the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def check_unpickling(path: Path, tree: ast.AST) -> Iterator[str]:
    """Name whatever could run a stranger's code while it reads a file."""
    for node in ast.walk(tree):
        for module in imported_modules(node):
            if module.split(".")[0] in PICKLING_MODULES:
                yield f"{path}: {module} is imported"
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            yield f"{path}:{node.lineno}: names of pickle are imported"
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("pickle.") and node.attr != PICKLE_ERROR:
            yield f"{path}:{node.lineno}: uses {ast.unparse(node)}"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            yield f"{path}:{node.lineno}: torch.load without weights_only=True"
        if given.get("allow_pickle", "False") != "False":
            yield f"{path}:{node.lineno}: allow_pickle"


def check_json(path: Path, tree: ast.AST) -> Iterator[str]:
    """Name whatever writes JSON by itself, which may then hold NaN or Infinity."""
    if path.name == "json_text.py":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("json.dumps", "json.dump", "json.JSONEncoder"):
            yield f"{path}:{node.lineno}: uses {ast.unparse(node)}, not json_text"
        if isinstance(node, ast.ImportFrom) and node.module == "json":
            yield f"{path}:{node.lineno}: names of json are imported"


def names_in(node: ast.AST) -> list[str]:
    """List the names that one node defines or uses."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return [name]
        case ast.alias():
            return [*node.name.split("."), node.asname or ""]
        case ast.ImportFrom(module=str(module)):
            return module.split(".")
        case ast.Global() | ast.Nonlocal():
            return node.names
    return []


def check_bare_flow(path: Path, tree: ast.AST) -> Iterator[str]:
    """Name the places where a flow is called just that: optical or of latents?"""
    if "flow" in {part.removesuffix(".py") for part in path.parts}:
        yield f"{path}: its name"
    for node in ast.walk(tree):
        if any(name.strip("_").lower() == "flow" for name in names_in(node)):
            yield f"{path}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:60]}"


def python_files(folder: Path) -> list[tuple[Path, ast.Module]]:
    """Parse every file below a folder; paths are relative to it."""
    return [
        (file.relative_to(folder), ast.parse(file.read_text(encoding="utf-8"))) for file in sorted(folder.rglob("*.py"))
    ]


def cycle_in(imports: dict[str, set[str]]) -> list[str]:
    """Find modules that import each other in a ring, or nothing."""
    finished: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in finished:
            return []
        for other in sorted(imports.get(module, ())):
            if ring := visit(other, [*trail, module]):
                return ring
        finished.add(module)
        return []

    return next((ring for module in imports if (ring := visit(module, []))), [])


def test_every_room_is_in_the_order() -> None:
    assert {room_of(path) for path, _ in python_files(PACKAGE)} <= set(ROOMS)
    assert len(ROOMS) == len(set(ROOMS))
    for room, parts in PARTS.items():
        there = {path.stem for path in (PACKAGE / room).iterdir() if path.suffix in ("", ".py")}
        assert set(parts) - {OTHERS} <= there, room
        assert OTHERS in parts or {name for name in there if not name.startswith("__")} <= set(parts), room


@pytest.mark.parametrize("check", [check_imports, check_speech, check_unpickling, check_json, check_bare_flow])
def test_the_package_keeps_the_rule(check) -> None:
    assert [offence for path, tree in python_files(PACKAGE) for offence in check(path, tree)] == []


def test_the_tests_say_which_flow_too() -> None:
    assert [text for path, tree in python_files(PROJECT / "tests") for text in check_bare_flow(path, tree)] == []


def test_no_two_files_import_each_other() -> None:
    imports = {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): {module for _, module in ipoke_imports(tree)}
        for path, tree in python_files(PACKAGE)
    }
    assert cycle_in(imports) == []


def test_files_are_short() -> None:
    lengths = {
        file.relative_to(PROJECT): len(file.read_text(encoding="utf-8").splitlines())
        for folder in ("src", "tests")
        for file in (PROJECT / folder).rglob("*.py")
    }
    assert {file: lines for file, lines in lengths.items() if lines > LONGEST} == {}


def test_no_path_of_one_machine() -> None:
    texts = [
        file
        for folder in ("src", "tests", "docs", ".ci")
        for ending in ("py", "toml", "md", "svg", "run")
        for file in (PROJECT / folder).rglob(f"*{ending}")
        if file.is_file()
    ]
    texts += [*PROJECT.glob("*.md"), *PROJECT.glob("*.toml"), PROJECT / "Makefile"]
    assert [str(file) for file in texts if MACHINE_PATH.search(file.read_text(encoding="utf-8"))] == []


def test_the_document_gives_the_same_order() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [match[1] for match in re.finditer(r"^\| `([\w]+)/?` ", text, re.MULTILINE)]
    assert rows == ROOMS


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (check_imports, "data/video.py", "from ipoke.sampling.model import load"),
        (check_imports, "data/video.py", "import ipoke.training.loop"),
        (check_imports, "data/video.py", "def f():\n    from ipoke.cli import main"),
        (check_imports, "sampling/session.py", "import ipoke"),
        (check_imports, "sampling/session.py", "from ipoke import load"),
        (check_imports, "networks/nn/spade.py", "from ipoke.networks.latent_flow import LatentFlow"),
        (check_imports, "sampling/guidance.py", "from ipoke.sampling.model import load"),
        (check_imports, "training/baselines/baseline.py", "from ipoke.training.loop import Loop"),
        (check_imports, "data/video.py", "from . import images"),
        (check_imports, "data/video.py", "from ipoke.helpers import images"),
        (check_speech, "model.py", "print('loaded')"),
        (check_speech, "model.py", "from rich.console import Console"),
        (check_speech, "model.py", "import sys\nsys.stderr.write('loaded')"),
        (check_speech, "training/train.py", "device = 'cuda' if torch.cuda.is_available() else 'cpu'"),
        (check_unpickling, "runs.py", "torch.load(path)"),
        (check_unpickling, "runs.py", "torch.load(path, weights_only=False)"),
        (check_unpickling, "runs.py", "np.load(path, allow_pickle=True)"),
        (check_unpickling, "runs.py", "import pickle\npickle.loads(data)"),
        (check_unpickling, "runs.py", "from pickle import loads"),
        (check_unpickling, "runs.py", "import joblib"),
        (check_json, "runs.py", "json.dumps(row)"),
        (check_json, "studio/server.py", "json.dump(row, file, allow_nan=True)"),
        (check_json, "runs.py", "from json import dumps"),
        (check_json, "runs.py", "write = json.dumps"),
        (check_bare_flow, "model.py", "flow = 1"),
        (check_bare_flow, "model.py", "self.flow(z)"),
        (check_bare_flow, "model.py", "def f(flow): ..."),
        (check_bare_flow, "model.py", "f(flow=1)"),
        (check_bare_flow, "model.py", "class Flow: ..."),
        (check_bare_flow, "model.py", "import optical as flow"),
        (check_bare_flow, "model.py", "from ipoke.flow import x"),
        (check_bare_flow, "nn/flow.py", ""),
        (check_bare_flow, "flow/nn.py", ""),
    ],
)
def test_a_planted_offender_is_found(check, path: str, source: str) -> None:
    assert list(check(Path(path), ast.parse(source)))


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (
            check_imports,
            "sampling/model.py",
            "from ipoke.data.poke import Poke\nfrom ipoke.core.errors import InputError",
        ),
        (check_imports, "data/video.py", "from ipoke.data.images import read_image\nimport torch"),
        (check_speech, "cli/use.py", "from rich.table import Table\nprint(1)"),
        (check_unpickling, "runs.py", "torch.load(path, weights_only=True)\nnp.load(path)\npickle.UnpicklingError"),
        (check_json, "runs.py", "json.loads(text)\njson_text(row)"),
        (check_bare_flow, "latent_flow.py", "optical_flow = latent_flow(flows=1)"),
    ],
)
def test_what_is_allowed_is_not_found(check, path: str, source: str) -> None:
    assert not list(check(Path(path), ast.parse(source)))


def test_a_planted_ring_is_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_planted_machine_path_is_found() -> None:
    assert all(MACHINE_PATH.search(f"open('{'/'.join(['', folder, 'x'])}')") for folder in ("work", "tmp", "home"))
    assert not MACHINE_PATH.search("runs/var/x and ~/home/")
