"""The functions of the C files here, compiled once per machine and person."""

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
SOURCES = ("vectors.h", "grids.c", "pictures.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
SECONDS = 120
"""Most that the compiler may take."""


class Rules(ctypes.Structure):
    """The constants by which warp_frames() goes; their values are those of the modules that it stands in for."""

    _fields_ = tuple(
        (name, ctypes.c_float)
        for name in (
            *("order_per_px", "largest_order", "nearness_per_px", "least_nearness"),
            *("gap", "gap_weight", "splat_tiny", "steep", "steepest", "smallest_miss", "largest_miss"),
            *("least_weight", "fill_tiny", "fill_range"),
        )
    )


class Compiled(ctypes.CDLL):
    """The functions of the C files, with their types."""

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
                *(pointer, pointer, real, real, pointer, pointer),
            ),
        }
        types["warp_scratch"] = (integer,)
        types["warp_frames"] = (long, integer, *[pointer] * 3, *[long] * 3, *[pointer] * 6, ctypes.POINTER(Rules))
        types["show_frame"] = (integer, integer, *[pointer] * 4, *[integer] * 4, pointer, pointer)
        for name, arguments in types.items():
            function = self[name]
            function.argtypes, function.restype = arguments, long if name == "warp_scratch" else None
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
    sources = {name: resources.files("ipoke.engine").joinpath(name).read_bytes() for name in SOURCES}
    compiler = find_compiler()
    if compiler is None:
        return None
    key = hashlib.sha256(b"".join(sources.values()) + f"{compiler} {_processor()}".encode()).hexdigest()[:16]
    library = _cache_folder() / f"functions-{key}.so"
    try:
        if library.exists():
            return Compiled(library)
    except OSError:
        library.unlink(missing_ok=True)
    try:
        _compile(compiler, sources, library)
        return Compiled(library)
    except (OSError, subprocess.SubprocessError):
        return None


def _compile(compiler: str, sources: dict[str, bytes], library: Path) -> None:
    """Compile for this very processor, under a temporary name and then renamed."""
    library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        for name, source in sources.items():
            Path(folder, name).write_bytes(source)
        made = Path(folder) / library.name
        files = [name for name in sources if name.endswith(".c")]
        command = [compiler, *FLAGS, *files, "-o", library.name, "-lm"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=SECONDS)
        made.replace(library)


def _cache_folder() -> Path:
    """Find the folder of this person's cached files."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipoke"


def _processor() -> str:
    """Describe the processor, so that a home shared by machines keeps a library for each kind."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return " ".join(sorted({line for line in lines if line.startswith(("flags", "Features"))})) or platform.processor()
