"""The functions of kernels.c, compiled once per machine and person."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

SIDE = 8
"""Side of the grids that the functions know."""
BLOCK, LANES = 32, 16
"""Hidden channels of masked convolutions are padded to multiples of the one, their shifts and logits of the other."""
SECONDS = 120
"""Most that the compiler may take."""


class Compiled(ctypes.CDLL):
    """The functions of kernels.c, with their types."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        pointer, long, integer, real = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float
        types = {
            "elu_float32": (pointer, long),
            "elu_bfloat16": (pointer, long),
            "scale_and_shift": (pointer, long, long, integer, integer, pointer, pointer),
            "neighbourhoods": (pointer, integer, pointer, long, long, integer, integer, integer),
            "undo_coupling": (pointer, long, long, *[integer] * 3, pointer, integer, pointer, real, pointer),
            "undo_masked_conv": (
                *(pointer, long, long, pointer, long),
                *[integer] * 6,
                *(pointer, pointer, real, pointer, pointer),
            ),
        }
        for name, arguments in types.items():
            function = self[name]
            function.argtypes, function.restype = arguments, None
            setattr(self, name, function)


def padded_size(count: int, multiple: int) -> int:
    """Round up to what a function computes at a time."""
    return -(-count // multiple) * multiple


def find_compiler() -> str | None:
    """Find the C compiler of this machine; the environment's CC comes first."""
    return shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")


@functools.cache
def compiled() -> Compiled | None:
    """Compile the functions, or find them compiled; None where there is no compiler, or none that can."""
    source = resources.files("ipoke.compiled").joinpath("kernels.c").read_bytes()
    compiler = find_compiler()
    if compiler is None:
        return None
    key = hashlib.sha256(source + f"{compiler} {_processor()}".encode()).hexdigest()[:16]
    library = _cache_folder() / f"kernels-{key}.so"
    try:
        if library.exists():
            return Compiled(library)
    except OSError:
        library.unlink(missing_ok=True)
    try:
        _compile(compiler, source, library)
        return Compiled(library)
    except (OSError, subprocess.SubprocessError):
        return None


def _compile(compiler: str, source: bytes, library: Path) -> None:
    """Compile for this very processor, under a temporary name and then renamed."""
    library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-x", "c", "-", "-o", str(made)]
        subprocess.run(command, input=source, check=True, capture_output=True, timeout=SECONDS)
        made.replace(library)


def _cache_folder() -> Path:
    """Find the folder of this person's cached files."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipoke"


def _processor() -> str:
    """Describe the processor, so that a home shared by machines keeps a library for each kind."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return " ".join(sorted({line for line in lines if line.startswith(("flags", "Features"))})) or platform.processor()
