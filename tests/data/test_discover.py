"""Videos are found among whatever else lies in a folder."""

import os

import pytest

from ipoke.core.errors import InputError
from ipoke.data.discover import content_sha256, find_in_folder, find_videos

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.mark.timeout(60)
def test_pipes_are_not_waited_for(tmp_path):
    for name in ("a.mp4", "b.png", "c.png"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is a pipe"):
        find_videos([tmp_path / "a.mp4"])
    found, ignored = find_in_folder(tmp_path)
    assert found == []
    assert [file.path.name for file in ignored] == ["a.mp4", "b.png", "c.png"]
    with pytest.raises(InputError, match="is a pipe"):
        content_sha256(tmp_path / "a.mp4")
