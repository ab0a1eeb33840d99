"""Every command, stopped or failed at a system call that writes, and then repeated.

A few calls of each command are taken; with IPOKE_FAULTS=all, every call with every fault.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import commands
import miniature
import tiny
from ipoke.core.files import is_leftover
from ipoke.core.folders import LOCK_FILE
from ipoke.core.model_files import read_tensors
from ipoke.data.clip_rows import read_rows
from ipoke.data.images import write_png
from ipoke.data.shards import read_member
from ipoke.networks.autoencoder.lpips import WEIGHTS_VARIABLE
from ipoke.scenes import write_scenes

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
KILL, TEAR, IO_ERROR, NO_SPACE = range(4)
"""Faults as shim.c numbers them: killed before a call, or in the middle of a write; a call that fails."""
ALL = os.environ.get("IPOKE_FAULTS") == "all"
TRAINING = (*tiny.training(clips=4, stages=["autoencoder"]), "train.checkpoint_every_clips=2", "method=deterministic")
COMMANDS = {
    "scenes": "scenes --out WORK/set --clips 3 --size 32 --workers 1",
    "prepare": "prepare GIVEN/videos --out WORK/set --size 32 --frames 3 --workers 1",
    "train": f"train WORK/clips --recipe {tiny.RECIPE} --out WORK/run --threads 1 "
    + " ".join(f"--set {override}" for override in TRAINING),
    "evaluate": "evaluate copy-x0 WORK/clips --out WORK/report --samples 2 --most 2 --calibrated 1 --cloud 2 --batch 1 "
    "--workers 1",
    "calibrate": "calibrate GIVEN/tiny.safetensors WORK/clips --out WORK/out/model.safetensors --most 1 --samples 2",
    "poke": "poke WORK/still.png --poke 32,24,6,3 --model GIVEN/tiny.safetensors --samples 1 --out WORK/out/poke.webp",
    "export": "export GIVEN/tiny.safetensors --out WORK/out/tiny.onnx",
}
UNTIMED = ("time", "clips_per_s", "seconds", "trained_s")
"""What two runs that do the same tell differently."""


class Outcome(NamedTuple):
    code: int
    said: str
    calls: str
    """A letter per system call that changes something, if the process lived to tell: as shim.c has them."""


class Faults:
    """Runs commands with faults, in one folder that is the same for all, as some files tell where they were made."""

    def __init__(self, folder: Path, shim: Path, given: Path) -> None:
        self.work, self.given, self.planted = folder / "work", given, ""
        self.server = subprocess.Popen(
            [sys.executable, str(HERE / "faulty_commands.py"), str(shim), str(given / "tiny.safetensors")],
            env={**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str, at: int = 0, kind: int = KILL) -> Outcome:
        """Run a command with a fault at one of its calls, counted from 1, or none."""
        places = {"WORK": self.work, "GIVEN": self.given}
        words = COMMANDS[command].split()
        for name, place in places.items():
            words = [word.replace(f"{name}/", f"{place}/") for word in words]
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        asked = {"words": words, "root": str(self.work), "at": at, "kind": kind, "planted": self.planted}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return Outcome(**json.loads(self.server.stdout.readline()))

    def begin(self, command: str) -> None:
        """Lay out what a command finds."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for name in ("clips", "still.png"):
            if f"WORK/{name}" in COMMANDS[command]:
                (shutil.copytree if name == "clips" else shutil.copy)(self.given / name, self.work / name)


@pytest.fixture(scope="module")
def faults(tmp_path_factory, model_file) -> Iterator[Faults]:
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and a system that preloads libraries as Linux does")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("faults")
    shim, given = folder / "shim.so", folder / "given"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, HERE / "shim.c", "-ldl"], check=True)
    write_scenes(
        given / "clips",
        clips=5,
        size=tiny.SIZE,
        seed=1,
        workers=1,
        frames=tiny.FRAMES,
        test_fraction=0.5,
        progress=lambda *_: None,
    )
    for name in ("one.mp4", "two.mp4"):
        miniature.film(given / "videos", name)
    shutil.copy(model_file, given / "tiny.safetensors")
    write_png(given / "still.png", commands.PICTURE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(WEIGHTS_VARIABLE, raising=False)
        made = Faults(folder, shim, given)
    yield made
    assert made.server.stdin is not None
    assert made.server.stdout is not None
    made.server.stdin.close()
    made.server.wait()
    made.server.stdout.close()


def contents(work: Path) -> dict[str, Any]:
    """Read every file, without what tells how long something took."""
    return {str(file.relative_to(work)): content(file) for file in sorted(work.rglob("*")) if file.is_file()}


def content(file: Path) -> Any:
    if file.suffix == ".safetensors":
        tensors, facts = read_tensors(file)
        weights = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        return weights, {name: value for name, value in facts.items() if name not in UNTIMED}
    if file.name == "metrics.jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        return [{name: value for name, value in row.items() if name not in UNTIMED} for row in rows]
    return file.read_bytes()


def refuse_halves(work: Path, whole: dict[str, Any]) -> None:
    """Fail if something that a reader would take as whole is not."""
    for file in filter(Path.is_file, work.rglob("*")):
        name = str(file.relative_to(work))
        if is_leftover(file.name) or file.name == LOCK_FILE:
            continue
        assert name in whole, f"{name} is none of the files of this command"
        if file.suffix == ".safetensors":
            read_tensors(file)
        elif file.suffix == ".jsonl":
            for line in file.read_bytes().splitlines(keepends=True):
                assert not line.endswith(b"\n") or json.loads(line), name
        elif file.suffix != ".tar":
            assert file.read_bytes() == whole[name], f"{name} is half written"
    for index in work.rglob("index.jsonl"):
        for segment in (segment for row in read_rows(index.parent)[0] for segment in row.segments):
            for ending in segment.members:
                read_member(index.parent, segment, ending)


def is_needed(name: str) -> bool:
    """Tell whether a file must be there in the end; a cache that cannot be written is done without."""
    return "cache" not in Path(name).parts


def some(calls: str) -> list[tuple[int, int]]:
    """Choose calls and faults: the last row, or else write, is torn, and the last renaming fails."""
    return [(calls.rfind("a" if "a" in calls else "w") + 1, TEAR), (calls.rfind("r") + 1, IO_ERROR)]


def every(calls: str) -> list[tuple[int, int]]:
    """Give every call with every fault that is another one there."""
    each = range(1, len(calls) + 1)
    torn = [(at, TEAR) for at in each if calls[at - 1] in "aw"]
    return [(at, KILL) for at in each] + torn + [(at, (IO_ERROR, NO_SPACE)[at % 2]) for at in each]


def stop_and_repeat(faults: Faults, command: str, points: Callable[[str], list[tuple[int, int]]]) -> int:
    """Give a command faults, one after the other, and repeat it after each; count them."""
    faults.begin(command)
    undisturbed = faults.run(command)
    assert undisturbed.code == 0, undisturbed.said
    whole, count = contents(faults.work), 0
    assert not any(is_leftover(Path(name).name) for name in whole)
    for at, kind in points(undisturbed.calls):
        where = f"{command}, call {at} of {undisturbed.calls}, fault {kind}"
        faults.begin(command)
        stopped = faults.run(command, at, kind)
        if kind in (IO_ERROR, NO_SPACE):
            mistakes = [line for line in stopped.said.splitlines() if line.startswith("ipoke: ")]
            assert (stopped.code, len(mistakes)) in ((0, 0), (2, 1)), (where, stopped)
            assert "Traceback" not in stopped.said, (where, stopped)
        else:
            assert stopped.code == -9, (where, stopped)
        refuse_halves(faults.work, whole)
        again = faults.run(command)
        assert again.code == 0, (where, again)
        now = contents(faults.work)
        assert set(filter(is_needed, now)) == set(filter(is_needed, whole)), where
        assert [name for name in now if now[name] != whole[name]] == [], where
        count += 1
    return count


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.timeout(3600 if ALL else 120)
def test_a_command_that_was_stopped_anywhere_is_repeated_to_the_same_end(faults, command):
    print(f"{command}: {stop_and_repeat(faults, command, every if ALL else some)} faults")


PLANTED = {"plain writes": "poke", "torn rows are kept": "evaluate", "leftovers stay": "poke"}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_is_noticed(faults, monkeypatch, mistake):
    monkeypatch.setattr(faults, "planted", mistake)
    with pytest.raises(AssertionError, match=r"half written|call \d+ of"):
        stop_and_repeat(faults, PLANTED[mistake], some)
