"""Operations that do what a file might make a decoder do; known only to nurseries of the tests."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ipoke.core.reading import operations
from ipoke.core.reading.messages import LENGTHS

PIXELS = np.zeros((4, 5, 3), np.uint8)


def facts(file, bounds, folder="nowhere"):
    """Tell about the process itself."""
    path = Path(folder) / "written"
    try:
        path.write_bytes(b"x")
        wrote = True
    except OSError:
        wrote = False
    open_files = sorted(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else []
    yield (
        {
            "torch": "torch" in sys.modules,
            "path": os.environ.get("PATH"),
            "wrote": wrote,
            "made": path.exists(),
            "group": os.getpgid(0),
            "number": os.getpid(),
            "files": len(open_files),
        },
        None,
    )


def stall(file, bounds, after=0):
    """Give some frames, then nothing."""
    for _ in range(after):
        yield {}, PIXELS
    while True:
        time.sleep(0.05)


def child(file, bounds):
    """Start another process, tell its number, and stall."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield {"child": process.pid}, None
    time.sleep(600)


def greedy(file, bounds, size=0):
    """Take memory."""
    held = np.ones(size, np.uint8)
    yield {"held": int(held[-1])}, None


def crash(file, bounds):
    """Die as a decoder that writes where it must not."""
    yield {}, PIXELS
    os.abort()


def endless(file, bounds):
    """Never stop giving frames."""
    while True:
        yield {}, PIXELS


def raw(file, bounds, text="", pixels=0):
    """Write what is no message of ours."""
    for handle in range(3, 64):
        try:
            os.write(handle, LENGTHS.pack(len(text), pixels) + text.encode())
        except OSError:
            continue
    yield {}, None


def picture(file, bounds, side=None):
    """Take two seconds for pictures that begin with a word."""
    stalls = file.read(5) == b"STALL"
    if stalls:
        time.sleep(2)
    yield from operations.picture(io.BytesIO(file.read()) if stalls else file, bounds, side)


operations.OPERATIONS.update(
    {function.__name__: function for function in (facts, stall, child, greedy, crash, endless, raw, picture)}
)
