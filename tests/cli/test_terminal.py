import errno
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tiny
from commands import files, is_one_line
from ipoke.cli import make

TRAIN = (
    *("--recipe", tiny.RECIPE, "--threads", 1, "--stage", "autoencoder", "--set", "train.checkpoint_every_clips=8"),
)


@contextmanager
def started(*words: str | Path | int) -> Generator[subprocess.Popen[str]]:
    """Start a command in a process group of its own, as a terminal does, and see it gone at the end."""
    command = [sys.executable, "-m", "ipoke", *map(str, words)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear_interrupts() -> None:
    """Undo what a shell does to processes in the background, which would make Ctrl-C unheard."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait; fail if the process ends before."""
    end = time.monotonic() + 120
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def one_step(monkeypatch) -> None:
    """Make training stop after its next step, as Ctrl-C does."""

    @contextmanager
    def asked_at_once() -> Generator[Callable[[], bool]]:
        yield lambda: True

    monkeypatch.setattr(make, "stop_requests", asked_at_once)


class TestStopping:
    @pytest.mark.slow
    def test_ctrl_c_writes_a_checkpoint_and_the_command_goes_on(self, ipoke, tmp_path, clip_set, one_step):
        run = tmp_path / "run"
        with started("train", clip_set, *TRAIN, "--out", run) as process:
            wait_until((run / "metrics.jsonl").exists, process)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "stopping after this step" in err
        assert "repeat the command to resume" in err
        assert "Traceback" not in err
        assert (run / "checkpoints" / "autoencoder.safetensors").exists()
        again = ipoke("train", clip_set, *TRAIN, "--out", run)
        assert again.code == 130
        assert "autoencoder: goes on at clip" in again.err

    @pytest.mark.slow
    @pytest.mark.parametrize("moment", ["settings.toml", "checkpoints/autoencoder.safetensors"])
    def test_a_killed_run_goes_on(self, ipoke, tmp_path, clip_set, one_step, moment):
        run = tmp_path / "run"
        with started("train", clip_set, *TRAIN, "--out", run) as process:
            wait_until((run / moment).exists, process)
            process.kill()
            process.communicate(timeout=120)
        answer = ipoke("train", clip_set, *TRAIN, "--out", run)
        assert answer.code == 130
        assert ("goes on at clip" in answer.err) == moment.startswith("checkpoints")

    @pytest.mark.slow
    def test_ctrl_c_reaches_all_processes_of_a_simulation(self, ipoke, tmp_path):
        out = tmp_path / "scenes"
        with started("scenes", "--out", out, "--clips", 5000, "--workers", 2) as process:
            wait_until(lambda: (out / "index.jsonl").exists() and (out / "index.jsonl").stat().st_size > 0, process)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert err == "stopped; no incomplete file is left, repeat the command to resume\n"
        clips = len((out / "index.jsonl").read_text().splitlines())
        assert ipoke("scenes", "--out", out, "--clips", clips + 1, "--workers", 1).code == 0

    def test_the_second_ctrl_c_kills(self):
        code = (
            "import time\nfrom ipoke.cli.terminal import stop_requests\n"
            "with stop_requests() as asked:\n"
            "    print('ready', flush=True)\n"
            "    while not asked(): time.sleep(0.01)\n"
            "    print('asked', flush=True)\n"
            "    time.sleep(100)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
        assert err == "stopping after this step; press Ctrl-C again to kill\n"

    def test_a_run_refuses_other_settings(self, ipoke, tmp_path, clip_set, one_step):
        run = tmp_path / "run"
        assert ipoke("train", clip_set, *TRAIN, "--out", run).code == 130
        before = {file: (run / file).read_bytes() for file in files(run)}
        answer = ipoke("train", clip_set, *TRAIN, "--set", "train.autoencoder.batch=4", "--out", run)
        assert is_one_line(answer, "train.autoencoder.batch was 8, got 4", "another --out")
        assert before == {file: (run / file).read_bytes() for file in files(run)}

    def test_a_full_disk_stops_training_in_one_line(self, ipoke, tmp_path, clip_set, monkeypatch):
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "replace", refuse)
        answer = ipoke("train", clip_set, *TRAIN, "--out", tmp_path / "run")
        assert is_one_line(answer, "No space left")
        assert files(tmp_path) == set()


BAR = """
from ipoke.cli.terminal import progress_bar
with progress_bar('sampling') as report:
    report(1, 2)
print('done')
"""


class TestProgress:
    def test_a_terminal_sees_a_bar(self):
        here, there = pty.openpty()
        subprocess.run(
            [sys.executable, "-c", BAR],
            stdout=subprocess.PIPE,
            stderr=there,
            check=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(there)
        shown = os.read(here, 100_000).decode()
        os.close(here)
        assert "sampling" in shown
        assert "1/2" in shown

    def test_a_file_sees_none(self):
        done = subprocess.run(
            [sys.executable, "-c", BAR],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "FORCE_COLOR": "1"},
        )
        assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_standard_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ipoke", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "ipoke: [Errno 28] No space left on device\n"
