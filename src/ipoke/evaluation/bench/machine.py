"""What a machine is, and how fast it can possibly be."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ipoke.engine.processor import processor
from ipoke.sampling.model import Precision

PRECISIONS: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Ceiling(NamedTuple):
    """The most operations per second that were seen in large products, GFLOP/s."""

    matmul: float
    convolution: float

    @property
    def best(self) -> float:
        """The larger of the two."""
        return max(self)


def available_gib() -> float:
    """Return the memory that a process could still take, GiB; infinite where that is unknown."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    (line,) = (line for line in info.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 2**20


def describe() -> dict[str, object]:
    """Describe the machine, as far as timings depend on it."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


@torch.no_grad()
def ceilings() -> dict[Precision, Ceiling]:
    """Measure the best of several large matrix products and 3x3 convolutions, in float32 and bfloat16."""
    found: dict[Precision, Ceiling] = {}
    for name, dtype in PRECISIONS.items():
        products, convolutions = [], []
        for side in (1024, 2048):
            a, b = torch.randn(2, side, side).to(dtype)
            products.append(2 * side**3 / _fastest(lambda a=a, b=b: a @ b))
        for count, channels, side in ((8, 256, 32), (4, 128, 64), (8, 512, 16)):
            x = torch.randn(count, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
            kernel = torch.randn(channels, channels, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
            operations = 2 * count * side**2 * channels**2 * 9
            convolutions.append(operations / _fastest(lambda x=x, k=kernel: F.conv2d(x, k, padding=1)))
        volume, kernel = torch.randn(2, 128, 3, 32, 32).to(dtype), torch.randn(128, 128, 3, 3, 3).to(dtype)
        operations = 2 * 2 * 3 * 32**2 * 128**2 * 27
        convolutions.append(operations / _fastest(lambda x=volume, k=kernel: F.conv3d(x, k, padding=1)))
        found[name] = Ceiling(max(products) / 1e9, max(convolutions) / 1e9)
    return found


def _fastest(work: Callable[[], object], tries: int = 5) -> float:
    work()
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
