from pathlib import Path

import pytest

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.data.prepare import prepare
from miniature import film

NAMES = ("001_1_1.mp4", "001_1_2.mp4", "release/002_10_2.mp4", "003/1/1")


def prepared(root, out, **more):
    return prepare([root], out, dataset="iper", size=32, frames=3, **more)


def splits_of(report):
    return {row.video.partition("/")[2]: row.split for row in report.rows}


@pytest.fixture
def root(tmp_path) -> Path:
    for name in NAMES:
        film(tmp_path / "iPER", name, 12)
    (tmp_path / "iPER" / "train.txt").write_text("001_1_2\r\n003/1/1/\n\n002_10_2\n")
    return tmp_path / "iPER"


def test_the_list_says_what_is_for_training_and_the_rest_is_for_the_test(root, tmp_path):
    report = prepared(root, tmp_path / "set")
    assert splits_of(report) == dict(zip(NAMES, ("test", "train", "train", "train"), strict=True))
    assert [row.object for row in report.rows] == ["001", "001", "003", "002"]
    assert report.missing == report.ignored == ()
    settings = ClipSet(tmp_path / "set").settings
    assert (settings.stride, settings.resize) == (1, "squeeze")
    assert settings.origin["dataset"] == "iper"
    assert {row.frames for row in report.rows} == {12}
    assert report.clips() == 4 * (12 - 3)


def test_what_the_list_names_and_the_folder_lacks_is_missing(root, tmp_path):
    with (root / "train.txt").open("a") as file:
        file.write("004_1_1\n004/1/2\n")
    report = prepared(root, tmp_path / "set")
    assert report.missing == ("2 of 5 videos that train.txt lists: 004_1_1, 004/1/2",)
    assert "missing: 2 of 5 videos that train.txt lists: 004_1_1, 004/1/2" in list(report.lines())
    assert len(report.rows) == 4


def test_other_videos_and_second_copies_are_ignored(root, tmp_path):
    for name in ("smpl.mp4", "1001.mp4", "z/001_1_1.mp4"):
        film(root, name, 12)
    report = prepared(root, tmp_path / "set")
    assert set(splits_of(report)) == set(NAMES)
    assert sorted(file.path.name for file in report.ignored) == ["001_1_1.mp4", "1001.mp4", "smpl.mp4"]


def test_a_changed_list_needs_another_set(root, tmp_path):
    prepared(root, tmp_path / "set")
    (root / "train.txt").write_text("001_1_1\n")
    with pytest.raises(InputError, match=r"other settings \(list_sha256"):
        prepared(root, tmp_path / "set")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"train\.txt: got no list, expected .*copy it there"),
        ("\n", r"train\.txt: got no list"),
        ("001_1\n", r"train\.txt: got '001_1', expected actor, outfit and action"),
        (b"\xff\xfe", r"train\.txt: cannot be read"),
    ],
)
def test_without_a_good_list_there_is_no_split(root, tmp_path, text, said):
    (root / "train.txt").unlink()
    if text is not None:
        (root / "train.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=said) as error:
        prepared(root, tmp_path / "set")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "set").exists()
