import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipoke.core import folders
from ipoke.core.errors import InputError
from ipoke.core.files import fcntl
from ipoke.core.folders import LOCK_FILE, writing_alone

pytestmark = pytest.mark.skipif(fcntl is None, reason="this system has no advisory locks")


def holder(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that holds a folder."""
    code = (
        "import sys, time; from pathlib import Path; from ipoke.core.folders import writing_alone\n"
        "with writing_alone(Path(sys.argv[1]), 'run'): print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_the_second_process_is_told_who_and_since_when(tmp_path):
    with holder(tmp_path / "run") as process:
        said = rf"run: another process \({process.pid}, since \d{{4}}-.*\) is writing this run; wait for it, stop it"
        with pytest.raises(InputError, match=said), writing_alone(tmp_path / "run", "run"):
            pass
        assert (tmp_path / "run" / LOCK_FILE).exists()
        process.kill()
        process.wait()
    with writing_alone(tmp_path / "run", "run"):
        (tmp_path / "run" / "file").touch()
    assert os.listdir(tmp_path / "run") == ["file"]


def test_a_folder_in_which_nothing_was_written_goes_again(tmp_path):
    with writing_alone(tmp_path / "a" / "b", "set"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).exists()
    assert os.listdir(tmp_path) == []
    (tmp_path / "a").mkdir()
    with writing_alone(tmp_path / "a", "set"):
        pass
    assert os.listdir(tmp_path) == ["a"]


def test_leftovers_are_swept_one_folder_deep(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for folder in (tmp_path / "run" / "checkpoints", elsewhere):
        folder.mkdir(parents=True)
        (folder / ".ipoke-0a1b2c3d-autoencoder.safetensors").touch()
    (tmp_path / "run" / "samples").symlink_to(elsewhere)
    with writing_alone(tmp_path / "run", "run"):
        assert os.listdir(tmp_path / "run" / "checkpoints") == []
    assert os.listdir(elsewhere) != []


@pytest.mark.parametrize("made", [lambda path: path.symlink_to(path.with_name("target")), os.mkfifo, Path.mkdir])
def test_a_lock_that_is_no_file_is_refused(tmp_path, made):
    (tmp_path / "target").write_text("theirs")
    made(tmp_path / LOCK_FILE)
    with pytest.raises(InputError, match=r"\.lock: is a (link|pipe|folder)"), writing_alone(tmp_path, "run"):
        pass
    assert (tmp_path / "target").read_text() == "theirs"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("theirs")
    for folder in (tmp_path / "run", tmp_path / "run" / "inner"):
        with pytest.raises(InputError, match=r"is a file, expected the folder of a run|cannot be written"):
            writing_alone(folder, "run").__enter__()


def test_a_lock_that_was_taken_away_meanwhile_is_not_held(tmp_path, monkeypatch):
    """Whoever waited may open the lock of a process that removes it as it ends, while a third makes a new one."""
    real, opened = folders.lock_file, []

    def slowly(path, *, wait):
        file = real(path, wait=wait)
        if not opened:
            path.unlink()
        opened.append(file)
        return file

    monkeypatch.setattr(folders, "lock_file", slowly)
    with writing_alone(tmp_path, "run"):
        assert len(opened) == 2
        monkeypatch.undo()
        with pytest.raises(InputError, match="another process"):
            writing_alone(tmp_path, "run").__enter__()
