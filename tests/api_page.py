"""Write docs/api.md from docstrings, signatures and the commands' help: ``python tests/api_page.py``."""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cyclopts import App

import ipoke
from ipoke.cli import program  # noqa: F401 makes the commands known
from ipoke.cli.app import app
from ipoke.sampling.model import Score
from ipoke.sampling.open_picture import OpenPicture

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
CLASSES: dict[type, tuple[str, ...]] = {
    ipoke.PokeModel: (
        *("poke", "open", "sample_clips", "transfer", "score", "motion_correlation", "encode", "condition"),
        *("to_residual", "to_latent", "decode", "save"),
    ),
    OpenPicture: ("poke", "preview"),
}
"""The classes whose methods a script calls, in the order of a first use."""
FUNCTIONS = (ipoke.load, ipoke.bundled_still)
VALUES = (ipoke.Poke, Score, ipoke.InputError)
EXAMPLES = {
    "demo": "ipoke demo --out out",
    "poke": "ipoke poke out/still.png --poke 38,137,0,34 --out poked.webp",
    "transfer": "ipoke transfer out/demo.mp4 out/still.png --out moved.webp",
    "correlation": "ipoke correlation out/still.png --at 38,137 --out correlation.png",
    "score": "ipoke score out/demo.mp4",
    "export": "ipoke export scenes-64 --out scenes-64.onnx",
    "info": "ipoke info scenes-64",
    "serve": "ipoke serve --model scenes-64",
    "scenes": "ipoke scenes --out clips --clips 40",
    "prepare": "ipoke prepare films --out prepared",
    "train": "ipoke train clips --recipe tiny-64 --out run",
    "import-official": "ipoke import-official released.ckpt --out released",
    "bench": "ipoke bench --json bench.json",
    "evaluate": "ipoke evaluate run clips --out report",
    "table": "ipoke table 1 clips --model run --model copy-x0 --out table",
    "calibrate": "ipoke calibrate run clips --out calibrated.safetensors",
    "figure samples": "ipoke figure samples run clips --out figures",
}
"""Of each command, in an order in which each finds what it needs."""
HEAD = """# Reference

Every public name of the package and every command, written by `make api` from the code's own docstrings. Tests run
the examples; those of `serve`, `bench`, `import-official` and `prepare` they only parse. Start with the
[tutorial](tutorial.md); [glossary.md](glossary.md) explains the terms and shapes,
[studio_api.md](studio_api.md) the studio's JSON API.

Arrays are written as `Kind[array, "axes"]`: `UInt8[np.ndarray, "t h w 3"]` is t pictures of h rows and w columns in
RGB.
"""
SECTIONS = re.compile(r"^(Args|Returns|Raises|Warns|Yields):\n((?:[ ]{4}.*\n|\n)+)", re.MULTILINE)


def page() -> str:
    """Write the whole page."""
    parts = [HEAD, "## Functions\n"]
    parts += [entry(f"ipoke.{function.__name__}", function) for function in FUNCTIONS]
    for kind, names in CLASSES.items():
        parts += [f"## {kind.__name__}\n", described(inspect.getdoc(kind) or "")]
        parts += [entry(f"{kind.__name__}.{name}", getattr(kind, name)) for name in names]
    parts.append("## Values and errors\n")
    parts += [f"### {kind.__name__}\n\n{fields(kind)}{described(inspect.getdoc(kind) or '')}" for kind in VALUES]
    parts.append("## Commands\n")
    parts += [command(name, example) for name, example in EXAMPLES.items()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def entry(title: str, function: Callable[..., Any]) -> str:
    """Describe a function or method."""
    return f"### {title}\n\n```python\n{signature(function)}\n```\n\n{described(inspect.getdoc(function) or '')}"


def signature(function: Callable[..., Any]) -> str:
    """Write a signature as the source has it, an argument per line where one line is too short."""
    node = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    assert isinstance(node, ast.FunctionDef)
    node.args.args = [argument for argument in node.args.args if argument.arg != "self"]
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({ast.unparse(node.args)}){result}".replace("'", '"')
    if len(line) <= 100:
        return line
    depth, broken = 0, ""
    for letter in ast.unparse(node.args).replace("'", '"'):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(letter, 0)
        broken += ",\n   " if letter == "," and depth == 0 else letter
    return f"{node.name}(\n    {broken},\n){result}".replace("'", '"')


def described(docstring: str) -> str:
    """Turn a docstring into Markdown: text, a list per section, examples as code."""
    text, *example = re.split(r"^(?=>>> )", docstring + "\n", maxsplit=1, flags=re.MULTILINE)
    lists = [f"{title}:\n\n{''.join(items(body))}" for title, body in SECTIONS.findall(text)]
    blocks = [SECTIONS.sub("", text).strip(), *lists, *(f"```python\n{code.rstrip()}\n```" for code in example)]
    return re.sub(r"(?<!`)``([^`\n]+)``(?!`)", r"`\1`", "\n\n".join(block for block in blocks if block)) + "\n"


def items(section: str) -> Iterator[str]:
    """List the entries of a section; what has no name of its own is one entry."""
    for item in re.split(r"\n(?=\S)", textwrap.dedent(section).strip()):
        name, colon, words = " ".join(item.split()).partition(": ")
        yield listed(f"`{name}`: {words}" if colon and " " not in name else name + colon + words)


def listed(text: str) -> str:
    """Write an entry of a list."""
    return textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ", break_long_words=False) + "\n"


def fields(kind: type) -> str:
    """List the fields of a value."""
    known = ", ".join(f"{name}: {hint.__name__}" for name, hint in inspect.get_annotations(kind).items())
    return f"```python\n{kind.__name__}({known})\n```\n\n" if known else ""


def command(name: str, example: str) -> str:
    """Describe a command by its help."""
    asked = functools.reduce(lambda parent, word: parent[word], name.split(), app)
    text = SECTIONS.sub("", f"{inspect.getdoc(asked.default_command)}\n")
    return f"### ipoke {name}\n\n{described(text)}\n{''.join(options(asked))}\n```sh\n{example}\n```\n"


def options(asked: App) -> Iterator[str]:
    """List the arguments and options of a command."""
    for one in asked.assemble_argument_collection(parse_docstring=True):
        if not one.show or not one.parameter.help:
            continue
        default = one.field_info.default
        told = "" if one.required or default in (None, False) else f" Default: `{default}`."
        needed = " (required)" if one.required else ""
        yield listed(f"`{one.names[0]}`{needed}: {' '.join(one.parameter.help.split())}{told}")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
