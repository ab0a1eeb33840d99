"""What a machine is, and how fast it can possibly be."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ipoke.model import Precision

PRECISIONS: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Ceiling(NamedTuple):
    """The most operations per second that were seen in large products, GFLOP/s."""

    matmul: float
    convolution: float

    @property
    def best(self) -> float:
        """The larger of the two."""
        return max(self)


def processor() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def available_gib() -> float:
    """Say how much memory a process could still take, GiB; infinite where that is not known."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    (line,) = (line for line in info.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 2**20


def describe() -> dict[str, object]:
    """Say on what is measured."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


@torch.no_grad()
def ceilings() -> dict[str, Ceiling]:
    """Measure the best of several large matrix products and 3x3 convolutions, in float32 and bfloat16."""
    found = {}
    for name, dtype in PRECISIONS.items():
        a, b = torch.randn(2, 2048, 2048).to(dtype)
        picture = torch.randn(8, 256, 32, 32).to(dtype).contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(256, 256, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
        product = _fastest(lambda a=a, b=b: a @ b)
        convolution = _fastest(lambda x=picture, k=kernel: F.conv2d(x, k, padding=1))
        found[name] = Ceiling(2 * 2048**3 / product / 1e9, 2 * 8 * 32**2 * 256**2 * 9 / convolution / 1e9)
    return found


def _fastest(work: Callable[[], object], tries: int = 7) -> float:
    work()
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
