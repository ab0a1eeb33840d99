import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.core.sections import AugmentSettings, PokeSettings
from ipoke.data.batches import (
    TrainingClips,
    clip_index,
    evaluation_batch,
    evaluation_item,
    training_batch,
    training_batches,
    training_item,
)
from ipoke.data.tracks import tracks_to
from numbered import FRAMES, SIZE, Clips

MARGIN = 5
POKES = PokeSettings()
AUGMENT = AugmentSettings()


class BrokenClips(Clips):
    def clip(self, index):
        raise InputError(f"clip {index}: cannot be read")


def take(count, clips=None, **changes):
    own: dict[str, Any] = {"seed": 3} | {key: changes.pop(key) for key in ("seed", "with_tracks") if key in changes}
    arguments: dict[str, Any] = {"batch": 4, "start": 0, **changes}
    batches = training_batches(TrainingClips(clips or Clips(), POKES, AUGMENT, **own), **arguments)
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


def joined(batches):
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_a_batch_has_the_promised_shapes_and_ranges():
    (batch,) = take(1)
    assert batch.clip.shape == (4, FRAMES, 3, SIZE, SIZE)
    assert batch.poke_map.shape == batch.optical_flow.shape == (4, 2, SIZE, SIZE)
    assert batch.clip.dtype == batch.poke_map.dtype == batch.optical_flow.dtype == torch.float32
    assert batch.is_zero_poke.shape == (4,)
    assert batch.clip.is_contiguous()
    assert -1 <= batch.clip.min() < -0.9 < 0.9 < batch.clip.max() <= 1


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_items_do_not_depend_on_the_number_of_workers(workers):
    direct = [training_batch(TrainingClips(Clips(), POKES, AUGMENT, seed=3), first=4 * k, batch=4) for k in range(8)]
    assert_same(joined(take(8, workers=workers)), joined(direct))


def test_resuming_gives_the_same_batches():
    assert_same(joined(take(3) + take(5, start=12)), joined(take(8)))


def test_items_do_not_depend_on_the_size_of_the_batch():
    assert_same(joined(take(6, batch=2)), joined(take(3)))


def test_ranks_share_the_clips_of_a_step():
    ranks = [take(4, batch=2, rank=rank, world_size=2) for rank in (0, 1)]
    interleaved = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert_same(joined(interleaved), joined(take(4)))


def test_the_seed_changes_order_and_pokes():
    assert not torch.equal(take(1)[0].clip, take(1, seed=4)[0].clip)
    items = [training_item(TrainingClips(Clips(count=1), POKES, None, seed=seed), n=0) for seed in range(20)]
    assert len({item.pokes for item in items}) > 10


def test_every_clip_comes_once_per_epoch_in_an_order_of_its_own():
    length = 97
    orders = [[clip_index(n, length, seed=3) for n in range(e * length, (e + 1) * length)] for e in range(4)]
    assert all(sorted(order) == list(range(length)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_the_nth_item_shows_the_clip_of_its_turn():
    clips = Clips()
    for n in range(3 * len(clips)):
        item = training_item(TrainingClips(clips, POKES, None, seed=3), n=n)
        assert item.frames[0, 0, 0, 0] == clip_index(n, len(clips), seed=3)


def test_zero_pokes_come_at_their_rate():
    clips, total = Clips(), 1200
    share = sum(training_item(TrainingClips(clips, POKES, None, seed=9), n=n).is_zero_poke for n in range(total))
    expected = POKES.zero_poke_fraction
    assert abs(share - total * expected) < 4 * np.sqrt(total * expected * (1 - expected))
    never, always = (PokeSettings(zero_poke_fraction=f) for f in (0.0, 1.0))
    assert not any(training_item(TrainingClips(clips, never, None, seed=9), n=n).is_zero_poke for n in range(50))
    assert all(training_item(TrainingClips(clips, always, None, seed=9), n=n).is_zero_poke for n in range(50))


def test_a_zero_poke_is_a_still_with_a_poke_where_nothing_moved():
    clips, settings = Clips(), PokeSettings(zero_poke_fraction=1.0)
    for n in range(30):
        item = training_item(TrainingClips(clips, settings, None, seed=0), n=n)
        index = clip_index(n, len(clips), seed=0)
        assert item.frames.shape == clips.frames[index].shape
        assert (item.frames == clips.frames[index][0]).all()
        assert not item.optical_flow.any()
        (poke,) = item.pokes
        assert np.hypot(*clips.fields[index, :, int(poke.y), int(poke.x)]) < 0.3
        assert np.hypot(poke.dx, poke.dy) > 0.3


@pytest.mark.parametrize("augment", [None, AUGMENT, AugmentSettings(flip_probability=0.5, scale=(0.7, 1.4))])
def test_pokes_carry_the_field_after_augmentation_and_keep_the_margin(augment):
    clips = Clips()
    for n in range(60):
        item = training_item(TrainingClips(clips, POKES, augment, seed=1), n=n)
        for poke in item.pokes:
            assert MARGIN <= min(poke.x, poke.y) <= max(poke.x, poke.y) < SIZE - MARGIN
            if not item.is_zero_poke:
                assert (poke.dx, poke.dy) == tuple(item.optical_flow[:, int(poke.y), int(poke.x)].tolist())


def test_the_map_of_a_batch_holds_the_pokes_of_its_items():
    clips, single = Clips(), PokeSettings(max_pokes=1, zero_poke_fraction=0.3)
    batch = training_batch(TrainingClips(clips, single, AUGMENT, seed=2), first=20, batch=16)
    for k in range(16):
        item = training_item(TrainingClips(clips, single, AUGMENT, seed=2), n=20 + k)
        (poke,) = item.pokes
        x, y = int(poke.x), int(poke.y)
        assert batch.poke_map[k, :, y, x].tolist() == [poke.dx, poke.dy]
        assert int(batch.poke_map[k].any(0).sum()) == 25
        assert batch.is_zero_poke[k] == item.is_zero_poke
        np.testing.assert_array_equal(batch.optical_flow[k].numpy(), item.optical_flow)
    assert 0 < batch.is_zero_poke.sum() < 16


def test_a_batch_has_the_tracks_of_its_items_where_asked():
    clips = Clips()
    plain, tracked = (TrainingClips(clips, POKES, AUGMENT, seed=2, with_tracks=asked) for asked in (False, True))
    assert training_batch(plain, first=30, batch=12).tracks.shape == (12, 0, 2, SIZE, SIZE)
    batch = training_batch(tracked, first=30, batch=12)
    for k in range(12):
        item = training_item(TrainingClips(clips, POKES, AUGMENT, seed=2), n=30 + k)
        np.testing.assert_array_equal(batch.tracks[k].numpy(), tracks_to(item.frames, item.optical_flow))
        np.testing.assert_allclose(batch.tracks[k, -1].numpy(), item.optical_flow, atol=1e-5)
    assert batch.is_zero_poke.any()
    assert not batch.tracks[batch.is_zero_poke].any()
    assert batch.tracks[~batch.is_zero_poke].any()
    (streamed,) = take(1, seed=2, start=30, batch=12, with_tracks=True)
    assert torch.equal(streamed.tracks, batch.tracks)


def test_pins_are_added_without_changing_the_pokes():
    clips, pinned = Clips(), PokeSettings(max_pins=2)
    counts = set()
    for n in range(40):
        plain = training_item(TrainingClips(clips, POKES, AUGMENT, seed=1), n=n)
        item = training_item(TrainingClips(clips, pinned, AUGMENT, seed=1), n=n)
        pins = [poke for poke in item.pokes if poke.is_pin]
        counts.add(len(pins))
        assert item.pokes == (*pins, *plain.pokes)
        np.testing.assert_array_equal(item.frames, plain.frames)
        assert not (item.is_zero_poke and pins)
    assert counts == {0, 1, 2}


def test_a_clip_in_which_nothing_moves_gives_way_to_another():
    clips = Clips(still=range(0, 13, 2))
    shown = [training_item(TrainingClips(clips, POKES, None, seed=0), n=n).frames[0, 0, 0, 0] for n in range(39)]
    assert {int(index) for index in shown} == set(range(1, 13, 2))


def test_clips_without_motion_or_no_clips_are_refused():
    with pytest.raises(InputError, match="nothing moves in 50 of 4 clips"):
        training_item(TrainingClips(Clips(count=4, still=range(4)), POKES, AUGMENT, seed=0), n=0)
    with pytest.raises(InputError, match="at least one training clip"):
        training_item(TrainingClips(Clips(count=0), POKES, AUGMENT, seed=0), n=0)


def test_grabcut_pokes_are_drawn_and_repeat_themselves():
    settings = PokeSettings(foreground="grabcut", zero_poke_fraction=0.5)
    one, same = (training_batch(TrainingClips(Clips(), settings, AUGMENT, seed=0), first=0, batch=6) for _ in range(2))
    assert_same(one, same)


def test_a_failure_reaches_the_reader():
    batches = training_batches(TrainingClips(BrokenClips(), POKES, None, seed=0), batch=2, start=0, workers=2)
    with pytest.raises(InputError, match="cannot be read"):
        next(batches)
    assert no_workers()


def test_closing_ends_the_threads():
    batches = training_batches(TrainingClips(Clips(), POKES, AUGMENT, seed=0), batch=2, start=0, workers=3)
    next(batches)
    assert not no_workers()
    batches.close()
    assert no_workers()


def no_workers():
    return not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_only_a_bounded_number_of_batches_is_made_ahead():
    clips = Clips()
    read = []
    clips.clip = lambda index: read.append(index) or clips.frames[index]
    batches = training_batches(
        TrainingClips(clips, PokeSettings(zero_poke_fraction=0), None, seed=0), batch=1, start=0, workers=2
    )
    next(batches)
    deadline = time.monotonic() + 20
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(read) == 3
    batches.close()


def test_evaluation_pokes_are_fixed_by_seed_and_index_on_untouched_clips():
    clips = Clips()
    whole = evaluation_batch(clips, range(len(clips)), POKES, seed=5)
    parts = [evaluation_batch(clips, [index], POKES, seed=5) for index in range(len(clips))]
    assert_same(whole, joined(parts))
    assert not whole.is_zero_poke.any()
    for index in range(len(clips)):
        item = evaluation_item(clips, index, POKES, seed=5)
        np.testing.assert_array_equal(item.frames, clips.frames[index])
        assert item.pokes
        for poke in item.pokes:
            assert (poke.dx, poke.dy) == tuple(clips.fields[index, :, int(poke.y), int(poke.x)].tolist())
    clips.fields[1] = clips.fields[0]
    assert evaluation_item(clips, 0, POKES, seed=5).pokes != evaluation_item(clips, 1, POKES, seed=5).pokes
    assert not torch.equal(whole.poke_map, evaluation_batch(clips, range(len(clips)), POKES, seed=6).poke_map)


def test_an_evaluation_clip_in_which_nothing_moves_has_no_pokes():
    clips = Clips(still=[2])
    assert evaluation_item(clips, 2, POKES, seed=0).pokes == ()
    assert not evaluation_batch(clips, [2], POKES, seed=0).poke_map.any()
