"""The mechanics: rest under gravity, the hand's path, urges."""

import numpy as np
import pytest

from ipoke.scenes import draw_scene
from ipoke.scenes.simulation import ARRIVAL, Drag, Urges, simulate


def no_urges(count):
    return Urges(np.zeros(count), np.zeros(count), np.ones(count), np.zeros(count, bool))


@pytest.mark.parametrize(("seed", "kind"), [(seed, kind) for seed in range(6) for kind in ("plant", "puppet")])
def test_figures_are_at_rest_under_gravity(seed, kind):
    figure = draw_scene(seed, kind=kind).figure
    poses = simulate(figure, None, no_urges(len(figure.parts)), frames=10)
    assert np.abs(poses[:, :, :2] - poses[0, :, :2]).max() < 0.4
    assert np.abs(poses[:, :, 2] - poses[0, :, 2]).max() < 0.1


def test_hand_starts_and_stops_smoothly():
    drag = Drag(0, (0.0, 0.0), (10.0, 20.0), (18.0, 14.0), bow=0.2)
    path = np.array([drag.position(share) for share in np.linspace(0, 1, 201)])
    speed = np.hypot(*np.diff(path, axis=0).T) * 200
    assert path[0].tolist() == [10, 20]
    assert path[-1] == pytest.approx([18, 14])
    assert drag.position(ARRIVAL) == pytest.approx((18, 14))
    assert speed[0] < 0.1
    assert speed[-1] < 1e-6
    assert speed.max() < 2.6 * 10
    side = (path - path[0]) @ np.array([6, 8]) / 10
    assert np.abs(side).max() == pytest.approx(0.2 * 10, rel=0.01)


def test_urges_rise_from_nothing_to_their_full_turn():
    urges = Urges(np.array([1.0, -2.0]), np.array([0.0, 0.5]), np.array([0.5, 0.4]), np.zeros(2, bool))
    assert urges.progress(0.0).tolist() == [0, 0]
    assert urges.progress(0.25)[0] == pytest.approx(0.5)
    assert urges.progress(0.5).tolist() == [1, 0]
    assert urges.progress(1.0).tolist() == [1, 1]


def test_urge_turns_its_joint_the_way_it_says():
    figures = (draw_scene(seed, kind="puppet").figure for seed in range(20))
    figure = next(figure for figure in figures if any(part.name == "left upper arm" for part in figure.parts))
    names = [part.name for part in figure.parts]
    arm = names.index("left upper arm")
    for sign in (-1, 1):
        urges = no_urges(len(names))
        urges.turn[arm] = 0.8 * sign
        poses = simulate(figure, None, urges, frames=10)
        assert sign * (poses[-1, arm, 2] - poses[0, arm, 2]) > 0.3
        # The other arm only feels it through the body.
        other = names.index("right upper arm")
        assert abs(poses[-1, other, 2] - poses[0, other, 2]) < 0.15


def turned(angle, vectors):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * vectors[0] - sin * vectors[1], sin * vectors[0] + cos * vectors[1]], -1)


@pytest.mark.parametrize(("seed", "kind"), [(seed, kind) for seed in range(4) for kind in ("plant", "puppet")])
def test_joints_hold_together(seed, kind):
    scene = draw_scene(seed, kind=kind)
    figure, poke = scene.figure, scene.draw_poke(np.random.default_rng(0))
    start = (poke.x + 0.5, poke.y + 0.5)
    part = scene.play(poke, future_seed=0).part_masks[0, round(poke.y), round(poke.x)] - 1
    rest = figure.rest_poses()
    local = turned(-rest[part, 2], np.subtract(start, rest[part, :2]))
    drag = Drag(part, tuple(local), start, (start[0] + poke.dx, start[1] + poke.dy))
    poses = simulate(figure, drag, no_urges(len(figure.parts)), frames=10)
    for index, piece in enumerate(figure.parts):
        if piece.parent is None:
            continue
        socket = turned(-rest[piece.parent, 2], rest[index, :2] - rest[piece.parent, :2])
        mother = poses[:, piece.parent]
        held = mother[:, :2] + turned(mother[:, 2], socket)
        assert np.hypot(*(held - poses[:, index, :2]).T).max() < 0.35, piece.name
