"""The versions and the machine on which the bits of a sampling depend."""

import platform

import av
import PIL
import torch

from ipoke.core.values import Name, Section
from ipoke.core.version import __version__
from ipoke.engine.library import compiled
from ipoke.engine.processor import processor


class MadeWith(Section):
    """Versions and machine. The number of threads and of samples is not among them: it changes no bit."""

    ipoke: Name
    torch: Name
    pillow: Name
    av: Name
    processor: Name
    kernels: Name
    """Instruction set of matrix products, and whether C functions were compiled."""


def made_here(device: torch.device) -> MadeWith:
    """Describe this process."""
    kernels = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else torch.cuda.get_device_name(device)
    return MadeWith(
        ipoke=__version__,
        torch=torch.__version__,
        pillow=PIL.__version__,
        av=av.__version__,
        processor=f"{processor()} ({platform.machine()})",
        kernels=f"{kernels}, {'with' if compiled() else 'without'} C functions",
    )


def differences(then: MadeWith, now: MadeWith) -> str:
    """List what differs."""
    before, after = then.model_dump(), now.model_dump()
    return ", ".join(f"{name} {before[name]} then, {after[name]} now" for name in before if before[name] != after[name])
