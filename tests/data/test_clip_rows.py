import json

from ipoke.data.clip_rows import ClipSetSettings, SourceRow, read_rows

OLD = {
    "id": "a-1",
    "video": "v/a.mp4",
    "split": "train",
    "frames": 9,
    "size": [64, 48],
    "fps": 25.0,
    "sha256": "00",
    "segments": [],
    "dropped": [],
    "note": "",
}
"""A row as version 1 wrote it."""


def test_a_row_of_version_1_is_read_and_written_as_it_was(tmp_path):
    line = json.dumps(OLD, separators=(",", ":"))
    (tmp_path / "index.jsonl").write_text(line + "\n")
    ((row,), _) = read_rows(tmp_path)
    assert (row.object, row.keep_every) == ("", 1)
    assert row.model_dump_json() == line


def test_object_and_rate_come_back():
    row = SourceRow.model_validate_json(json.dumps(OLD | {"object": "fern", "keep_every": 8}))
    assert SourceRow.model_validate_json(row.model_dump_json()) == row
    assert json.loads(row.model_dump_json()) == OLD | {"object": "fern", "keep_every": 8}


def test_settings_are_of_version_1_unless_said_otherwise():
    assert ClipSetSettings(size=32, frames=3, optical_flow="dis").version == 1
