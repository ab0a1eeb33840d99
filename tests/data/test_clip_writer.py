"""What a writer of a set leaves alone, and what it leaves behind."""

import os
import re
import shutil
from pathlib import Path

import pytest

from ipoke.core.errors import InputError
from ipoke.data.clip_rows import read_rows, read_settings
from ipoke.data.clip_writer import ClipWriter


@pytest.fixture
def folder(clip_set, tmp_path) -> Path:
    """A set of its own."""
    copy = tmp_path / "set"
    shutil.copytree(clip_set, copy, ignore=lambda *_: ["cache"])
    return copy


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def writer(folder: Path, **changes: int) -> ClipWriter:
    settings = read_settings(folder) if (folder / "settings.json").exists() else read_settings(folder.parent / "set")
    return ClipWriter(folder, settings=settings.model_copy(update=changes))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["shard-00000.tar", "index.jsonl", ".lock"])
def test_nothing_is_written_through_what_is_no_file(folder, tmp_path, name, kind):
    target = tmp_path / "theirs"
    (folder / ".lock").touch()
    (folder / name).rename(target)
    before = target.read_bytes()
    {"link": lambda path: path.symlink_to(target), "pipe": os.mkfifo, "folder": os.mkdir}[kind](folder / name)
    for _ in range(2):
        with pytest.raises(InputError, match=re.escape(name)) as error:
            writer(folder)
        assert "\n" not in str(error.value)
    assert target.read_bytes() == before


def test_a_link_in_place_of_a_new_shard_is_replaced(folder, tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (folder / "index.jsonl").unlink()
    shard = folder / "shard-00000.tar"
    shard.unlink()
    shard.symlink_to(tmp_path / "theirs")
    with writer(folder):
        assert not shard.is_symlink()
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_set_without_a_source_goes_after_a_mistake_and_one_with_sources_stays(folder, tmp_path):
    def fail(where: Path) -> None:
        with writer(where):
            raise InputError("wrong")

    before = contents(folder)
    for where in (tmp_path / "new", folder):
        with pytest.raises(InputError, match="wrong"):
            fail(where)
    assert not (tmp_path / "new").exists()
    assert contents(folder) == before


def test_a_set_without_a_source_binds_nobody(folder, tmp_path):
    writer(tmp_path / "new", stride=2).close()
    assert read_settings(tmp_path / "new").stride == 2
    writer(tmp_path / "new", stride=1).close()
    assert read_settings(tmp_path / "new").stride == 1
    with pytest.raises(InputError, match="stride: there 1, now 2"):
        writer(folder, stride=2)
    assert read_rows(folder)[0]
