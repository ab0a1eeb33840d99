from collections import Counter

import numpy as np
import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.core.sections import PokeSettings
from ipoke.core.settings import load_recipe
from ipoke.data.balance import balanced_clip_index, object_of_turn
from ipoke.data.batches import TrainingClips, training_batches, training_item
from ipoke.data.clips import ClipSet, ClipSetSettings, ClipWriter, Segment, SourceRow
from numbered import Clips

OBJECTS = [np.arange(0, 2), np.arange(2, 32), np.array([32, 40]), np.arange(33, 40)]
"""Four objects with 2, 30, 2 and 7 of 41 clips."""
OWNER = {int(clip): number for number, clips in enumerate(OBJECTS) for clip in clips}
SETTINGS = ClipSetSettings(size=32, frames=3, optical_flow="exact", version=2)


def shown(n, clips=None, seed=3):
    item = training_item(TrainingClips(clips or Clips(count=41), PokeSettings(), None, seed=seed, objects=OBJECTS), n=n)
    return int(item.frames[0, 0, 0, 0])


def test_every_object_comes_once_per_round_in_an_order_of_its_own():
    rounds = [tuple(object_of_turn(n, 4, seed=3) for n in range(4 * r, 4 * r + 4)) for r in range(50)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in rounds)
    assert len(set(rounds)) > 15


def test_objects_are_equally_frequent_and_so_are_the_clips_of_one():
    drawn = [balanced_clip_index(n, OBJECTS, seed=3) for n in range(4 * 420)]
    assert Counter(OWNER[clip] for clip in drawn) == dict.fromkeys(range(4), 420)
    counts = Counter(drawn)
    assert counts == {clip: 420 // len(clips) for clips in OBJECTS for clip in clips.tolist()}
    plain = Counter(OWNER[n % 41] for n in range(4 * 420))
    assert plain[1] > 10 * plain[0]


def test_the_order_within_an_object_changes_from_epoch_to_epoch_and_from_object_to_object():
    alike = [np.arange(9), np.arange(9, 18)]
    drawn = [balanced_clip_index(n, alike, seed=3) for n in range(2 * 9 * 4)]
    epochs = [drawn[18 * epoch : 18 * (epoch + 1)] for epoch in range(4)]
    orders = [tuple(clip % 9 for clip in epoch if clip // 9 == side) for epoch in epochs for side in (0, 1)]
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert len(set(orders)) == 8


def test_the_nth_item_depends_on_seed_and_n_alone():
    turns = list(range(120))
    straight = [shown(n) for n in turns]
    assert straight == [balanced_clip_index(n, OBJECTS, seed=3) for n in turns]
    np.random.default_rng(0).shuffle(turns)
    assert {n: shown(n) for n in turns} == dict(enumerate(straight))
    assert straight != [shown(n, seed=4) for n in range(120)]


@pytest.mark.parametrize("workers", [1, 3])
def test_resuming_gives_the_same_batches(workers):
    def take(start, count):
        batches = training_batches(
            TrainingClips(Clips(count=41), PokeSettings(), None, seed=3, objects=OBJECTS),
            batch=6,
            start=start,
            workers=workers,
        )
        taken = [next(batches) for _ in range(count)]
        batches.close()
        return taken

    for resumed, straight in zip([*take(0, 3), *take(18, 5)], take(0, 8), strict=True):
        for one, other in zip(resumed, straight, strict=True):
            assert torch.equal(one, other)


def test_a_still_clip_gives_way_to_another_of_its_object():
    clips = Clips(count=41, still=[0, *range(3, 22), 33])
    seen = [shown(n, clips) for n in range(400)]
    assert Counter(OWNER[clip] for clip in seen) == dict.fromkeys(range(4), 100)
    assert set(seen) == {1, 2, *range(22, 32), 32, 40, *range(34, 40)}
    with pytest.raises(InputError, match="nothing moves in 50 of 2 clips"):
        [shown(n, Clips(count=41, still=OBJECTS[0])) for n in range(4)]


def write(folder, names):
    with ClipWriter(folder, settings=SETTINGS) as writer:
        for number, (name, counts) in enumerate(names):
            row = SourceRow(
                id=f"v{number}",
                video=f"v{number}.mp4",
                split="test" if name == "unseen" else "train",
                frames=9,
                size=(32, 32),
                fps=25.0,
                sha256=str(number),
                object=name,
            )
            writer.add(row, [Segment(np.zeros((n + 3, 32, 32, 3), np.uint8), np.zeros((n, 2, 32, 32))) for n in counts])
    return folder


def test_a_set_knows_the_clips_of_each_object(tmp_path):
    folder = write(tmp_path, [("fern", [2, 3]), ("agave", [4]), ("unseen", [5]), ("fern", [1]), ("gone", [])])
    objects = ClipSet(folder, split="train").objects()
    assert list(objects) == ["agave", "fern"]
    assert objects["agave"].tolist() == [5, 6, 7, 8]
    assert objects["fern"].tolist() == [0, 1, 2, 3, 4, 9]
    clip_set = ClipSet(folder)
    for name, clips in clip_set.objects().items():
        assert {clip_set.row(int(clip)).source.object for clip in clips} == {name}


def test_a_set_that_does_not_name_its_objects_is_refused(tmp_path):
    folder = write(tmp_path, [("fern", [2]), ("", [3])])
    with pytest.raises(InputError, match=r"does not name the object of v1\.mp4.*--dataset.*balance_objects=false"):
        ClipSet(folder).objects()


def test_the_recipes_of_plants_balance_and_no_other_does():
    assert load_recipe("plants-64").train.balance_objects
    assert load_recipe("plants-128").train.balance_objects
    assert not load_recipe("iper-64").train.balance_objects
    assert not load_recipe("lean-64").train.balance_objects
