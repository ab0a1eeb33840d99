import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from gliding import SMALL, WINDOW, contents, index_rows, moving, save, still, texture
from ipoke.core.errors import InputError
from ipoke.data import clip_writer
from ipoke.data.clips import ClipSet
from ipoke.data.cuts import moving_runs, pieces, with_cuts
from ipoke.data.discover import content_sha256, find_videos, source_id
from ipoke.data.extract import fit
from ipoke.data.held_out import held_out_ids
from ipoke.data.prepare import prepare


@pytest.fixture
def videos(tmp_path):
    """Four good videos in two folders, two of them of one name, and company that is not video."""
    folder = tmp_path / "videos"
    save(folder / "walk.mp4", moving(20, seed=1))
    save(folder / "run.mp4", moving(14, seed=2), fps=30000 / 1001)
    save(folder / "more" / "walk.mp4", moving(16, seed=3))
    for index, frame in enumerate(moving(12, seed=4)):
        path = folder / "frames" / f"f{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(frame).save(path)
    (folder / "notes.txt").write_text("hello")
    Image.fromarray(moving(1)[0]).save(folder / "poster.png")
    return folder


def test_a_folder_becomes_a_set(videos, tmp_path):
    told = []
    report = prepare([videos], tmp_path / "set", **SMALL, test_fraction=0.25, progress=lambda *call: told.append(call))
    assert [row.video for row in report.rows] == [
        "videos/run.mp4",
        "videos/walk.mp4",
        "videos/frames",
        "videos/more/walk.mp4",
    ]
    assert [row.frames for row in report.rows] == [14, 20, 12, 16]
    assert len({row.id for row in report.rows}) == 4
    assert report.rows[0].fps == 30000 / 1001
    assert {row.size for row in report.rows} == {(64, 48)}
    assert report.clips() == 62 - 4 * WINDOW
    assert [(done, total) for done, total, _ in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [row.split for row in report.rows].count("test") == 1
    lines = "\n".join(report.lines())
    assert "2 files" in lines
    assert "4 videos kept, 0 dropped (4 new)" in lines

    clip_set = ClipSet(tmp_path / "set")
    assert len(clip_set) == report.clips()
    place = clip_set.row(10)
    original = moving(20, seed=1)[place.first : place.first + WINDOW + 1 : 2, :, 8:56]
    expected = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in original])
    assert place.source.video == "videos/walk.mp4"
    assert np.sqrt(np.mean((clip_set.clip(10).astype(float) - expected) ** 2)) < 4
    inner = clip_set.optical_flow(10)[:, 12:20, 14:24]
    np.testing.assert_allclose(np.median(inner, axis=(1, 2)), (-4, -2), atol=0.5)


def test_processes_change_nothing(videos, tmp_path):
    prepare([videos], tmp_path / "one", **SMALL)
    prepare([videos], tmp_path / "many", **SMALL, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_repeating_adds_only_what_is_new(videos, tmp_path):
    first = prepare([videos], tmp_path / "set", **SMALL, test_fraction=0.5)
    before = contents(tmp_path / "set")
    again = prepare([videos], tmp_path / "set", **SMALL, test_fraction=0.5)
    assert again.added == 0
    assert contents(tmp_path / "set") == before
    save(videos / "extra.mp4", moving(15, seed=9))
    more = prepare([videos], tmp_path / "set", **SMALL, test_fraction=0.5)
    assert more.added == 1
    assert more.rows[:4] == first.rows
    assert index_rows(tmp_path / "set")[:4] == before["index.jsonl"].splitlines()


PREPARE = """
import sys
from pathlib import Path
from typing import Any
from ipoke.data import prepare as module
if __name__ == "__main__":
    out, count, *inputs = sys.argv[1:]
    try:
        module.prepare([Path(path) for path in inputs], Path(out), size=32, frames=3, stride=2, workers=int(count),
                       progress=lambda *call: print(*call, flush=True))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start(tmp_path, out, count, *inputs):
    script = tmp_path / "run.py"
    script.write_text(PREPARE)
    return subprocess.Popen(
        [sys.executable, script, out, str(count), *inputs],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell lets processes in the background not hear Ctrl-C; undo that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill signals")
@pytest.mark.parametrize("count", [1, 2])
def test_killed_and_repeated_is_as_if_never_killed(videos, tmp_path, count):
    save(videos / "z" / "long.mp4", moving(150, seed=5))
    prepare([videos], tmp_path / "straight", **SMALL)
    with ended(start(tmp_path, tmp_path / "killed", count, videos)) as process:
        process.stdout.readline()
        process.stdout.readline()
        process.kill()
        process.wait()
        assert wait_until(lambda: is_gone(process.pid), 5), "worker processes outlive the killed one"
    done = len(index_rows(tmp_path / "killed"))
    assert 2 <= done < 5
    report = prepare([videos], tmp_path / "killed", **SMALL)
    assert report.added == 5 - done
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_interrupt_stops_within_a_second_or_so(videos, tmp_path):
    for number in range(3):
        save(videos / "z" / f"long{number}.mp4", moving(400, seed=5 + number))
    with ended(start(tmp_path, tmp_path / "set", 2, videos)) as process:
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        begin = time.monotonic()
        _, errors = process.communicate(timeout=90)
        assert time.monotonic() - begin < 60  # a fraction of a second on a machine that is not busy
    assert process.returncode == 130
    assert errors == b""
    assert 1 <= len(index_rows(tmp_path / "set")) < 7


def test_a_cut_splits_a_video_and_no_clip_crosses_it(tmp_path):
    save(tmp_path / "a.mp4", np.concatenate([moving(15, seed=1), moving(17, seed=2), moving(12, seed=3)]))
    report = prepare([tmp_path / "a.mp4"], tmp_path / "set", **SMALL)
    assert [(part.first, part.frames) for part in report.rows[0].segments] == [(0, 15), (15, 17), (32, 12)]
    assert report.clips() == 15 + 17 + 12 - 3 * WINDOW


def test_cuts_are_found_in_dark_videos_and_not_in_fast_ones():
    def cuts(frames):
        return [index for index, (_, is_cut) in enumerate(with_cuts(frames)) if is_cut]

    one, two = moving(10, 1, 64, 64), moving(10, 2, 64, 64)
    assert cuts(np.concatenate([one, two])) == [10]
    assert cuts(np.concatenate([one // 4, two // 4])) == [10]
    image = texture(7, side=200)
    assert cuts([image[:64, 5 * index : 5 * index + 64] for index in range(25)]) == []
    brightening = [np.clip(one[0].astype(int) + 4 * index, 0, 255).astype(np.uint8) for index in range(20)]
    assert cuts(brightening) == []


def test_long_shots_are_split_without_losing_a_start():
    frames = moving(40, 1, 64, 64)
    found = list(pieces(iter(frames), window=6, most_starts=10))
    starts = [piece.first + start for piece in found for start in range(len(piece.frames) - 6)]
    assert starts == list(range(34))
    for piece in found:
        np.testing.assert_array_equal(piece.frames, frames[piece.first : piece.first + len(piece.frames)])
    exact = list(pieces(iter(frames[:36]), window=6, most_starts=10))
    assert [(piece.first, len(piece.frames)) for piece in exact] == [(0, 16), (10, 16), (20, 16)]


def test_static_parts_are_dropped_and_named(tmp_path):
    glide = moving(20, seed=1)
    save(
        tmp_path / "v" / "a.mp4",
        np.concatenate([np.repeat(glide[:1], 15, axis=0), glide, np.repeat(glide[-1:], 20, axis=0)]),
    )
    save(tmp_path / "v" / "b.mp4", still(30, seed=2))
    rows = {row.video: row for row in prepare([tmp_path / "v"], tmp_path / "set", **SMALL).rows}
    (part,) = rows["v/a.mp4"].segments
    assert abs(part.first - (15 - WINDOW)) <= 2
    assert abs(part.first + part.frames - (35 + WINDOW)) <= 2
    assert [loss.why.split(":")[0] for loss in rows["v/a.mp4"].dropped] == ["static", "static"]
    covered = sum(loss.stop - loss.start for loss in rows["v/a.mp4"].dropped) + part.frames
    assert covered == rows["v/a.mp4"].frames == 55
    assert rows["v/b.mp4"].segments == ()
    assert [(loss.start, loss.stop) for loss in rows["v/b.mp4"].dropped] == [(0, 30)]


def test_what_comes_back_within_the_clip_moves(tmp_path):
    image = texture(1)
    offsets = [0, 2, 4, 6, 4, 2] * 6
    save(tmp_path / "a.mp4", np.stack([image[:64, offset : offset + 64] for offset in offsets]))
    assert prepare([tmp_path / "a.mp4"], tmp_path / "set", **SMALL).clips() == 36 - WINDOW


def test_noise_is_not_motion(tmp_path):
    rng = np.random.default_rng(0)
    noisy = np.clip(still(30, seed=1).astype(int) + np.rint(rng.normal(0, 3, (30, 48, 64, 3))), 0, 255)
    save(tmp_path / "a.mp4", noisy.astype(np.uint8))
    with pytest.raises(InputError, match=r"kept no clip of 1 videos \(a\.mp4: static: nothing moves"):
        prepare([tmp_path / "a.mp4"], tmp_path / "set", **SMALL)


def test_pauses_are_kept_up_to_a_clip_length():
    moves = np.array([1] * 3 + [0] * 6 + [1] * 2 + [0] * 7 + [1], bool)
    assert moving_runs(moves, longest_pause=6) == [(0, 11), (18, 19)]
    assert moving_runs(np.zeros(4, bool), longest_pause=6) == []


def test_every_bad_video_has_a_row_with_the_reason(tmp_path):
    folder = tmp_path / "v"
    good = save(folder / "good.mp4", moving(20)).read_bytes()
    save(folder / "short.mp4", moving(WINDOW))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.avi").write_bytes(b"not a video at all")
    (folder / "headless.mp4").write_bytes(good[: len(good) // 2])
    reasons = {}
    report = prepare([folder], tmp_path / "set", **SMALL)
    for row in report.rows:
        reasons[row.video] = " ".join([row.note, *(loss.why for loss in row.dropped)]).strip()
        assert str(tmp_path) not in reasons[row.video]
    assert reasons["v/good.mp4"] == ""
    assert reasons["v/short.mp4"] == f"too short: {WINDOW} frames in one shot, a clip needs {WINDOW + 1}"
    for name in ("v/empty.mp4", "v/text.avi", "v/headless.mp4"):
        assert "cannot be decoded" in reasons[name]
    lines = list(report.lines())
    assert len(lines) == 6
    assert all("\n" not in line for line in lines)
    assert "1 videos kept, 4 dropped" in lines[-2]


def test_the_good_head_of_a_broken_video_is_kept(tmp_path):
    for index, frame in enumerate(moving(20, seed=1)):
        path = tmp_path / "frames" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(frame).save(path)
    (tmp_path / "frames" / "12.png").write_bytes(b"broken")
    (row,) = prepare([tmp_path / "frames"], tmp_path / "set", **SMALL).rows
    assert row.frames == 12
    assert [(part.first, part.frames) for part in row.segments] == [(0, 12)]
    assert row.note.startswith("ends after 12 frames")


def test_splits(videos, tmp_path):
    by_name = prepare([videos], tmp_path / "a", **SMALL, test_videos="walk*")
    assert {row.video for row in by_name.rows if row.split == "test"} == {"videos/walk.mp4", "videos/more/walk.mp4"}
    by_path = prepare([videos], tmp_path / "b", **SMALL, test_videos="*/more/*")
    assert {row.video for row in by_path.rows if row.split == "test"} == {"videos/more/walk.mp4"}
    everything = prepare([videos], tmp_path / "c", **SMALL, test_fraction=0)
    assert {row.split for row in everything.rows} == {"train"}
    assert "one split has no clips" in list(everything.lines())[-1]
    with pytest.raises(InputError, match="no video matches 'jump"):
        prepare([videos], tmp_path / "d", **SMALL, test_videos="jump*")
    assert not (tmp_path / "d").exists()


def test_the_split_depends_on_the_ids_alone():
    ids = [f"video-{index}" for index in range(50)]
    chosen = held_out_ids(ids, 0.2)
    assert len(chosen) == 10
    assert held_out_ids(ids[::-1], 0.2) == chosen
    assert held_out_ids(ids[:2], 0.01) < set(ids[:2])
    assert held_out_ids(ids[:1], 0.5) <= set(ids[:1])
    assert held_out_ids(ids, 0) == set()
    assert held_out_ids(ids, 1) == set(ids)


def test_nothing_kept_is_refused_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"kept no clip of 1 videos \(a\.mp4: "):
        prepare([tmp_path / "a.mp4"], tmp_path / "set", **SMALL)
    assert not [path.name for path in (tmp_path / "set").glob("*") if not path.name.startswith(".")]
    save(tmp_path / "b.mp4", moving(14))
    report = prepare([tmp_path / "a.mp4", tmp_path / "b.mp4"], tmp_path / "set", size=32, frames=4)
    assert [bool(row.segments) for row in report.rows] == [False, True]


def hold_out_a_still_video(folder):
    """Plant a video without motion that the test split would be."""
    for seed in range(100):
        path = save(folder / "still.mp4", still(20, seed=seed))
        found, _ = find_videos([folder])
        ids = {video.path: source_id(video.name, content_sha256(video.path)) for video in found}
        if held_out_ids(list(ids.values()), 0.1) == {ids[path]}:
            return
    raise AssertionError("no seed found")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_split_whose_videos_were_dropped_gets_another_one(videos, tmp_path, workers):
    hold_out_a_still_video(videos)
    out = tmp_path / "set"
    report = prepare([videos], out, **SMALL, workers=workers)
    splits = {row.video: row.split for row in report.rows if row.segments}
    assert "videos/still.mp4" not in splits
    assert sorted(splits.values()) == ["test", "train", "train", "train"]
    last = [row for row in report.rows if row.segments][-1]
    assert last.split == "test"
    assert len(ClipSet(out, split="test")) == last.segments[0].frames - WINDOW
    with tarfile.open(out / "shard-00000.tar") as shard:
        files: list[Any] = [shard.extractfile(name) for name in shard.getnames() if name.endswith(".json")]
        told = [json.load(file) for file in files]
    assert {about["source"]: about["split"] for about in told} == {
        row.id: row.split for row in report.rows if row.segments
    }
    again = prepare([videos], out, **SMALL)
    assert again.added == 0
    assert again.rows == report.rows


def test_one_video_is_in_one_split_until_there_are_two(tmp_path):
    save(tmp_path / "v" / "a.mp4", moving(14, seed=1))
    alone = prepare([tmp_path / "v"], tmp_path / "set", **SMALL)
    assert "one split has no clips" in list(alone.lines())[-1]
    save(tmp_path / "v" / "b.mp4", moving(14, seed=2))
    both = prepare([tmp_path / "v"], tmp_path / "set", **SMALL)
    assert both.rows[0] == alone.rows[0]
    assert {row.split for row in both.rows} == {"train", "test"}


def test_an_interrupted_set_is_held_out_as_a_whole_one(videos, tmp_path):
    hold_out_a_still_video(videos)
    prepare([videos], tmp_path / "straight", **SMALL)

    def stop(done, total, video):
        raise KeyboardInterrupt

    for _ in range(6):
        with contextlib.suppress(KeyboardInterrupt):
            prepare([videos], tmp_path / "cut", **SMALL, progress=stop)
    assert index_rows(tmp_path / "cut") == index_rows(tmp_path / "straight")


def test_the_same_video_is_taken_once(videos, tmp_path):
    shutil.copy(videos / "walk.mp4", videos / "z_copy.mp4")
    report = prepare([videos, videos / "walk.mp4", videos / "more"], tmp_path / "set", **SMALL)
    assert len(report.rows) == 4
    assert [file.why for file in report.ignored if "same" in file.why] == ["same contents as videos/walk.mp4"]


def test_ids_do_not_depend_on_where_the_folder_lies(videos, tmp_path):
    first = prepare([videos], tmp_path / "a", **SMALL)
    (tmp_path / "moved").mkdir()
    shutil.move(videos, tmp_path / "moved" / "videos")
    second = prepare([tmp_path / "moved" / "videos"], tmp_path / "a", **SMALL)
    assert second.added == 0
    assert second.rows == first.rows


def test_discovery_ignores_what_is_hidden_and_lists_the_rest(videos):
    save(videos / ".cache" / "a.mp4", moving(3))
    (videos / ".DS_Store").write_bytes(b"")
    found, ignored = find_videos([videos])
    assert len(found) == 4
    assert {(file.path.name, file.why) for file in ignored} == {
        ("notes.txt", "not a video"),
        ("poster.png", "a single image"),
    }


def test_resizing_keeps_the_centre_or_all():
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[:, 20:60] = 200
    assert (fit(frame, 16, "crop") == 200).all()
    boxed = fit(frame, 16, "letterbox")
    assert (boxed[:4] == 0).all()
    assert (boxed[12:] == 0).all()
    assert (boxed[4:12, 4:12] == 200).all()
    assert (boxed[4:12, :4] == 0).all()
    assert fit(frame[:8, :8], 16, "crop").shape == (16, 16, 3)


@pytest.mark.parametrize("shape", [(40, 80), (80, 40), (8, 12), (12, 60)])
def test_squeezing_keeps_the_whole_frame_and_fills_the_square(shape):
    height, width = shape
    frame = np.full((height, width, 3), 50, np.uint8)
    frame[: height // 2, : width // 2] = 200
    squeezed = fit(frame, 16, "squeeze")
    assert squeezed.shape == (16, 16, 3)
    assert (squeezed[:7, :7] == 200).all()
    assert (squeezed[9:] == 50).all()
    assert (squeezed[:, 9:] == 50).all()


def test_wrong_requests_are_one_line_and_write_nothing(videos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    out = tmp_path / "set"
    for arguments, pattern in [
        (([tmp_path / "empty"], out), "no video found"),
        (([], out), "no video found"),
        (([tmp_path / "nowhere"], out), "no such file"),
        (([videos], tmp_path / "mine"), "not a prepared set"),
        (([videos], tmp_path / "mine" / "thesis.txt"), "is a file"),
    ]:
        with pytest.raises(InputError, match=pattern) as error:
            prepare(*arguments, **SMALL)
        assert "\n" not in str(error.value)
    for name, value in (("size", 0), ("frames", 0), ("stride", -1), ("test_fraction", 1.5)):
        wrong: dict[str, Any] = SMALL | {name: value}
        with pytest.raises(InputError, match="expected"):
            prepare([videos], out, **wrong)
    with pytest.raises(InputError, match="got both"):
        prepare([videos], out, **SMALL, test_fraction=0.1, test_videos="*")
    assert not out.exists()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_other_settings_are_refused_with_the_difference(videos, tmp_path):
    prepare([videos], tmp_path / "set", **SMALL)
    with pytest.raises(InputError, match=r"test: there fraction 0\.1, now fraction 0\.3"):
        prepare([videos], tmp_path / "set", **SMALL, test_fraction=0.3)


def test_a_full_disk_is_one_line_and_the_command_can_be_repeated(videos, tmp_path, monkeypatch):
    prepare([videos], tmp_path / "straight", **SMALL)
    real, count = clip_writer.write_whole, 0

    def disk_full(file, content):
        nonlocal count
        count += 1
        if count > 4:
            real(file, content[:10])
            raise OSError(28, "No space left on device")
        real(file, content)

    monkeypatch.setattr(clip_writer, "write_whole", disk_full)
    with pytest.raises(InputError, match="No space left") as error:
        prepare([videos], tmp_path / "set", **SMALL)
    assert re.search(r"free some space.*repeat the command", str(error.value))
    monkeypatch.undo()
    prepare([videos], tmp_path / "set", **SMALL)
    assert contents(tmp_path / "set") == contents(tmp_path / "straight")
