"""Shapes in signatures are enforced while tests run: imported before any module of the package."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

SOURCE = Path(__file__).parents[1] / "src"
Function = TypeVar("Function", bound=Callable[..., Any])


def modules_with_shapes(folder: Path) -> list[str]:
    """Name the modules below a folder that import jaxtyping; only their calls are slowed down by checks."""
    files = (file for file in sorted(folder.rglob("*.py")) if "jaxtyping" in file.read_text(encoding="utf-8"))
    return [".".join(file.relative_to(folder).with_suffix("").parts) for file in files]


def arrays_checked(function: Function) -> Function:
    """Check the annotations of a function that speak of arrays; the type checker has proved the others."""
    arrays = {name: hint for name, hint in function.__annotations__.items() if speaks_of_arrays(hint)}
    function.__annotations__ = {name: arrays.get(name, Any) for name in function.__annotations__}
    return beartype(function) if arrays else function


def speaks_of_arrays(hint: Any) -> bool:
    """Tell whether an annotation has a shape anywhere inside."""
    is_array = isinstance(hint, type) and issubclass(hint, AbstractArray)
    return is_array or any(speaks_of_arrays(part) for part in get_args(hint))


@contextmanager
def unchecked() -> Generator[None]:
    """Let arrays of any shape pass, to see what the package itself says of them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


if early := [name for name in sys.modules if name.partition(".")[0] == "ipoke"]:
    raise RuntimeError(f"checked_shapes: {early[0]} is imported already, so that its shapes would not be checked")
install_import_hook(modules_with_shapes(SOURCE), "checked_shapes.arrays_checked")
