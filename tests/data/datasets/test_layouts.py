from typing import Any, get_args

import pytest

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.data.datasets import LAYOUTS, DatasetName
from ipoke.data.prepare import prepare
from miniature import film

EXPECTED = {
    "plants": ("27 videos", "fern/2.mkv", "objects.txt"),
    "iper": ("train.txt", "001_1_2.mp4", "001/1/2"),
    "taichi": ("folders train and test", "--test-videos"),
    "human36m": ("S1, S5, S6, S7, S8, S9, S11",),
}


def test_every_name_has_a_layout():
    assert set(get_args(DatasetName)) == set(LAYOUTS) == set(EXPECTED)


@pytest.mark.parametrize("dataset", EXPECTED)
def test_an_empty_folder_is_refused_with_all_that_is_expected(dataset, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "readme.md").write_text("nothing yet")
    with pytest.raises(InputError, match=r"got 0 videos, expected") as error:
        prepare([tmp_path / "root"], tmp_path / "set", dataset=dataset)
    assert all(words in str(error.value) for words in (str(tmp_path / "root"), *EXPECTED[dataset]))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("dataset", "more", "said"),
    [
        ("plants", {"test_fraction": 0.2}, "--test-fraction: got 0.2, but --dataset"),
        ("taichi", {"test_fraction": 0.2}, "--test-fraction: got 0.2, but --dataset"),
        ("plants", {"test_videos": "a*"}, "--test-videos: got 'a.', but Poking-Plants"),
        ("iper", {"test_videos": "a*"}, "--test-videos: got 'a.', but iPER"),
        ("human36m", {"test_videos": "a*"}, "--test-videos: got 'a.', but Human3.6M"),
        ("plants", {"stride": 0}, "--stride: got 0"),
    ],
)
def test_what_contradicts_the_data_set_is_refused(tmp_path, dataset, more: dict[str, Any], said):
    film(tmp_path / "root", "a.mkv", 30)
    with pytest.raises(InputError, match=said):
        prepare([tmp_path / "root"], tmp_path / "set", dataset=dataset, **more)
    assert not (tmp_path / "set").exists()


def test_a_data_set_is_one_folder(tmp_path):
    film(tmp_path / "root", "a.mkv", 5)
    for inputs in ([], [tmp_path / "root"] * 2, [tmp_path / "root" / "a.mkv"], [tmp_path / "nowhere"]):
        with pytest.raises(InputError, match=r"--dataset: got .*expected one folder, which holds Poking-Plants"):
            prepare(inputs, tmp_path / "set", dataset="plants")


def test_without_a_data_set_nothing_changes(tmp_path):
    film(tmp_path / "root", "S9/train/001_1_1.mp4", 30, fps=50)
    (row,) = prepare([tmp_path / "root"], tmp_path / "set", size=32).rows
    settings = ClipSet(tmp_path / "set").settings
    assert (settings.stride, settings.resize, settings.version) == (1, "crop", 1)
    assert settings.origin == {"made_by": "prepare", "test": "fraction 0.1"}
    assert (row.object, row.keep_every, row.fps, row.frames) == ("", 1, 50, 30)


def test_the_command_takes_a_data_set(tmp_path, ipoke):
    for name in ("S1/a.mp4", "S9/b.mp4"):
        film(tmp_path / "root", name, 60, fps=25)
    answer = ipoke("prepare", "--dataset", "human36m", tmp_path / "root", "--out", tmp_path / "set", "--workers", 1)
    assert answer.code == 0
    assert "missing: S5 (train)" in answer.out.splitlines()
    assert ClipSet(tmp_path / "set").settings.origin["dataset"] == "human36m"
    wrong = ipoke("prepare", "--dataset", "plant", tmp_path / "root", "--out", tmp_path / "set2")
    assert wrong.code == 2
    assert "plants" in wrong.err
