"""Runs commands, each in a fork of a process that has imported everything, with a fault at one of its system calls.

Usage: LD_PRELOAD=SHIM faulty_commands.py SHIM MODEL; lines of JSON come in and go out.
"""

import contextlib
import ctypes
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx
import torch

from ipoke.cli import program
from ipoke.core import (
    files,
    folders,
)
from ipoke.data import clip_writer, prepare  # noqa: F401
from ipoke.engine.library import compiled
from ipoke.evaluation.figures import report_figures  # noqa: F401
from ipoke.evaluation.metrics import evaluate, residual_std  # noqa: F401
from ipoke.exchange.export import onnx_model
from ipoke.sampling import (
    model,
    session,  # noqa: F401
)
from ipoke.scenes import write_scenes  # noqa: F401
from ipoke.training import loop, train  # noqa: F401
from ipoke.training.baselines import samplers  # noqa: F401

SMALL: list[tuple[ModuleType, str, Any]] = [
    (loop, "LOG_EVERY_S", -1),
    (clip_writer, "SHARD_BYTES", 10_000),
    (residual_std, "try_residual_stds", lambda *_, **__: [residual_std.Trial(0.5, 1.0, 0.9)]),
    (onnx_model, "_assembled", lambda _: onnx.ModelProto(producer_name="a model" * 10_000)),
    (onnx_model, "_agreement", lambda *_: onnx_model.Agreement(0.0, 0, 1)),
]
"""What is looked at is what is written: a row at every step, small shards, and nothing computed for long."""


def plain(path: Path) -> contextlib.AbstractContextManager[Path]:
    """Do what `replacing` does, without a temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(path)


def plant(mistake: str) -> None:
    """Make a mistake that must be noticed."""
    match mistake:
        case "plain writes":
            planted = [(module, "replacing", plain) for module in sys.modules.values() if hasattr(module, "replacing")]
        case "torn rows are kept":
            planted = [(files, "_end_of_last_line", lambda file: file.seek(0, os.SEEK_END))]
        case "leftovers stay":
            planted = [(module, "sweep", lambda *_: None) for module in (files, folders)]
        case _:
            planted = []
    for module, name, value in planted:
        setattr(module, name, value)


def run(shim: ctypes.CDLL, request: dict) -> dict:
    with tempfile.TemporaryFile() as heard, tempfile.TemporaryFile() as counted:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(heard.fileno(), 2)
            sys.argv = ["ipoke", *request["words"]]
            code = 0
            plant(request["planted"])
            shim.faults_arm(request["root"].encode(), request["at"], request["kind"])
            try:
                program.main()
            except SystemExit as leaving:
                code = int(leaving.code or 0)
            except BaseException:
                traceback.print_exc()
                code = 70
            os.write(counted.fileno(), shim.faults_calls())
            os._exit(code)
        _, status = os.waitpid(child, 0)
        heard.seek(0)
        counted.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "said": heard.read().decode(),
            "calls": counted.read().decode(),
        }


def warm_up() -> None:
    """Let PyTorch import what it imports at its first step, once for all."""
    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.Adam([weight]).step()


def main() -> None:
    shim = ctypes.CDLL(sys.argv[1])
    shim.faults_calls.restype = ctypes.c_char_p
    compiled()
    warm_up()
    loaded = model.load(Path(sys.argv[2]))
    for module, name, value in [*SMALL, (model, "load", lambda _: loaded)]:
        setattr(module, name, value)
    for line in sys.stdin:
        print(json.dumps(run(shim, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
