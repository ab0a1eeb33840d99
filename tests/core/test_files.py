import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ipoke.core import files
from ipoke.core.errors import InputError
from ipoke.core.files import append_lines, is_leftover, open_in_place, replacing, sweep

KINDS = {
    "link": lambda path: path.symlink_to(path.with_name("target")),
    "dangling link": lambda path: path.symlink_to(path.with_name("nowhere")),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
}
pytestmark = pytest.mark.skipif(files.fcntl is None, reason="locks, pipes and modes are those of POSIX")


def write(path: Path, text: str = "new") -> None:
    with replacing(path) as partial:
        partial.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads names off /proc")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(tmp_path / "file.txt")
        append_lines(tmp_path / "rows.jsonl", "{}\n")
    finally:
        os.umask(before)
    for name in ("file.txt", "rows.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("name", ["a" * 250 + ".json", "ü" * 125 + ".json", "a." + "b" * 253, ".hidden", "noending"])
def test_names_as_long_as_can_be_are_written(tmp_path, name):
    write(tmp_path / name)
    write(tmp_path / name, "newer")
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "newer"


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path):
    (tmp_path / "target").write_text("theirs")
    for name in ("target", "nowhere"):
        link = tmp_path / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        write(link)
        assert not link.is_symlink()
        assert link.read_text() == "new"
    assert (tmp_path / "target").read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_not_replaced(tmp_path, kind):
    KINDS[kind](tmp_path / "out")
    before = (tmp_path / "out").stat().st_ino
    with pytest.raises(InputError, match=f"out: is a {kind}, expected a file"):
        write(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").stat().st_ino == before


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_changed_in_place_but_files(tmp_path, kind):
    (tmp_path / "target").write_text("theirs\n")
    KINDS[kind](tmp_path / "rows.jsonl")
    before = names(tmp_path)
    for write_to in (open_in_place, lambda path: append_lines(path, "{}\n")):
        with pytest.raises(InputError, match=r"rows\.jsonl: is a (link|pipe|folder), expected"):
            write_to(tmp_path / "rows.jsonl")
    assert names(tmp_path) == before
    assert (tmp_path / "target").read_text() == "theirs\n"


@pytest.mark.parametrize("torn", ["", "x", "x" * 200_000])
@pytest.mark.parametrize("whole", ["", "1\n2\n", "3" * 100_000 + "\n"])
def test_a_torn_line_is_cut_off(tmp_path, whole, torn):
    path = tmp_path / "rows.jsonl"
    path.write_text(whole + torn)
    append_lines(path, "new\nnewer\n")
    assert path.read_text() == whole + "new\nnewer\n"


def test_lines_that_do_not_fit_are_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    append_lines(path, "old\n")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(InputError, match=r"rows\.jsonl: cannot be written \(No space left"):
        append_lines(path, "new\n")
    assert path.read_text() == "old\n"


def test_a_failure_takes_the_folders_along_that_were_made(tmp_path):
    def fail():
        with replacing(tmp_path / "a" / "b" / "file.txt"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == ["a"]


def killed_writer(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that stands still in the middle of writing a file."""
    code = (
        "import sys, time; from pathlib import Path; from ipoke.core.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial: partial.write_text('ha'); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path):
    theirs = [".notes-123-deadbeef.txt", ".tmpAbC123", "ipoke-0a1b2c3d-x.txt", ".ipoke-0a1b2c3-x.txt", ".ipoke-notes"]
    for name in theirs:
        (tmp_path / name).write_text("theirs")
    (tmp_path / ".ipoke-0a1b2c3d-pipe").symlink_to(tmp_path / theirs[0])
    with killed_writer(tmp_path / "file.txt") as process:
        (left,) = [name for name in names(tmp_path) if is_leftover(name) and name.endswith("-file.txt")]
        write(tmp_path / "file.txt")
        sweep(tmp_path)
        assert left in names(tmp_path), "its writer lives"
        process.kill()
    write(tmp_path / "other.txt")
    assert left in names(tmp_path), "not of the same file"
    write(tmp_path / "file.txt")
    assert left not in names(tmp_path)
    assert names(tmp_path) == sorted([*theirs, ".ipoke-0a1b2c3d-pipe", "file.txt", "other.txt"])
    (tmp_path / ".ipoke-0a1b2c3d-other.bin").write_text("left")
    sweep(tmp_path)
    assert ".ipoke-0a1b2c3d-other.bin" not in names(tmp_path)


@linux
def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(tmp_path, monkeypatch):
    """Losing power in between, a file system may keep a rename and lose what was written before it."""
    done, real = [], os.replace

    def remember(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def rename(source, target):
        done.append("rename")
        real(source, target)

    monkeypatch.setattr(os, "fsync", remember)
    monkeypatch.setattr(os, "replace", rename)
    write(tmp_path / "new" / "file.txt")
    assert is_leftover(Path(done[1]).name)
    assert [done[0], *done[2:]] == [str(tmp_path), "rename", str(tmp_path / "new")]
    done.clear()
    append_lines(tmp_path / "rows.jsonl", "{}\n")
    append_lines(tmp_path / "rows.jsonl", "{}\n")
    assert done == [str(tmp_path / "rows.jsonl"), str(tmp_path), str(tmp_path / "rows.jsonl")]
