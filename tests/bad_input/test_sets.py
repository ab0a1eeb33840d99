"""Prepared sets: whatever is in their files is refused in a line, or within what their settings say."""

import io
import itertools
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipoke.data.clip_rows import ClipSetSettings, SourceRow
from ipoke.data.clips import ClipSet
from ipoke.data.shards import arrays_to_npz, layout
from ipoke.evaluation.metrics.questions import questions_of
from refusals import CONTENTS, odd_files, refusal
from schemas import unbounded

pytestmark = pytest.mark.usefixtures("in_bounds")

HUGE = 10**30


def read_all(folder: Path) -> None:
    """Read one of everything that a set has."""
    clips = ClipSet(folder)
    for index in {0, len(clips) - 1}:
        clips.clip(index)
        clips.optical_flow(index)
        clips.extras(index)
    questions_of(clips, seed=0, most=2)


@pytest.fixture
def copied(tmp_path, clip_set) -> Path:
    folder = tmp_path / "set"
    shutil.copytree(clip_set, folder, ignore=shutil.ignore_patterns("cache", "questions-*"))
    return folder


def test_a_good_set_is_good(copied):
    read_all(copied)


SETTINGS: list[dict[str, Any]] = [
    *({"size": value} for value in (0, -1, 65, 128, 10**6, HUGE, 64.5, True, "64", None)),
    *({"frames": value} for value in (0, -1, 5, 10**6, HUGE, True)),
    *({"stride": value} for value in (0, -1, 2, 10**6, HUGE)),
    *({"version": value} for value in (0, 3, HUGE, "\x1b[31m")),
    {"format": "\x1b[31m" * 1000},
    {"optical_flow": "\x1b[31m"},
    {"resize": []},
    {"origin": []},
    {"origin": {"a" * 100_000: 1}},
    {"origin": {str(n): 1 for n in range(10_000)}},
    {"origin": {"simulator": "scenes", "seed": float("nan")}},
    {"\x1b[31m": 1},
]


@pytest.mark.parametrize("change", SETTINGS, ids=lambda change: repr(change)[:40])
def test_settings_out_of_range_are_refused(copied, change):
    path = copied / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refusal(lambda: read_all(copied))


Row = dict[str, Any]


def segment(**changes: object) -> Callable[[Row], None]:
    return lambda row: row["segments"][0].update(changes)


def member(ending: str, **changes: object) -> Callable[[Row], None]:
    return lambda row: row["segments"][0]["members"][ending].update(changes)


def without(ending: str) -> Callable[[Row], None]:
    return lambda row: row["segments"][0]["members"].pop(ending)


ROWS: dict[str, Callable[[Row], object]] = {
    **{f"frames {value}": segment(frames=value) for value in (0, 4, 6, 10**6, 10**9, HUGE, "5", True)},
    **{f"first {value}": segment(first=value) for value in (-1, HUGE, 1.5)},
    **{
        f"shard {value[:20]!a}": segment(shard=value)
        for value in (
            "../shard-00000.tar",
            "/dev/zero",
            "",
            ".",
            "a\0b",
            "\x1b[31m",
            "n" * 300,
            "shard-00009.tar",
            "\ud800",
        )
    },
    **{f"key {value[:20]!a}": segment(key=value) for value in ("", "\x1b[31m" * 1000, "../a", "a\nb")},
    **{
        f"mp4 {key} {value}": member("mp4", **{key: value})
        for key, value in itertools.product(("offset", "length"), (-1, 0, 7, 2**40, 2**62, HUGE, 1.5, "1"))
    },
    "crc32 another": member("mp4", crc32=1),
    "crc32 huge": member("mp4", crc32=HUGE),
    "flow elsewhere": lambda row: member("flow.npz", **row["segments"][0]["members"]["mp4"])(row),
    "mp4 elsewhere": lambda row: member("mp4", **row["segments"][0]["members"]["flow.npz"])(row),
    "no mp4": without("mp4"),
    "no flow": without("flow.npz"),
    "no extras": without("extra.npz"),
    "another member": lambda row: row["segments"][0]["members"].update(
        {"\x1b[31m": {"offset": 0, "length": 1, "crc32": 0}}
    ),
    "members are a list": segment(members=[]),
    "segment twice": lambda row: row["segments"].append(row["segments"][0]),
    "many segments": lambda row: row.update(segments=row["segments"] * 5_000),
    "id": lambda row: row.update(id="\x1b[31m"),
    "video": lambda row: row.update(video="a" * 100_000),
    "split": lambda row: row.update(split="\x1b[31m" * 1000),
    "source frames": lambda row: row.update(frames=HUGE),
    "size": lambda row: row.update(size=[HUGE, 1]),
    "size of three": lambda row: row.update(size=[1, 1, 1]),
    "fps": lambda row: row.update(fps=float("inf")),
    "fps huge": lambda row: row.update(fps=1e308),
    "keep every": lambda row: row.update(keep_every=HUGE),
    "unknown": lambda row: row.update({"\x1b[31m": 1}),
    "hash": lambda row: row.update(sha256="z" * 100_000),
    "note": lambda row: row.update(note="n" * 1_000_000),
    "dropped": lambda row: row.update(dropped=[{"start": -1, "stop": 0, "why": ""}]),
}


@pytest.mark.parametrize("what", ROWS)
def test_rows_that_lie_are_refused(copied, what):
    path = copied / "index.jsonl"
    first, *others = path.read_text().splitlines()
    row = json.loads(first)
    ROWS[what](row)
    path.write_text("\n".join([json.dumps(row), *others]) + "\n")
    refusal(lambda: read_all(copied))


def test_a_source_that_comes_twice_is_refused(copied):
    path = copied / "index.jsonl"
    first = path.read_text().splitlines()[0]
    path.write_text(path.read_text() + first + "\n")
    refusal(lambda: read_all(copied))


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def lying(data: bytes) -> bytes:
    """Say in the directory that the first array is short."""
    at = data.index(b"PK\x01\x02")
    return data[: at + 24] + struct.pack("<I", 10) + data[at + 28 :]


def encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 8] + b"\x01\x00" + data[at + 10 :]


SHAPE = (1, 2, 64, 64)
HEADER = "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2, 64, 64), }"
FLOWS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"\x1b[31m",
    "no arrays": lambda: zipped(),
    "another name": lambda: arrays_to_npz({"flow": np.zeros(SHAPE, np.int16)}),
    "another shape": lambda: arrays_to_npz({"optical_flow": np.zeros((2, 64, 64), np.int16)}),
    "smaller": lambda: arrays_to_npz({"optical_flow": np.zeros((1, 2, 32, 32), np.int16)}),
    "more starts": lambda: arrays_to_npz({"optical_flow": np.zeros((5, 2, 64, 64), np.int16)}),
    "floats": lambda: arrays_to_npz({"optical_flow": np.full(SHAPE, np.nan, np.float32)}),
    "texts": lambda: arrays_to_npz({"optical_flow": np.full(SHAPE, "a")}),
    "objects": lambda: zipped(optical_flow=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2, 64, 64), }")),
    "vast shape": lambda: zipped(
        optical_flow=npy("{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2, 1000000, 1000000), }")
    ),
    "negative shape": lambda: zipped(optical_flow=npy("{'descr': '<i2', 'fortran_order': False, 'shape': (-1, 2), }")),
    "overflowing shape": lambda: zipped(
        optical_flow=npy(f"{{'descr': '<i2', 'fortran_order': False, 'shape': ({2**62}, {2**62}), }}")
    ),
    "vast type": lambda: zipped(optical_flow=npy("{'descr': '|V999999999', 'fortran_order': False, 'shape': (99,), }")),
    "deep header": lambda: zipped(optical_flow=npy("(" * 5000 + ")" * 5000)),
    "header of text": lambda: zipped(optical_flow=npy("\x1b[31m")),
    "header beyond": lambda: zipped(optical_flow=b"\x93NUMPY\x02\x00\xff\xff\xff\x7f"),
    "another version": lambda: zipped(optical_flow=b"\x93NUMPY\x09\x09" + bytes(100)),
    "too few bytes": lambda: zipped(optical_flow=npy(HEADER, bytes(100))),
    "a bomb": lambda: zipped(optical_flow=npy(HEADER, bytes(2**22))),
    "a bomb that lies": lambda: lying(zipped(optical_flow=npy(HEADER, bytes(2**22)))),
    "encrypted": lambda: encrypted(arrays_to_npz({"optical_flow": np.zeros(SHAPE, np.int16)})),
    "cut off": lambda: arrays_to_npz({"optical_flow": np.zeros(SHAPE, np.int16)})[:-40],
    "damaged": lambda: damaged(arrays_to_npz({"optical_flow": np.arange(2 * 64 * 64, dtype=np.int16).reshape(SHAPE)})),
    "many arrays": lambda: zipped(**{f"a{n}": npy("") for n in range(200)}),
    "no array file": lambda: zipped(optical_flow=b"plain bytes"),
}
POKES: dict[str, Callable[[], bytes]] = {
    "no poke": lambda: arrays_to_npz({"keypoints": np.zeros(3)}),
    "a poke of three": lambda: arrays_to_npz({"poke": np.zeros(3)}),
    "a poke of nan": lambda: arrays_to_npz({"poke": np.full(4, np.nan)}),
    "a poke of text": lambda: arrays_to_npz({"poke": np.array(["a"] * 4)}),
    "a poke outside": lambda: arrays_to_npz({"poke": np.array([1e6, 1e6, 1.0, 1.0])}),
    "a poke of two axes": lambda: arrays_to_npz({"poke": np.zeros((4, 4))}),
    "gigabytes": lambda: zipped(poke=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }")),
    "objects": lambda: zipped(poke=npy("{'descr': '|O', 'fortran_order': False, 'shape': (4,), }", b"cos\nsystem\n.")),
}


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(200) + data[middle + 200 :]


def put(folder: Path, ending: str, content: bytes) -> None:
    """Replace a member of the first segment by other bytes, of which the index knows."""
    path = folder / "index.jsonl"
    first, *others = path.read_text().splitlines()
    row = json.loads(first)
    shard = folder / row["segments"][0]["shard"]
    added, rows = layout("a", {ending: content}, shard.stat().st_size)
    with shard.open("ab") as file:
        file.write(added)
    row["segments"][0]["members"][ending] = rows[ending].model_dump()
    path.write_text("\n".join([json.dumps(row), *others]) + "\n")


@pytest.mark.parametrize("what", FLOWS)
def test_arrays_that_lie_are_refused(copied, what):
    put(copied, "flow.npz", FLOWS[what]())
    refusal(lambda: read_all(copied))


@pytest.mark.parametrize("what", POKES)
def test_further_arrays_that_lie_are_refused(copied, what):
    put(copied, "extra.npz", POKES[what]())
    refusal(lambda: read_all(copied))


def film(side: int, count: int) -> bytes:
    from ipoke.data.codec import encode_mp4

    return encode_mp4(np.zeros((count, side, side, 3), np.uint8), 25)


FILMS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"\x1b[31m" * 100,
    "another size": lambda: film(32, 5),
    "fewer frames": lambda: film(64, 4),
    "more frames": lambda: film(64, 6),
    "many frames": lambda: film(64, 300),
    "large": lambda: film(512, 5),
    "a list of files": lambda: b"ffconcat version 1.0\nfile shard-00000.tar\n",
    "cut off": lambda: film(64, 5)[:-200],
    "a session description": lambda: (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nm=video 19200 RTP/AVP 96\n"
    ),
}


@pytest.mark.parametrize("what", FILMS)
def test_films_that_lie_are_refused(copied, what):
    put(copied, "mp4", FILMS[what]())
    refusal(lambda: read_all(copied))


@pytest.mark.parametrize("file", ["settings.json", "index.jsonl", "shard-00000.tar"])
@pytest.mark.parametrize("number", range(11 + len(CONTENTS)))
def test_what_is_no_file_of_a_set_is_refused(tmp_path, copied, number, file):
    (tmp_path / "odd").mkdir()
    _, odd = next(itertools.islice(odd_files(tmp_path / "odd", ""), number, None))
    (copied / file).unlink()
    (copied / file).symlink_to(odd)
    refusal(lambda: read_all(copied))


@pytest.mark.parametrize("file", ["cache/.lock", "cache", "questions-all-seed0-most2.jsonl"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "text"])
def test_what_is_in_the_way_of_files_beside_a_set_never_hangs(copied, file, kind):
    path = copied / file
    path.parent.mkdir(exist_ok=True)
    {"fifo": os.mkfifo, "folder": os.mkdir, "text": lambda path: path.write_text("\x1b[31m")}[kind](path)
    if file.startswith("questions"):
        refusal(lambda: read_all(copied))
    else:
        read_all(copied)


QUESTIONS = {
    "clips": {"clip": 10**9},
    "negative": {"clip": -1},
    "huge": {"clip": HUGE},
    "pokes of three": {"pokes": [[1, 2, 3]]},
    "many pokes": {"pokes": [[1, 2, 3, 4]] * 10_000},
    "nan": {"pokes": [[float("nan"), 1, 1, 1]]},
    "far": {"pokes": [[1e300, 1, 1, 1]]},
    "pin": {"pin": [float("inf"), 1]},
    "no pokes": {"pokes": []},
    "another video": {"video": "\x1b[31m" * 1000},
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_stored_questions_that_lie_are_refused(copied, what):
    read_all(copied)
    (path,) = copied.glob("questions-*.jsonl")
    about, first, *others = path.read_text().splitlines()
    path.write_text("\n".join([about, json.dumps(json.loads(first) | QUESTIONS[what]), *others]) + "\n")
    refusal(lambda: read_all(copied))


def test_every_number_list_and_text_of_a_set_has_bounds():
    assert not [*unbounded(ClipSetSettings), *unbounded(SourceRow)]
