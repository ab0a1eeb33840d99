"""The prepared set of simulated clips: complete, repeatable, resumable, the same for any number of workers."""

import json

import numpy as np
import pytest

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.scenes import contact_sheet, draw_scene, write_scenes
from ipoke.scenes.writing import SPLIT_STREAM, _test_clips, index_of_source, scene_clip, scene_of_clip


def write(out, clips=6, workers=1, seed=4, size=32, **more):
    seen = []
    count = write_scenes(
        out, clips=clips, size=size, seed=seed, workers=workers, progress=lambda *counts: seen.append(counts),
        **more,
    )  # fmt: skip
    return count, seen


def sources(folder):
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    return [(row["id"], row["split"], row["sha256"]) for row in rows]


def test_a_set_holds_what_was_simulated(tmp_path):
    count, seen = write(tmp_path / "set", clips=4, frames=5, test_fraction=0)
    assert count == 4
    assert seen == [(done, 4) for done in range(5)]
    clips = ClipSet(tmp_path / "set")
    assert len(clips) == 4
    for index in range(4):
        kind, truth = scene_clip(4, index, size=32, frames=5)
        assert clips.row(index).source.id == f"{kind}-{index:06d}"
        assert np.abs(clips.clip(index).astype(int) - truth.frames).mean() < 5
        assert np.abs(clips.optical_flow(index) - truth.optical_flow).max() <= 1 / 128
        extras = clips.extras(index)
        assert (extras["keypoints"] == truth.keypoints).all()
        assert (extras["part_masks"] == truth.part_masks).all()
        assert extras["poke"].tolist() == [truth.poke.x, truth.poke.y, truth.poke.dx, truth.poke.dy]
        assert tuple(extras["keypoint_names"]) == truth.keypoint_names


def test_the_scene_of_a_clip_is_the_one_it_plays_in():
    for index in (0, 7):
        kind, clip = scene_clip(4, index, size=32, frames=1)
        scene, poke = scene_of_clip(4, index, 32)
        assert (scene.kind, poke) == (kind, clip.poke)
        assert (scene.still == clip.frames[0]).all()


def test_clips_of_a_seed_never_change():
    for index, scene_seed, future_seed in ((0, 1835504127, 1731038949), (7, 4245214700, 4188902809)):
        scene, poke = scene_of_clip(1, index, 64)
        assert scene.seed == scene_seed
        played = scene.play(poke, future_seed=future_seed, frames=2)
        assert (played.frames == scene_clip(1, index, size=64, frames=2)[1].frames).all()


def test_the_number_of_a_clip_is_read_off_its_source():
    assert [index_of_source(source) for source in ("plant-000000", "puppet-000123", "plant-1000000")] == [
        0,
        123,
        1000000,
    ]
    for wrong in ("plant-000123", "puppet-123", "puppet", "puppet-00012x", "weizmann-000124"):
        with pytest.raises(ValueError, match="expected an id"):
            index_of_source(wrong)


def stopped_after(clips):
    def progress(done, total):
        if done == clips:
            raise KeyboardInterrupt

    return progress


def drawn(seed, count, fraction=0.1):
    return [
        "test" if np.random.default_rng([SPLIT_STREAM, seed, i]).random() < fraction else "train" for i in range(count)
    ]


@pytest.mark.parametrize(
    ("seed", "count", "fraction"), [(987, 40, 0.1), (4, 12, 0.1), (1, 6, 0.1), (4, 2, 0.01), (4, 2, 0.99), (9, 30, 0.5)]
)
def test_neither_split_is_empty(seed, count, fraction):
    tests = _test_clips(range(count), set(), seed, fraction)
    found = ["test" if index in tests else "train" for index in range(count)]
    assert set(found) == {"test", "train"}
    expected = drawn(seed, count, fraction)
    changed = sum(one != other for one, other in zip(found, expected, strict=True))
    assert changed == (len(set(expected)) == 1)


def test_a_set_that_is_made_longer_keeps_its_splits(tmp_path):
    assert "test" not in drawn(987, 4)
    write(tmp_path / "set", seed=987, clips=4, frames=1)
    short = sources(tmp_path / "set")
    assert {split for _, split, _ in short} == {"test", "train"}
    write(tmp_path / "set", seed=987, clips=6, frames=1)
    assert sources(tmp_path / "set")[:4] == short
    assert [split for _, split, _ in sources(tmp_path / "set")[4:]] == drawn(987, 6)[4:]
    write(tmp_path / "one", seed=987, clips=1, frames=1)
    assert [split for _, split, _ in sources(tmp_path / "one")] == ["train"]


def test_workers_and_interruptions_change_nothing(tmp_path):
    write(tmp_path / "one", clips=10, frames=2)
    write(tmp_path / "two", clips=10, frames=2, workers=2)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "cut", clips=10, size=32, seed=4, workers=1, frames=2, progress=stopped_after(3))
    count, seen = write(tmp_path / "cut", clips=10, frames=2)
    assert count == 10
    assert seen[0] == (3, 10)
    assert sources(tmp_path / "one") == sources(tmp_path / "two") == sources(tmp_path / "cut")
    assert len({sha256 for _, _, sha256 in sources(tmp_path / "one")}) == 10


def test_test_split_has_its_share(tmp_path):
    write(tmp_path / "all", clips=3, frames=1, test_fraction=1.0)
    assert {split for _, split, _ in sources(tmp_path / "all")} == {"test"}
    write(tmp_path / "half", clips=16, frames=1, test_fraction=0.5)
    tests = [split for _, split, _ in sources(tmp_path / "half")].count("test")
    assert 2 <= tests <= 14


def test_mistakes_are_named(tmp_path):
    for mistake in ({"clips": 0}, {"workers": 0}, {"size": 50}, {"seed": -1}, {"test_fraction": 1.5}, {"frames": 0}):
        with pytest.raises(InputError):
            write(tmp_path / "no", **mistake)
    assert not (tmp_path / "no").exists()


def test_contact_sheet_shows_the_scenes():
    sheet = contact_sheet(7, 1, 2, 32)
    assert sheet.shape == (32 + 12, 2 * 38 + 6, 3)
    assert (sheet[6:38, 6:38] == draw_scene(7, size=32, kind="plant").still).all()
    assert (sheet[6:38, 44:76] == draw_scene(8, size=32, kind="puppet").still).all()
    assert (sheet[:6] == 255).all()
