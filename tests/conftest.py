import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import checked_shapes  # noqa: F401 before the package, whose shapes it enforces
import commands
import refusals
import tiny
from ipoke.data.images import write_png
from ipoke.scenes import write_scenes

collect_ignore = ["checked_shapes.py"]
"""It enforces shapes when it is imported first, and so cannot be imported again to look for doctests."""

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def no_power_is_lost() -> Iterator[None]:
    """Wait for no disk: what was written stays as long as the machine runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def ipoke(capsys, monkeypatch) -> commands.Command:
    """Run a command: ``ipoke("poke", picture, "--out", file)``."""
    return commands.command(capsys, monkeypatch)


@pytest.fixture
def in_bounds() -> Generator[None]:
    """No answer may hang or fill the memory."""
    with refusals.bounded():
        yield


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.png"
    write_png(path, commands.PICTURE)
    return path


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny.tiny_model().save(path, {"trained_on": "nothing"})
    return path


@pytest.fixture(scope="session")
def clip_set(tmp_path_factory) -> Path:
    """Simulated clips, as few and as short as training takes."""
    folder = tmp_path_factory.mktemp("clips") / "scenes"
    write_scenes(folder, clips=6, size=64, seed=1, workers=1, frames=tiny.FRAMES, progress=lambda *_: None)
    return folder
