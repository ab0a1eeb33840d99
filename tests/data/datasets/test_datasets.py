"""The paper's data sets, as miniature trees of the layouts in which they are distributed."""

import os
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from commands import is_one_line
from ipoke.data.batches import training_item
from ipoke.data.clips import ClipSet
from ipoke.data.codec import encode_mp4
from ipoke.data.datasets.known import LAYOUTS
from ipoke.data.extract import fit
from ipoke.data.prepare import PrepareReport, prepare
from ipoke.errors import InputError
from ipoke.settings import PokeSettings, load_recipe

FRAMES = 3
SMALL: dict[str, Any] = {"size": 32, "frames": FRAMES}
DATA = os.environ.get("IPOKE_DATA")


def frames_of(seed: int, count: int = 20, height: int = 48, width: int = 64) -> np.ndarray:
    """Film a texture that glides by a pixel a frame, each video another one."""
    noise = np.random.default_rng(seed).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 8), np.empty_like(noise), 20, 235, cv2.NORM_MINMAX)
    return np.stack([image[index // 2 : index // 2 + height, index : index + width] for index in range(count)])


def film(root: Path, *names: str, count: int = 20, fps: float = 25.0) -> None:
    """Write videos; what each shows depends on its name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mp4(frames_of(seed_of(name), count), fps, crf=4))


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def splits(report: PrepareReport) -> dict[str, str]:
    return {row.video.split("/", 1)[1]: row.split for row in report.rows}


def objects(report: PrepareReport) -> dict[str, str]:
    return {row.video.split("/", 1)[1]: row.object for row in report.rows}


def missing(report: PrepareReport) -> str:
    return "\n".join(line for line in report.lines() if line.startswith("missing: "))


class TestPlants:
    def test_the_end_of_each_video_is_its_test_part(self, tmp_path):
        film(tmp_path / "pp", "fern/1.mp4", "fern/2.mp4", "palm/1.mp4", count=50)
        report = prepare([tmp_path / "pp"], tmp_path / "set", dataset="plants", **SMALL)
        assert report.settings.stride == 2
        assert report.settings.resize == "squeeze"
        assert report.settings.origin["dataset"] == "plants"
        assert [(row.video, row.split, row.frames) for row in report.rows[:2]] == [
            ("pp/fern/1.mp4", "train", 40),
            ("pp/fern/1.mp4", "test", 10),
        ]
        assert len({row.id for row in report.rows}) == len(report.rows) == 6
        taken: dict[str, dict[str, set[int]]] = {}
        for split in ("train", "test"):
            clips = ClipSet(tmp_path / "set", split=split)
            for index in range(len(clips)):
                place = clips.row(index)
                shown = range(place.first, place.first + report.settings.window + 1)
                taken.setdefault(place.source.video, {}).setdefault(split, set()).update(shown)
        for video, frames in taken.items():
            assert frames["train"] == set(range(40)), video
            assert frames["test"] == set(range(40, 50)), video
        clips = ClipSet(tmp_path / "set", split="test")
        wanted = frames_of(seed_of("fern/1.mp4"), 50)[40:47:2]
        for got, frame in zip(clips.clip(0), wanted, strict=True):
            assert np.sqrt(np.mean((got.astype(float) - fit(frame, 32, "squeeze")) ** 2)) < 5

    def test_a_plant_is_a_folder_a_name_or_what_a_list_says(self, tmp_path):
        film(tmp_path / "pp", "fern/a.mp4", "palm_tree_01.mp4", "palm_tree_2.mp4", "odd.mp4")
        (tmp_path / "pp" / "objects.txt").write_text("odd.mp4 cactus\ngone.mp4 ivy\n")
        report = prepare([tmp_path / "pp"], tmp_path / "set", dataset="plants", **SMALL)
        assert objects(report) == {
            "fern/a.mp4": "fern",
            "palm_tree_01.mp4": "palm_tree",
            "palm_tree_2.mp4": "palm_tree",
            "odd.mp4": "cactus",
        }
        assert "23 of the 27 published videos" in missing(report)
        assert "gone.mp4, which objects.txt names" in missing(report)
        assert not report.ignored

    def test_a_broken_list_is_named(self, tmp_path):
        film(tmp_path / "pp", "odd.mp4")
        (tmp_path / "pp" / "objects.txt").write_text("odd.mp4\n")
        with pytest.raises(InputError, match=r"objects\.txt: line 1: got 'odd\.mp4'"):
            prepare([tmp_path / "pp"], tmp_path / "set", dataset="plants", **SMALL)

    def test_stopped_and_resumed_is_the_same_set(self, tmp_path):
        film(tmp_path / "pp", "fern/1.mp4", "palm/1.mp4", count=50)
        prepare([tmp_path / "pp"], tmp_path / "straight", dataset="plants", **SMALL)

        def stop(done: int, _total: int, _name: str) -> None:
            if done == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare([tmp_path / "pp"], tmp_path / "resumed", dataset="plants", **SMALL, progress=stop)
        report = prepare([tmp_path / "pp"], tmp_path / "resumed", dataset="plants", **SMALL)
        assert report.added == 3
        for file in ("index.jsonl", "settings.json"):
            assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "resumed" / file).read_bytes()


class TestIper:
    def test_the_authors_list_says_what_is_trained_on(self, tmp_path):
        film(tmp_path / "iper", "videos/001_1_1.mp4", "videos/001_1_2.mp4", "videos/002_1_1.mp4", "videos/intro.mp4")
        for index, frame in enumerate(frames_of(9)):
            path = tmp_path / "iper" / "images" / "003" / "2" / "1" / f"{index:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
        (tmp_path / "iper" / "train.txt").write_text("001/1/1\n002_1_1\n003/2/1\n030/1/1\n")
        report = prepare([tmp_path / "iper"], tmp_path / "set", dataset="iper", **SMALL)
        assert splits(report) == {
            "videos/001_1_1.mp4": "train",
            "videos/001_1_2.mp4": "test",
            "videos/002_1_1.mp4": "train",
            "images/003/2/1": "train",
        }
        assert set(objects(report).values()) == {"001", "002", "003"}
        assert (report.settings.stride, report.settings.resize) == (1, "squeeze")
        assert "1 of the 4 videos of train.txt: 030_1_1" in missing(report)
        assert "not named by actor, outfit and action" in "\n".join(report.lines())

    def test_without_the_list_or_videos_it_is_said_what_is_missing(self, tmp_path):
        film(tmp_path / "iper", "001_1_1.mp4")
        with pytest.raises(InputError, match=r"missing: train\.txt, the authors' list"):
            prepare([tmp_path / "iper"], tmp_path / "set", dataset="iper", **SMALL)
        film(tmp_path / "none", "intro.mp4")
        (tmp_path / "none" / "train.txt").write_text("001/1/1\n")
        with pytest.raises(InputError, match=r"1 of the 1 videos of train\.txt: 001_1_1"):
            prepare([tmp_path / "none"], tmp_path / "set", dataset="iper", **SMALL)
        (tmp_path / "iper" / "train.txt").write_text("first\n")
        with pytest.raises(InputError, match=r"train\.txt: line 1: got 'first'"):
            prepare([tmp_path / "iper"], tmp_path / "set", dataset="iper", **SMALL)
        assert not (tmp_path / "set").exists()


class TestTaichi:
    def test_folders_say_what_is_held_out(self, tmp_path):
        film(tmp_path / "tc", "train/abc#001#2.mp4", "train/abc#003#4.mp4", "test/xyz#1#2.mp4")
        report = prepare([tmp_path / "tc"], tmp_path / "set", dataset="taichi", **SMALL)
        assert [row.split for row in report.rows] == ["train", "train", "test"]
        assert [row.object for row in report.rows] == ["abc", "abc", "xyz"]
        assert report.rows[0].video == "tc/train/abc#001#2.mp4"
        assert (report.settings.stride, report.settings.resize) == (2, "squeeze")
        assert missing(report) == ""

    def test_a_folder_that_is_missing_is_named(self, tmp_path):
        film(tmp_path / "tc", "train/a.mp4")
        report = prepare([tmp_path / "tc"], tmp_path / "set", dataset="taichi", **SMALL)
        assert missing(report) == "missing: the videos of test/"
        film(tmp_path / "flat", "a.mp4")
        with pytest.raises(InputError, match="missing: the folders train/ and test/"):
            prepare([tmp_path / "flat"], tmp_path / "other", dataset="taichi", **SMALL)
        (tmp_path / "empty" / "train").mkdir(parents=True)
        with pytest.raises(InputError, match=r"the videos of train/; the videos of test/"):
            prepare([tmp_path / "empty"], tmp_path / "other", dataset="taichi", **SMALL)

    def test_one_folder_needs_a_pattern(self, tmp_path):
        film(tmp_path / "flat", "hedge_00.mp4", "lake_01.mp4", "lake_02.mp4")
        report = prepare([tmp_path / "flat"], tmp_path / "set", dataset="taichi", test_videos="hedge_*", **SMALL)
        assert splits(report) == {"hedge_00.mp4": "test", "lake_01.mp4": "train", "lake_02.mp4": "train"}
        with pytest.raises(InputError, match="no video matches 'park_"):
            prepare([tmp_path / "flat"], tmp_path / "other", dataset="taichi", test_videos="park_*", **SMALL)
        film(tmp_path / "tc", "train/a.mp4", "test/b.mp4")
        with pytest.raises(InputError, match="leave --test-videos out"):
            prepare([tmp_path / "tc"], tmp_path / "other", dataset="taichi", test_videos="a*", **SMALL)

    @pytest.mark.skipif(DATA is None, reason="IPOKE_DATA names no folder with Tai-Chi-HD footage (taichi/)")
    def test_real_footage(self, tmp_path):
        film_folder = tmp_path / "taichi"
        film_folder.mkdir()
        for name in ("hedge_00.mp4", "lake_01.mp4"):
            (film_folder / name).symlink_to(Path(str(DATA)) / "taichi" / name)
        report = prepare([film_folder], tmp_path / "set", dataset="taichi", test_videos="hedge_*", size=64)
        assert report.clips("train") > 20
        assert report.clips("test") > 20


class TestHuman36m:
    def test_actors_say_what_is_held_out(self, tmp_path):
        walking = [f"S{actor}/Videos/Walking 1.mp4" for actor in (1, 5, 6, 7, 8, 9, 11)]
        film(tmp_path / "h36m", *walking, "S1/Videos/_ALL 1.mp4", "S2/Videos/Walking.mp4", count=100, fps=50.0)
        film(tmp_path / "h36m", "intro.mp4")
        report = prepare([tmp_path / "h36m"], tmp_path / "set", dataset="human36m", **SMALL)
        assert {name.split("/")[0]: split for name, split in splits(report).items()} == {
            **{f"S{actor}": "train" for actor in (1, 5, 6, 7, 8)},
            **{"S9": "test", "S11": "test"},
        }
        assert (report.settings.stride, report.settings.resize) == (1, "crop")
        assert {(row.every, row.frames) for row in report.rows} == {(8, 13)}
        lines = "\n".join(report.lines())
        assert "1 x .mp4, ALL in its name" in lines
        assert "1 x .mp4, S2 is in neither split" in lines
        assert "1 x .mp4, no actor in its name or folders" in lines
        clips = ClipSet(tmp_path / "set", split="train")
        start = clips.row(0).first
        wanted = frames_of(seed_of(walking[0]), 100)[8 * start :: 8][: FRAMES + 1]
        for got, frame in zip(clips.clip(0), wanted, strict=True):
            assert np.sqrt(np.mean((got.astype(float) - fit(frame, 32, "crop")) ** 2)) < 5

    def test_actors_that_are_missing_are_named(self, tmp_path):
        film(tmp_path / "h36m", "S1_Walking.mp4", "S9_Walking.mp4", count=100, fps=25.0)
        report = prepare([tmp_path / "h36m"], tmp_path / "set", dataset="human36m", **SMALL)
        assert missing(report) == "missing: videos of S5 (train), S6 (train), S7 (train), S8 (train), S11 (test)"
        assert {row.every for row in report.rows} == {4}
        film(tmp_path / "none", "a.mp4")
        with pytest.raises(InputError, match=r"nothing to prepare; missing: videos of S1 \(train\).*and 2 more"):
            prepare([tmp_path / "none"], tmp_path / "other", dataset="human36m", **SMALL)


class TestAsking:
    def test_a_person_may_choose_stride_and_fit(self, tmp_path):
        film(tmp_path / "tc", "train/a.mp4", "test/b.mp4")
        report = prepare([tmp_path / "tc"], tmp_path / "set", dataset="taichi", **SMALL, stride=1, resize="letterbox")
        assert (report.settings.stride, report.settings.resize) == (1, "letterbox")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--dataset", "plant"), "did you mean plants?"),
            (("--dataset", "iper", "--test-fraction", "0.2"), "says what is held out"),
            (("--dataset", "iper", "--test-videos", "a*"), "says what is held out"),
        ],
    )
    def test_a_mistake_is_one_line(self, ipoke, tmp_path, words, said):
        film(tmp_path / "videos", "a.mp4")
        answer = ipoke("prepare", tmp_path / "videos", *words, "--out", tmp_path / "set")
        assert is_one_line(answer, said), answer.err
        assert not (tmp_path / "set").exists()

    def test_a_data_set_is_one_folder(self, ipoke, tmp_path):
        film(tmp_path / "a", "train/a.mp4")
        for given in ((tmp_path / "a", tmp_path / "a"), (tmp_path / "a" / "train" / "a.mp4",)):
            answer = ipoke("prepare", *given, "--dataset", "taichi", "--out", tmp_path / "set")
            assert is_one_line(answer, "expected one folder"), answer.err

    def test_what_is_missing_is_listed(self, ipoke, tmp_path):
        film(tmp_path / "tc", "train/a.mp4")
        words = ("--dataset", "taichi", "--size", 32, "--frames", 3, "--out", tmp_path / "set")
        answer = ipoke("prepare", tmp_path / "tc", *words)
        assert answer.code == 0
        assert "missing: the videos of test/" in answer.out

    def test_every_data_set_has_recipes(self):
        for name, layout in LAYOUTS.items():
            for size in (64, 128):
                recipe = load_recipe(f"{name}-{size}", [])
                assert recipe.train.balance_objects == (name == "plants")
                assert recipe.pokes.foreground == ("grabcut" if name in ("iper", "taichi") else "motion")
                assert layout.stride == {"plants": 2, "taichi": 2}.get(name, 1)


class TestSqueezing:
    @pytest.mark.parametrize("shape", [(48, 64), (64, 48), (20, 40), (32, 32)])
    def test_all_of_a_frame_is_kept(self, shape):
        frame = np.zeros((*shape, 3), np.uint8)
        frame[: shape[0] // 2, : shape[1] // 2] = 255
        squeezed = fit(frame, 32, "squeeze")
        assert squeezed.shape == (32, 32, 3)
        assert (squeezed[:15, :15] == 255).all()
        assert (squeezed[17:] == 0).all()
        assert (squeezed[:, 17:] == 0).all()


@pytest.fixture(scope="module")
def plants(tmp_path_factory) -> ClipSet:
    """Prepare two plants, one of which has many more clips."""
    folder = tmp_path_factory.mktemp("plants")
    film(folder / "pp", "fern/1.mp4", "fern/2.mp4", "fern/3.mp4", count=60)
    film(folder / "pp", "palm/1.mp4", count=20)
    prepare([folder / "pp"], folder / "set", dataset="plants", **SMALL)
    return ClipSet(folder / "set", split="train")


class TestBalance:
    def drawn(self, plants: ClipSet, groups: Any, count: int = 400) -> list[int]:
        """Say which clips are drawn, known by their pixels."""
        known = {plants.clip(index).tobytes(): index for index in range(len(plants))}
        pokes = PokeSettings(zero_poke_fraction=0, patch=1)
        items = [training_item(plants, pokes, None, seed=3, n=n, groups=groups) for n in range(count)]
        return [known[item.frames.tobytes()] for item in items]

    def test_each_object_is_equally_likely(self, plants):
        groups = plants.by_object()
        assert sorted(np.concatenate(groups)) == list(range(len(plants)))
        assert len(groups[0]) > 5 * len(groups[1])
        balanced = Counter(plants.row(index).source.object for index in self.drawn(plants, groups))
        assert 0.42 < balanced["palm"] / 400 < 0.58
        plain = Counter(plants.row(index).source.object for index in self.drawn(plants, None))
        assert plain["palm"] / 400 < 0.2
        within = Counter(index for index in self.drawn(plants, groups) if index in groups[1])
        assert len(within) == len(groups[1])

    def test_what_is_drawn_depends_on_the_seed_and_the_count_alone(self, plants):
        groups = plants.by_object()
        assert self.drawn(plants, groups, 40) == self.drawn(plants, groups, 60)[:40]

    def test_a_set_without_objects_is_refused(self, tmp_path):
        film(tmp_path / "videos", "a.mp4", "b.mp4")
        prepare([tmp_path / "videos"], tmp_path / "set", **SMALL)
        with pytest.raises(InputError, match=r"does not say which object .* train\.balance_objects"):
            ClipSet(tmp_path / "set", split="train").by_object()
