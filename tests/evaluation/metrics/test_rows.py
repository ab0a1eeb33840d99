import json
import os

import pytest

from ipoke.core.errors import InputError
from ipoke.evaluation.metrics.rows import Rows, read_rows

FACTS = {"model": "m", "seed": 0}


def test_rows_are_there_again(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl", FACTS)
    rows.add({7: {"figures": {"ssim": 0.5}}})
    rows.add({2: {"figures": {"ssim": 0.25}}})
    again = Rows(tmp_path / "rows.jsonl", FACTS)
    assert again.by_clip == rows.by_clip == {7: {"figures": {"ssim": 0.5}}, 2: {"figures": {"ssim": 0.25}}}
    assert read_rows(tmp_path / "rows.jsonl") == rows.by_clip


def test_rows_of_version_0_1_are_continued(tmp_path):
    Rows(tmp_path / "rows.jsonl", FACTS | {"reaches": True}).add({1: {"figures": {}}})
    assert Rows(tmp_path / "rows.jsonl", FACTS | {"guidance": True}).by_clip == {1: {"figures": {}}}
    with pytest.raises(InputError, match="measured with guidance True, not False"):
        Rows(tmp_path / "rows.jsonl", FACTS | {"guidance": False})


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_kill_costs_the_row_that_was_being_written(tmp_path, cut):
    file = tmp_path / "rows.jsonl"
    rows = Rows(file, FACTS)
    rows.add({1: {"figures": {}}})
    rows.add({2: {"figures": {}}})
    file.write_bytes(file.read_bytes()[:-cut])
    again = Rows(file, FACTS)
    assert again.by_clip == {1: {"figures": {}}}
    again.add({2: {"figures": {}}})
    assert [json.loads(line)["clip"] for line in file.read_text().splitlines()[1:]] == [1, 2]


def test_rows_of_another_evaluation_are_refused_by_the_difference(tmp_path):
    Rows(tmp_path / "rows.jsonl", FACTS).add({1: {"figures": {}}})
    with pytest.raises(InputError, match="measured with seed 0, not 1; choose another --out"):
        Rows(tmp_path / "rows.jsonl", FACTS | {"seed": 1})
    (tmp_path / "rows.jsonl").write_text("no rows\n")
    with pytest.raises(InputError, match="not the rows of an evaluation"):
        Rows(tmp_path / "rows.jsonl", FACTS)
    with pytest.raises(InputError, match="no such file"):
        read_rows(tmp_path / "none.jsonl")


def test_what_has_no_row_yet_is_no_evaluation(tmp_path):
    file = tmp_path / "rows.jsonl"
    Rows(file, FACTS)
    assert not file.exists()
    file.write_text(json.dumps(FACTS) + '\n{"clip": 1')
    other = Rows(file, FACTS | {"seed": 1})
    other.add({1: {"figures": {}}, 2: {"figures": {}}})
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        FACTS | {"seed": 1},
        {"clip": 1, "figures": {}},
        {"clip": 2, "figures": {}},
    ]


@pytest.mark.parametrize("line", ['{"format": "theirs"}', "[]", '{"model": "m"}\n{"clip": "1"}'])
def test_foreign_lines_are_kept(tmp_path, line):
    file = tmp_path / "rows.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(InputError, match="another --out"):
        Rows(file, FACTS | {"format": "ours"})
    assert file.read_text() == line + "\n"


@pytest.mark.parametrize("kind", ["a link", "a pipe", "a folder"])
def test_rows_are_rows_of_a_file(tmp_path, kind):
    file = tmp_path / "rows.jsonl"
    made = {"a link": lambda path: path.symlink_to(tmp_path / "theirs"), "a pipe": os.mkfifo, "a folder": os.mkdir}
    made[kind](file)
    with pytest.raises(InputError, match=rf"rows\.jsonl: is {kind}"):
        Rows(file, FACTS)
    assert os.listdir(tmp_path) == ["rows.jsonl"]
