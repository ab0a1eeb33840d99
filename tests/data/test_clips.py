import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
import zlib
from typing import Any

import cv2
import numpy as np
import pytest

from checked_shapes import unchecked
from ipoke.core.errors import InputError
from ipoke.data import clip_cache, clip_writer, clips
from ipoke.data.clips import ClipSet, ClipSetSettings, ClipWriter, DroppedRow, Segment, SourceRow
from ipoke.data.codec import decode_mp4

SETTINGS = ClipSetSettings(size=32, frames=3, stride=2, optical_flow="exact")
WINDOW = 6


def source(name, split="train", **more):
    known: dict[str, Any] = {
        "id": name,
        "video": f"{name}.mp4",
        "split": split,
        "frames": 20,
        "size": (32, 32),
        "fps": 25.0,
    }
    return SourceRow(sha256=name, **(known | more))


def member(archive, name):
    """Open a file of a shard."""
    file = archive.extractfile(name)
    assert file is not None
    return file


def segment(count, seed=0, first=0, **arrays):
    """Frames whose brightness counts them, and displacements that are multiples of 1/64 px."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 90, (32, 32, 3), dtype=np.uint8), (0, 0), 3)
    frames = np.stack([texture + np.uint8(8 * index) for index in range(count)])
    optical_flow = rng.integers(-2000, 2000, (count - WINDOW, 2, 32, 32)).astype(np.float32) / 64
    return Segment(frames, optical_flow, first, arrays)


PARTS = {
    "a": [segment(12, 1, first=3), segment(7, 2, first=40)],
    "b": [segment(9, 3, keypoints=np.arange(9.0), poke=np.array([1, 2, 3, 4], np.float32))],
    "c": [],
    "d": [segment(10, 4)],
}


def write(folder, names="abcd", settings=SETTINGS):
    with ClipWriter(folder, settings=settings) as writer:
        for name in names:
            if name not in writer.done:
                writer.add(source(name, "test" if name == "d" else "train"), PARTS[name])
    return folder


def contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.*")) if file.is_file()}


def shard(folder):
    return folder / "shard-00000.tar"


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set")


def test_clips_are_all_legal_starts_in_order(folder):
    clip_set = ClipSet(folder)
    assert (clip_set.size, clip_set.frames, clip_set.stride) == (32, 3, 2)
    expected = [
        (name, part, start)
        for name in "abcd"
        for part in range(len(PARTS[name]))
        for start in range(len(PARTS[name][part].frames) - WINDOW)
    ]
    assert len(clip_set) == len(expected) == 6 + 1 + 3 + 4
    for index, (name, part, start) in enumerate(expected):
        given = PARTS[name][part]
        place = clip_set.row(index)
        assert (place.source.id, place.segment.key, place.start) == (name, f"{name}-{part:04d}", start)
        assert place.first == given.first + start
        clip = clip_set.clip(index)
        assert clip.shape == (4, 32, 32, 3)
        assert clip.dtype == np.uint8
        error = clip.astype(float) - given.frames[start : start + WINDOW + 1 : 2]
        assert np.sqrt(np.mean(error**2)) < 3
        assert np.abs(error.mean((1, 2, 3))).max() < 1.5
        np.testing.assert_array_equal(clip_set.optical_flow(index), given.optical_flow[start])
    for index in (-1, len(clip_set)):
        with pytest.raises(IndexError):
            clip_set.row(index)


def test_splits_are_disjoint_and_whole(folder):
    train, test = ClipSet(folder, split="train"), ClipSet(folder, split="test")
    assert [row.id for row in train.sources] == ["a", "b", "c"]
    assert [row.id for row in test.sources] == ["d"]
    assert (len(train), len(test)) == (10, 4)
    np.testing.assert_array_equal(test.clip(0), ClipSet(folder).clip(10))
    np.testing.assert_array_equal(test.optical_flow(0), PARTS["d"][0].optical_flow[0])
    assert train.sha256 == test.sha256


def test_displacements_are_rounded_to_a_64th(tmp_path):
    optical_flow = np.random.default_rng(0).normal(0, 30, (1, 2, 32, 32)).astype(np.float32)
    optical_flow[0, 0, 0, :2] = (600, -600)
    with ClipWriter(tmp_path / "set", settings=SETTINGS) as writer:
        writer.add(source("a"), [Segment(PARTS["a"][0].frames[:7], optical_flow)])
    stored = ClipSet(tmp_path / "set").optical_flow(0)
    assert np.abs(stored - np.clip(optical_flow[0], -512, 511.99)).max() <= 1 / 128


def test_extras_come_back_without_pickles(folder, tmp_path):
    clip_set = ClipSet(folder)
    extras = clip_set.extras(8)
    assert set(extras) == {"keypoints", "poke"}
    np.testing.assert_array_equal(extras["keypoints"], np.arange(9.0))
    assert clip_set.extras(0) == {}
    objects = Segment(PARTS["d"][0].frames, PARTS["d"][0].optical_flow, 0, {"bad": np.array([{}], object)})
    with ClipWriter(tmp_path / "other", settings=SETTINGS) as writer, pytest.raises(ValueError, match="Object arrays"):
        writer.add(source("x"), [objects])


def test_any_tar_reader_finds_the_members(folder):
    with tarfile.open(shard(folder)) as archive:
        names = archive.getnames()
        assert names[:3] == ["a-0000.mp4", "a-0000.json", "a-0000.flow.npz"]
        assert [name for name in names if name.endswith("extra.npz")] == ["b-0000.extra.npz"]
        samples = {name.partition(".")[0] for name in names}
        assert samples == {"a-0000", "a-0001", "b-0000", "d-0000"}
        for sample in samples:
            about = json.load(member(archive, f"{sample}.json"))
            frames = decode_mp4(member(archive, f"{sample}.mp4").read())
            assert about["key"] == sample
            assert len(frames) == about["frames"]
            with np.load(member(archive, f"{sample}.flow.npz"), allow_pickle=False) as stored:
                assert stored["optical_flow"].dtype == np.int16
                assert len(stored["optical_flow"]) == about["frames"] - about["clip_frames"] * about["stride"]
    assert shard(folder).read_bytes().endswith(bytes(1024))


def test_index_rows_point_at_the_bytes(folder):
    data = shard(folder).read_bytes()
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list("abcd")
    for row in rows:
        for part in row["segments"]:
            for ending, member in part["members"].items():
                content = data[member["offset"] : member["offset"] + member["length"]]
                assert zlib.crc32(content) == member["crc32"]
                name = data[member["offset"] - 512 : member["offset"]].split(b"\0")[0].decode()
                assert name == f"{part['key']}.{ending}"


def test_the_same_sources_give_the_same_bytes(folder, tmp_path):
    assert contents(write(tmp_path / "again")) == contents(folder)


@pytest.mark.parametrize("done", ["", "a", "ab", "abc", "abcd"])
@pytest.mark.parametrize("damage", ["none", "index", "shard", "both", "new shard"])
def test_a_writer_resumes_to_the_same_bytes(folder, tmp_path, done, damage):
    other = write(tmp_path / "other", done)
    index, tail = other / "index.jsonl", shard(folder).read_bytes()
    if damage in ("index", "both"):
        index.write_bytes(index.read_bytes() + b'{"id":"half a row')
    if damage in ("shard", "both"):
        whole = shard(other).stat().st_size - 1024 if shard(other).exists() else 0
        shard(other).write_bytes(tail[: whole + 700])
    if damage == "new shard":
        (other / "shard-00001.tar").write_bytes(tail[:700])
    write(other)
    assert contents(other) == contents(folder)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill signals")
def test_a_write_that_never_returned_is_undone(folder, tmp_path):
    """Die half-way through the first write, resume and die in the second, and so on."""
    other, calls, deaths = tmp_path / "other", 0, 0
    while True:
        process = os.fork()
        if process == 0:
            write_and_die(other, calls)
        _, status = os.waitpid(process, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            break
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        calls = calls % 3 + 1
        deaths += 1
    assert deaths >= 4
    assert contents(other) == contents(folder)


def write_and_die(folder, calls):
    real, count = clip_writer.write_whole, 0

    def dying_write(file, content):
        nonlocal count
        count += 1
        if count > calls:
            real(file, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        real(file, content)

    setattr(clip_writer, "write_whole", dying_write)  # noqa: B010
    write(folder)
    os._exit(0)


def test_shards_roll_and_resume_in_the_right_one(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_writer, "SHARD_BYTES", 15_000)
    whole = write(tmp_path / "whole")
    assert len(list(whole.glob("shard-*.tar"))) == 3
    parted = tmp_path / "parted"
    for names in ("a", "ab", "abc", "abcd"):
        write(parted, names)
    assert contents(parted) == contents(whole)
    for path in whole.glob("shard-*.tar"):
        with tarfile.open(path) as archive:
            assert archive.getnames()
    one, many = ClipSet(folder), ClipSet(whole)
    for index in range(len(one)):
        np.testing.assert_array_equal(one.clip(index), many.clip(index))


def test_a_full_disk_leaves_what_was_there(folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    real = clip_writer.write_whole

    def disk_full(file, content):
        if b'"id":"b"' in content:
            real(file, content[:20])
            raise OSError(28, "No space left on device")
        real(file, content)

    with ClipWriter(other, settings=SETTINGS) as writer:
        writer.add(source("a"), PARTS["a"])
        monkeypatch.setattr(clip_writer, "write_whole", disk_full)
        with pytest.raises(InputError, match="No space left") as error:
            writer.add(source("b"), PARTS["b"])
        assert "\n" not in str(error.value)
        monkeypatch.undo()
        assert writer.done == {"a"}
    assert len(ClipSet(other)) == 7
    write(other)
    assert contents(other) == contents(folder)


def test_other_settings_and_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="stride: there 2, now 1") as error:
        ClipWriter(folder, settings=SETTINGS.model_copy(update={"stride": 1}))
    assert "size" not in str(error.value)
    with pytest.raises(InputError, match="seed: there None, now 3"):
        ClipWriter(folder, settings=SETTINGS.model_copy(update={"origin": {"seed": 3}}))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(InputError, match="--out"):
            ClipWriter(path, settings=SETTINGS)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_two_writers_at_once_are_refused(tmp_path):
    with ClipWriter(tmp_path / "set", settings=SETTINGS), pytest.raises(InputError, match="another process"):
        ClipWriter(tmp_path / "set", settings=SETTINGS)
    with ClipWriter(tmp_path / "set", settings=SETTINGS) as writer:
        writer.add(source("a"), [])
        with pytest.raises(ValueError, match="already"):
            writer.add(source("a"), [])


def test_wrong_shapes_are_refused(tmp_path):
    good = PARTS["d"][0]
    with ClipWriter(tmp_path / "set", settings=SETTINGS) as writer, unchecked():
        for bad in (
            Segment(good.frames[:6], good.optical_flow[:0]),
            Segment(good.frames[:, :16], good.optical_flow),
            Segment(good.frames, good.optical_flow[:-1]),
        ):
            with pytest.raises(ValueError, match="x-0000"):
                writer.add(source("x"), [bad])
        assert writer.done == set()


def test_dropped_sources_are_kept_in_the_index(tmp_path):
    dropped = (DroppedRow(start=0, stop=4, why="too short"),)
    with ClipWriter(tmp_path / "set", settings=SETTINGS) as writer:
        writer.add(source("a"), PARTS["a"])
        writer.add(source("gone", dropped=dropped, note="broken"), [])
    row = ClipSet(tmp_path / "set").sources[1]
    assert (row.dropped, row.note, row.segments) == (dropped, "broken", ())


def test_cache_equals_direct_decoding(folder, monkeypatch):
    cached = ClipSet(folder)
    cached.clip(0)
    assert {file.suffix for file in (folder / "cache").iterdir() if file.suffix} == {".u8", ".i16"}
    assert cached._raw is not None
    assert isinstance(cached._raw["a-0000"].frames, np.memmap)
    monkeypatch.setattr(clip_cache, "LARGEST_BYTES", 0)
    for file in (folder / "cache").iterdir():
        file.unlink()
    monkeypatch.setattr(clips, "_DECODED_BYTES", 40_000)
    direct = ClipSet(folder)
    for index in [*range(len(direct)), 0, 5]:
        np.testing.assert_array_equal(direct.clip(index), cached.clip(index))
        np.testing.assert_array_equal(direct.optical_flow(index), cached.optical_flow(index))
    assert direct._raw is None
    assert len(direct._decoded) < 4


def test_cache_follows_the_index(folder):
    ClipSet(folder).clip(0)
    before = {file.name for file in (folder / "cache").iterdir()}
    with ClipWriter(folder, settings=SETTINGS) as writer:
        writer.add(source("e"), PARTS["b"])
    clip_set = ClipSet(folder)
    np.testing.assert_array_equal(clip_set.clip(len(clip_set) - 1), ClipSet(folder, split="train").clip(9))
    after = {file.name for file in (folder / "cache").iterdir()}
    assert len(after) == len(before) == 3
    assert not {name for name in after & before if name != ".lock"}


def test_cut_off_cache_is_written_again(folder):
    expected = ClipSet(folder).clip(3)
    frames = next((folder / "cache").glob("*.u8"))
    frames.write_bytes(frames.read_bytes()[:-1])
    np.testing.assert_array_equal(ClipSet(folder).clip(3), expected)


@pytest.mark.parametrize("kind", ["file", "link", "linked lock"])
def test_a_place_without_a_cache_works(folder, tmp_path, kind):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    if kind == "file":
        (folder / "cache").write_bytes(b"in the way")
    elif kind == "link":
        (folder / "cache").symlink_to(theirs)
    else:
        (folder / "cache").mkdir()
        (folder / "cache" / ".lock").symlink_to(theirs / "file")
    clip_set = ClipSet(folder)
    assert clip_set.clip(0).shape == (4, 32, 32, 3)
    assert clip_set._raw is None
    assert not list(theirs.iterdir())


def digest(folder):
    clip_set = ClipSet(folder)
    return zlib.crc32(b"".join(clip_set.clip(index).tobytes() for index in range(len(clip_set))))


def test_many_processes_build_the_cache_at_once(folder):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        results = pool.map(digest, [folder] * 8, chunksize=1)
    assert set(results) == {digest(folder)}
    assert len(list((folder / "cache").iterdir())) == 3


@pytest.mark.parametrize("limit", [0, 2**33])
def test_threads_share_a_set(folder, monkeypatch, limit):
    monkeypatch.setattr(clip_cache, "LARGEST_BYTES", limit)
    monkeypatch.setattr(clips, "_DECODED_BYTES", 1)
    clip_set, expected = ClipSet(folder), ClipSet(folder)
    wrong = []

    def read(seed):
        indices = np.random.default_rng(seed).integers(0, len(clip_set), 30).tolist()
        wrong.extend(index for index in indices if not np.array_equal(clip_set.clip(index), references[index]))

    references = [expected.clip(index) for index in range(len(expected))]
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_set_travels_to_worker_processes_as_its_path(folder):
    clip_set = ClipSet(folder, split="test")
    clip_set.clip(0)
    data = pickle.dumps(clip_set)
    assert len(data) < 500
    np.testing.assert_array_equal(pickle.loads(data).clip(2), clip_set.clip(2))


def test_clips_are_copies(folder):
    clip_set = ClipSet(folder)
    before = clip_set.clip(0)
    clip_set.clip(0)[:] = 0
    clip_set.optical_flow(0)[:] = 0
    np.testing.assert_array_equal(clip_set.clip(0), before)


def edit_settings(folder, **changes):
    path = folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def truncate(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(folder):
    data = bytearray(shard(folder).read_bytes())
    data[700] ^= 1
    shard(folder).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (lambda folder: shard(folder).unlink(), ["shard-00000.tar", "missing"]),
        (lambda folder: truncate(shard(folder), 0.1), ["shard-00000.tar", "prepare it again"]),
        (flip, ["shard-00000.tar", "a-0000.mp4"]),
        (lambda folder: (folder / "settings.json").unlink(), ["not a prepared set", "ipoke prepare"]),
        (lambda folder: (folder / "settings.json").write_text("{"), ["settings.json"]),
        (lambda folder: edit_settings(folder, version=3), ["settings.json", "got version 3", "update ipoke"]),
        (lambda folder: edit_settings(folder, format="other"), ["settings.json", "format"]),
        (lambda folder: (folder / "index.jsonl").write_text('{"id": 3}\n'), ["index.jsonl", "row 1"]),
        (lambda folder: (folder / "index.jsonl").write_text("nonsense\n"), ["index.jsonl", "row 1"]),
        (lambda folder: (folder / "index.jsonl").unlink(), ["no clips"]),
    ],
)
def test_damage_is_named_in_one_line(folder, damage, names):
    damage(folder)
    with pytest.raises(InputError) as error:
        ClipSet(folder).clip(0)
    message = str(error.value)
    assert "\n" not in message
    for name in names:
        assert name in message


def test_missing_sets_and_splits_are_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        ClipSet(tmp_path / "nowhere")
    write(tmp_path / "set", "ab")
    with pytest.raises(InputError, match="no clips of the test split"):
        ClipSet(tmp_path / "set", split="test")


def test_a_damaged_set_is_not_written_on(folder):
    truncate(shard(folder), 0.5)
    with pytest.raises(InputError, match=r"shard-00000\.tar"):
        write(folder)


def test_a_reader_beside_a_writer_sees_whole_sources(tmp_path):
    with ClipWriter(tmp_path / "set", settings=SETTINGS) as writer:
        writer.add(source("a"), PARTS["a"])
        assert len(ClipSet(tmp_path / "set")) == 7
        with (tmp_path / "set" / "index.jsonl").open("ab") as index:
            index.write(b'{"id": "half')
        assert len(ClipSet(tmp_path / "set")) == 7


def test_the_package_is_enough_to_read_a_set(folder):
    """A fresh interpreter reads the set; nothing of the writer's process is needed."""
    code = f"from ipoke.data.clips import ClipSet; print(ClipSet({str(folder)!r}).clip(13).shape)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "(4, 32, 32, 3)"
