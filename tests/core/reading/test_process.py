"""Whatever a file makes its decoder do ends in one line, and leaves nothing behind."""

import contextlib
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipoke.core.errors import InputError
from ipoke.core.reading import fork_server, process
from ipoke.core.reading.bounds import Bounds
from ipoke.core.reading.memory import can_limit_memory
from ipoke.core.reading.process import BrokenVideoError, DecoderProcess
from ipoke.data.images import read_image
from misbehaving import misbehaving

pytestmark = pytest.mark.skipif(not fork_server.CAN_FORK, reason="no process can be forked safely on this system")


@pytest.fixture(scope="module", autouse=True)
def _bad_operations():
    with misbehaving():
        yield


def results(operation, bounds=None, **arguments):
    with DecoderProcess(operation, b"given", "a.mp4", bounds or Bounds(), **arguments) as opening:
        return list(opening)


def is_there(number):
    with contextlib.suppress(OSError, ValueError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def gone(number, seconds=10):
    end = time.monotonic() + seconds
    while is_there(number):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_file_is_opened_without_torch_programs_or_files_to_write(tmp_path):
    ((facts, _),) = results("facts", folder=str(tmp_path))
    assert facts["torch"] is False
    assert facts["path"] == ""
    assert facts["wrote"] is False
    assert facts["group"] == facts["number"] != os.getpgid(0)
    assert facts["files"] <= 8  # its own, the input, the results, and what lists them: no socket of the fork server
    assert facts["made"] is True
    assert (tmp_path / "written").stat().st_size == 0


def test_each_file_has_a_process_of_its_own_that_is_gone_afterwards():
    numbers = [results("facts")[0][0]["number"] for _ in range(3)]
    assert len(set(numbers)) == 3
    assert all(gone(number) for number in numbers)


def test_what_a_decoder_started_ends_with_it():
    with DecoderProcess("child", b"", "a.mp4") as opening:
        facts, _ = next(iter(opening))
        assert is_there(facts["child"])
    assert gone(facts["child"])


def test_the_group_is_what_ends_a_decoders_children():
    with misbehaving("import os", "os.killpg = os.kill"):
        with DecoderProcess("child", b"", "a.mp4") as opening:
            facts, _ = next(iter(opening))
        left = is_there(facts["child"])
        with contextlib.suppress(OSError):
            os.kill(facts["child"], 9)
    assert left


def test_one_that_stalls_is_ended_in_time():
    began = time.monotonic()
    with pytest.raises(InputError, match=r"^a.mp4: takes more than 1 s to decode$"):
        results("stall", Bounds(frame_timeout_s=1))
    with pytest.raises(BrokenVideoError, match="ends after 3 frames"):
        results("stall", Bounds(frame_timeout_s=1), after=3)
    assert time.monotonic() - began < 20


def test_somebody_else_may_end_it_at_any_time():
    with DecoderProcess("endless", b"", "a.mp4") as opening:
        frames = iter(opening)
        next(frames)
        opening.end()
        with pytest.raises(BrokenVideoError):
            list(frames)
        assert opening.end() == opening.end() == -9


@pytest.mark.skipif(not can_limit_memory(), reason="this system lets no process limit its memory")
def test_memory_counts_from_what_the_process_begins_with():
    bounds = Bounds(memory_bytes=100_000_000)
    assert results("greedy", bounds, size=60_000_000)[0][0] == {"kind": "result", "held": 1}
    with pytest.raises(InputError, match="too much memory"):
        results("greedy", bounds, size=120_000_000)


@pytest.mark.skipif(not can_limit_memory(), reason="this system lets no process limit its memory")
def test_a_file_is_opened_where_the_system_allows_little(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)
from ipoke.data.images import read_image
print(read_image({str(tmp_path / "a.png")!r}).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "(9, 9, 3)\n", done.stderr


def test_a_crash_keeps_the_good_frames_and_the_next_file_is_read(tmp_path):
    with DecoderProcess("crash", b"", "a.mp4") as opening:
        frames = iter(opening)
        assert next(frames)[1] is not None
        with pytest.raises(BrokenVideoError, match="ends after 1 frames"):
            next(frames)
    assert results("facts")


@pytest.mark.parametrize(
    ("text", "pixels"),
    [
        ("not json", 0),
        ("[1]", 0),
        ("[" * 100_000, 0),
        ('{"kind": "result"}', 12),
        ('{"kind": "result", "shape": [2, 2, 4]}', 16),
        ('{"kind": "result", "shape": [-2, -2, 3]}', 12),
        ('{"kind": "result", "shape": [1e9, 2, 3]}', 12),
        ('{"kind": "result", "shape": [2, 2, 3]}', 2**32 - 1),
    ],
)
def test_a_process_that_was_taken_over_is_not_believed(text, pixels):
    with pytest.raises(InputError, match="sent an invalid message"):
        results("raw", text=text, pixels=pixels)


@pytest.mark.parametrize("text", ['{"kind": "other", "words": 3}', '{"words": "a\\nb"}', "{}"])
def test_whatever_else_it_says_is_an_error(text):
    with pytest.raises(InputError, match=r"^a\.mp4: ") as error:
        results("raw", text=text)
    assert len(str(error.value)) < 400


def test_a_fork_server_that_has_ended_is_replaced():
    results("facts")
    fork_server._CURRENT[0]._process.kill()
    fork_server._CURRENT[0]._process.wait()
    assert results("facts")


def test_where_no_more_processes_may_start_it_is_said_and_others_go_on():
    full = "os.fork = lambda left=[0]: left.pop() or fork() if left else os.open('', 0)"
    with misbehaving("import os", "fork = os.fork", full), DecoderProcess("endless", b"", "a.mp4") as other:
        frames = iter(other)
        next(frames)
        with pytest.raises(InputError, match="no process can be started to decode the file"):
            results("facts")
        assert next(frames)[1] is not None


def test_no_handles_are_left_open():
    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    results("facts")
    before = count()
    for _ in range(5):
        results("facts")
        with pytest.raises(InputError):
            results("raw", text="[]")
        with DecoderProcess("endless", b"", "a.mp4") as opening:
            next(iter(opening))
    assert count() == before


def test_everything_ends_with_the_process_that_asked():
    code = f"""
import os, signal, sys
from ipoke.core.reading import fork_server
fork_server.BEGIN = {fork_server.BEGIN!r}
from ipoke.core.reading.process import DecoderProcess
opening = DecoderProcess("child", b"", "a.mp4")
facts, _ = next(iter(opening))
print(fork_server._CURRENT[0]._process.pid, facts["child"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    numbers = [int(word) for word in done.stdout.split()]
    assert len(numbers) == 2, done.stderr
    assert all(gone(number) for number in numbers)


def test_a_forked_process_starts_a_fork_server_of_its_own(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    read_image(tmp_path / "a.png")
    child = os.fork()
    if not child:
        try:
            os._exit(0 if read_image(tmp_path / "a.png").shape == (9, 9, 3) and fork_server._CURRENT else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert read_image(tmp_path / "a.png").shape == (9, 9, 3)


def test_a_process_from_nothing_does_the_same(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.setattr(process, "start", fork_server.SpawnedProcess)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="not an image"):
        read_image(tmp_path / "b.png")
    with pytest.raises(InputError, match="takes more than 1 s"):
        results("stall", Bounds(frame_timeout_s=1))


def test_the_folder_of_the_caller_is_not_searched_for_modules(tmp_path):
    (tmp_path / "cv2.py").write_text("raise SystemExit('read from where the person stands')")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    code = "import sys; sys.path.remove(''); from ipoke.data.images import read_image; print(read_image('a.png').shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stdout == "(9, 9, 3)\n", done.stderr
