import itertools
from pathlib import Path

import numpy as np
import pytest

from ipoke.core.errors import InputError
from ipoke.data import clip_writer
from ipoke.data.clips import ClipSet
from ipoke.data.prepare import prepare
from miniature import film, squeezed

SIZE, FRAMES = 32, 3
WINDOW = 6


def prepared(root, out, **more):
    return prepare([root], out, dataset="plants", size=SIZE, frames=FRAMES, **more)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}


@pytest.fixture
def root(tmp_path) -> Path:
    """Two plants, one of them filmed twice; the lengths are no multiples of five."""
    for name, count in (("fern/1.mkv", 48), ("fern/2.mkv", 43), ("agave/first.mkv", 51)):
        film(tmp_path / "plants", name, count)
    return tmp_path / "plants"


def objects_of(report):
    return {row.video.partition("/")[2]: row.object for row in report.rows}


def test_every_video_is_split_in_time_and_no_frame_is_in_both_parts(root, tmp_path):
    report = prepared(root, tmp_path / "set")
    assert [(row.video, row.split) for row in report.rows] == [
        (f"plants/{name}", split)
        for name in ("agave/first.mkv", "fern/1.mkv", "fern/2.mkv")
        for split in ("train", "test")
    ]
    for train, test, count in zip(report.rows[::2], report.rows[1::2], (51, 48, 43), strict=True):
        border = 4 * count // 5
        assert (train.frames, test.frames) == (border, count - border)
        assert [(part.first, part.frames) for part in train.segments] == [(0, border)]
        assert [(part.first, part.frames) for part in test.segments] == [(border, count - border)]
        assert train.sha256 == test.sha256
        assert train.id != test.id
    clip_set = ClipSet(tmp_path / "set")
    used: dict[tuple[str, str], set[int]] = {}
    for place in map(clip_set.row, range(len(clip_set))):
        frames = used.setdefault((place.source.video, place.source.split), set())
        frames.update(range(place.first, place.first + WINDOW + 1))
    for video in {video for video, _ in used}:
        assert used[video, "train"].isdisjoint(used[video, "test"])
        assert used[video, "train"] | used[video, "test"] == set(range(max(used[video, "test"]) + 1))


def test_clips_show_every_second_frame_squeezed_from_where_they_say(root, tmp_path):
    prepared(root, tmp_path / "set")
    clip_set = ClipSet(tmp_path / "set", split="test")
    assert (clip_set.settings.stride, clip_set.settings.resize, clip_set.settings.version) == (2, "squeeze", 2)
    place = clip_set.row(2)
    assert place.first == 4 * 51 // 5 + 2
    frames = film(tmp_path, "agave/first.mkv", 51)[place.first : place.first + WINDOW + 1 : 2]
    assert np.sqrt(np.mean((clip_set.clip(2).astype(float) - squeezed(frames, SIZE)) ** 2)) < 4


def test_a_folder_of_frames_and_a_broken_end_are_split_alike(tmp_path):
    film(tmp_path / "v", "fern", 36)
    film(tmp_path / "v", "agave", 60)
    (tmp_path / "v" / "agave" / "frame_40.png").write_bytes(b"broken")
    rows = prepared(tmp_path / "v", tmp_path / "set").rows
    assert [(row.frames, row.segments[0].first, row.note[:16]) for row in rows] == [
        (32, 0, ""),
        (8, 32, "ends after 40 fr"),
        (28, 0, ""),
        (8, 28, ""),
    ]


def test_what_cannot_be_used_is_told_for_each_part(root, tmp_path):
    film(root, "fern/3.mkv", 12)
    (root / "fern" / "4.mkv").write_bytes(b"not a video")
    lines = list(prepared(root, tmp_path / "set").lines())
    said = "\n".join(lines)
    assert "plants/fern/3.mkv (test): dropped; frames 9-12: too short" in said
    assert "plants/fern/4.mkv (train): dropped; cannot be decoded" in said
    assert "plants/fern/4.mkv (test): dropped; cannot be decoded" in said
    assert "missing: 22 of the 27 videos" in lines
    assert "7 parts of videos kept, 3 dropped (10 new)" in lines[-1]


def test_a_video_of_one_frame_has_a_reason(tmp_path):
    film(tmp_path / "v", "a.mkv", 1)
    film(tmp_path / "v", "b.mkv", 40)
    train, test, *_ = prepared(tmp_path / "v", tmp_path / "set").rows
    assert [loss.why for loss in train.dropped] == ["too short to have a train part"]
    assert test.frames == 1


@pytest.mark.parametrize(
    ("names", "objects"),
    [
        (("fern/1.mkv", "agave/x.mkv"), ("fern", "agave")),
        (("fern_1.mkv", "fern_take2.mkv", "spider plant 03.mkv"), ("fern", "fern", "spider plant")),
        (("all/fern-1.mkv", "all/agave-2.mkv"), ("fern", "agave")),
        (("fern/1.mkv", "fern/2.mkv"), ("fern", "fern")),
        (("01.mkv", "02.mkv"), ("01", "02")),
        (("fern/1.mkv", "agave_2.mkv"), ("fern", "agave")),
    ],
)
def test_folders_or_names_tell_plants_apart(tmp_path, names, objects):
    for name in names:
        film(tmp_path / "v", name, 30)
    assert objects_of(prepared(tmp_path / "v", tmp_path / "set")) == dict(zip(names, objects, strict=True))


def test_a_list_names_the_plants(root, tmp_path):
    (root / "objects.txt").write_text("fern/1.mkv p1\n\n2.mkv p2\r\nfirst.mkv p1\nlost.mkv p9\n")
    report = prepared(root, tmp_path / "set")
    assert objects_of(report) == {"agave/first.mkv": "p1", "fern/1.mkv": "p1", "fern/2.mkv": "p2"}
    assert report.missing == ("24 of the 27 videos", "lost.mkv, which objects.txt names")
    assert not report.ignored
    clips = ClipSet(tmp_path / "set", split="train").objects()
    assert {name: len(numbers) for name, numbers in clips.items()} == {"p1": 40 + 38 - 2 * WINDOW, "p2": 34 - WINDOW}
    (root / "objects.txt").write_text("fern/1.mkv p2\n2.mkv p2\nfirst.mkv p1\n")
    with pytest.raises(InputError, match=r"other settings \(list_sha256"):
        prepared(root, tmp_path / "set")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.mkv p1\n", r"objects\.txt: does not name the plant of agave/first\.mkv.*add a line"),
        ("1.mkv\n", r"objects\.txt: got '1\.mkv', expected a video and its plant"),
    ],
)
def test_a_wrong_list_is_refused(root, tmp_path, text, said):
    (root / "objects.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        prepared(root, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_stopped_between_the_parts_of_a_video_and_repeated_is_as_if_never_stopped(root, tmp_path, monkeypatch):
    prepared(root, tmp_path / "straight")
    for parts in (1, 3):
        real, counter = clip_writer.ClipWriter.add_encoded, itertools.count()

        def stop(self, *arguments, real=real, counter=counter, parts=parts):
            if next(counter) == parts:
                raise KeyboardInterrupt
            return real(self, *arguments)

        monkeypatch.setattr(clip_writer.ClipWriter, "add_encoded", stop)
        with pytest.raises(KeyboardInterrupt):
            prepared(root, tmp_path / f"stopped-{parts}")
        monkeypatch.undo()
        report = prepared(root, tmp_path / f"stopped-{parts}")
        assert report.added == 6 - parts
        assert not report.ignored
        assert contents(tmp_path / f"stopped-{parts}") == contents(tmp_path / "straight")
    again = prepared(root, tmp_path / "straight", workers=2)
    assert again.added == 0


def test_the_same_film_under_two_names_is_taken_once(root, tmp_path):
    (root / "fern" / "3.mkv").write_bytes((root / "fern" / "1.mkv").read_bytes())
    report = prepared(root, tmp_path / "set")
    assert len(report.rows) == 6
    assert [file.why for file in report.ignored] == ["same contents as plants/fern/1.mkv"]
