"""What a simulated clip promises: exact motion, determinism, true alternative futures, a background that stays."""

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.scenes import Scene, SceneClip, draw_scene

KINDS = ("plant", "puppet")
FIELDS = ("frames", "optical_flow", "keypoints", "part_masks")


def scene_and_poke(seed, size=64):
    scene = draw_scene(seed, size=size, kind=KINDS[seed % 2])
    return scene, scene.draw_poke(np.random.default_rng(seed))


@pytest.fixture(scope="module")
def plays() -> list[tuple[Scene, Poke, list[SceneClip]]]:
    result = []
    for seed in range(24):
        scene, poke = scene_and_poke(seed)
        result.append((scene, poke, scene.true_futures(poke, 3, seed=5)))
    return result


def digest(clip):
    return hashlib.sha256(b"".join(getattr(clip, name).tobytes() for name in FIELDS)).hexdigest()


def pulled_back(clip, image, method):
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return cv2.remap(image, x + clip.optical_flow[0], y + clip.optical_flow[1], method)


def warp_gain(clips):
    """How much nearer to frame 0 the last frame comes by following the optical flow, over moving, visible px."""
    still, warped = 0.0, 0.0
    for clip in clips:
        source, last = clip.frames[0].astype(np.float64), clip.frames[-1].astype(np.float64)
        moving = np.hypot(*clip.optical_flow) > 1
        visible = pulled_back(clip, clip.part_masks[-1], cv2.INTER_NEAREST) == clip.part_masks[0]
        counted = moving & visible & (clip.part_masks[0] > 0)
        still += np.abs(last - source)[counted].sum()
        warped += np.abs(pulled_back(clip, last, cv2.INTER_LINEAR) - source)[counted].sum()
    return still / warped


@pytest.mark.parametrize("kind", KINDS)
def test_optical_flow_explains_the_last_frame(plays, kind):
    clips = [clip for scene, _, futures in plays for clip in futures if scene.kind == kind]
    assert warp_gain(clips) > 4.5


def test_optical_flow_agrees_with_keypoints(plays):
    for _, poke, futures in plays:
        for clip in futures:
            row, column = round(poke.y), round(poke.x)
            moved = clip.keypoints[-1, -1] - clip.keypoints[0, -1]
            assert np.allclose(clip.optical_flow[:, row, column], moved, atol=2e-3)


def test_optical_flow_and_masks_are_zero_on_the_background(plays):
    for scene, _, futures in plays:
        for clip in futures:
            assert not clip.optical_flow[:, clip.part_masks[0] == 0].any()
            assert clip.part_masks.max() <= scene.num_parts
            assert (clip.part_masks[0] > 0).mean() > 0.04


def test_background_is_still_but_for_shadows(plays):
    for scene, _, futures in plays:
        stage = scene.background.astype(int)
        for clip in futures:
            for frame, masks in zip(clip.frames.astype(int), clip.part_masks, strict=True):
                away = cv2.dilate((masks > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
                assert (frame <= stage)[away].all(), scene.seed
                assert (frame >= 0.45 * stage - 1)[away].all(), scene.seed
            never = (clip.frames == scene.background).all((0, 3))
            assert never.mean() > 0.25, scene.seed


def test_same_seeds_same_arrays():
    for seed in (0, 1):
        clips = []
        for _ in range(2):
            scene, poke = scene_and_poke(seed)
            clips.append(scene.play(poke, future_seed=3))
        assert digest(clips[0]) == digest(clips[1])
        assert clips[0].poke == clips[1].poke
        scene, poke = scene_and_poke(seed)
        assert digest(scene.play(poke, future_seed=4)) != digest(clips[0])
        assert (scene.still == clips[0].frames[0]).all()


def test_same_seeds_same_arrays_in_another_process():
    code = (
        "import hashlib, numpy as np\n"
        "from ipoke.scenes import draw_scene\n"
        "for seed, kind in ((0, 'plant'), (1, 'puppet')):\n"
        "    scene = draw_scene(seed, kind=kind)\n"
        "    clip = scene.play(scene.draw_poke(np.random.default_rng(seed)), future_seed=3)\n"
        "    arrays = (clip.frames, clip.optical_flow, clip.keypoints, clip.part_masks)\n"
        "    print(hashlib.sha256(b''.join(a.tobytes() for a in arrays)).hexdigest())\n"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    here = []
    for seed in (0, 1):
        scene, poke = scene_and_poke(seed)
        here.append(digest(scene.play(poke, future_seed=3)))
    assert there == here


def test_poked_point_lands_on_its_target(plays):
    misses = np.array(
        [np.hypot(*(clip.keypoints[-1, -1] - poke.target)) for _, poke, futures in plays for clip in futures]
    )
    assert (misses < 0.5).mean() > 0.95
    assert (misses < 1).mean() > 0.98


def test_pokes_are_natural(plays):
    for scene, poke, futures in plays:
        row, column = round(poke.y), round(poke.x)
        part = futures[0].part_masks[0, row, column]
        assert part > 0
        assert scene.part_names[part - 1] != "pot"
        assert 3.9 < np.hypot(poke.dx, poke.dy) < 16.1
        assert all(0 < value < 63 for value in poke.target)


def test_true_futures_share_start_and_poke_but_differ_elsewhere(plays):
    spreads = {kind: [] for kind in KINDS}
    for scene, _, futures in plays:
        first = futures[0]
        for clip in futures:
            assert (clip.frames[0] == first.frames[0]).all()
            assert (clip.keypoints[0] == first.keypoints[0]).all()
            assert np.hypot(*(clip.keypoints[-1, -1] - first.keypoints[-1, -1])) < 1
        # The liveliest quarter of the keypoints: those of the poked limb are ruled by the hand.
        ends = np.stack([clip.keypoints[-1, :-1] for clip in futures])
        deviation = np.sqrt(ends.var(0, ddof=1).sum(-1))
        spreads[scene.kind].append(np.quantile(deviation, 0.75))
        gap = np.abs(futures[0].frames[-1].astype(int) - futures[1].frames[-1])
        assert gap.mean() > 0.2
    for kind in KINDS:
        assert np.median(spreads[kind]) > 2.5


def test_first_futures_do_not_depend_on_their_number():
    scene, poke = scene_and_poke(2)
    few, many = scene.true_futures(poke, 1, seed=9), scene.true_futures(poke, 2, seed=9)
    assert digest(few[0]) == digest(many[0])


def test_motion_is_lively_but_never_explodes(plays):
    for scene, _, futures in plays:
        for clip in futures:
            assert np.isfinite(clip.keypoints).all()
            assert np.abs(np.diff(clip.keypoints, axis=0)).max() < 10
            assert clip.redraws <= 5
            travel = np.hypot(*(clip.keypoints[-1] - clip.keypoints[0]).T)
            assert travel.max() > 3.5, scene.seed


def test_twice_the_size_is_the_same_scene():
    for seed in (0, 1):
        (small, poke), (large, large_poke) = scene_and_poke(seed), scene_and_poke(seed, size=128)
        assert large_poke == poke.scaled(2)
        few, many = small.play(poke, future_seed=1), large.play(large_poke, future_seed=1)
        assert np.allclose(many.keypoints + 0.5, 2 * (few.keypoints + 0.5), atol=1e-3)
        shrunk = cv2.resize(many.frames[-1], (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(shrunk - few.frames[-1]).mean() < 2
        agree = many.part_masks[-1][::2, ::2] == few.part_masks[-1]
        assert agree.mean() > 0.9


def test_background_poke_drags_nothing():
    scene, _ = scene_and_poke(1)
    background = Poke(1, 1, 9, 4)
    clip = scene.play(background, future_seed=0)
    assert clip.part_masks[0, 1, 1] == 0
    assert (clip.keypoints[:, -1] == (1, 1)).all()
    again = scene.play(Poke(1, 1, -3, 9), future_seed=0)
    assert (clip.frames == again.frames).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_pin_holds_its_point(seed):
    scene, poke = scene_and_poke(seed)
    pin = Poke(poke.x, poke.y, 0, 0)
    held, free = scene.play(pin, future_seed=2), scene.play(Poke(1, 1, 0, 0), future_seed=2)
    assert np.hypot(*(held.keypoints[-1, -1] - (poke.x, poke.y))) < 0.1
    assert (held.frames[-1] != free.frames[-1]).any()


def test_pot_stays_when_poked():
    scene = draw_scene(4, kind="plant")
    rows, columns = np.nonzero(scene.play(Poke(1, 1, 0, 0), future_seed=0).part_masks[0] == 1)
    place = len(rows) // 2
    clip = scene.play(Poke(float(columns[place]), float(rows[place]), 8, 0), future_seed=0)
    assert scene.part_names[0] == "pot"
    assert (clip.keypoints[:, -1] == clip.keypoints[0, -1]).all()
    assert not clip.optical_flow[:, clip.part_masks[0] == 1].any()


def test_names_and_shapes():
    scene, poke = scene_and_poke(3)
    clip = scene.play(poke, future_seed=0, frames=4)
    assert clip.frames.shape == (5, 64, 64, 3)
    assert clip.part_masks.shape == (5, 64, 64)
    assert clip.keypoints.shape == (5, len(clip.keypoint_names), 2)
    assert clip.keypoint_names[-1] == "poked"
    assert len(set(clip.keypoint_names)) == len(clip.keypoint_names)
    assert clip.keypoints[0, -1].tolist() == pytest.approx([poke.x, poke.y], abs=1e-4)
    assert clip.frames.dtype == clip.part_masks.dtype == np.uint8
    assert clip.optical_flow.dtype == clip.keypoints.dtype == np.float32


def test_mistakes_are_named():
    with pytest.raises(InputError, match="multiple of 32"):
        draw_scene(0, size=65)
    scene, poke = scene_and_poke(0)
    with pytest.raises(InputError, match="frames"):
        scene.play(poke, future_seed=0, frames=0)
    with pytest.raises(InputError, match="poke"):
        scene.play(Poke(64, 3, 1, 1), future_seed=0)
