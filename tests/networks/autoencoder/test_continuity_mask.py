"""Laws of telling slopes from parts, and planted mistakes that each of them must catch."""

import pytest
import torch

from ipoke.networks.autoencoder.splat import STEEP, STEEPEST, continuity_mask

SIDE = 20


def steps(*values):
    """Make a motion to the right that takes these values from column 5 on and stays at the last."""
    row = torch.zeros(SIDE)
    row[5 : 5 + len(values)] = torch.tensor(values)
    row[5 + len(values) :] = values[-1]
    motion = torch.zeros(1, 2, SIDE, SIDE)
    motion[:, 0] = row
    return motion


def turned(motion, times):
    """Turn a field by quarters, its vectors with it."""
    for _ in range(times):
        x, y = motion.rot90(1, (2, 3)).unbind(1)
        motion = torch.stack([y, -x], 1)
    return motion


def a_sharp_edge_is_none(tell):
    assert (tell(steps(6.0)) == 1).all()
    assert (tell(steps(-6.0)) == 1).all()


def a_slope_between_two_motions_belongs_to_nothing(tell):
    for motion in (steps(3.0, 6.0, 9.0), -steps(3.0, 6.0, 9.0)):
        told = tell(motion)[0, 0]
        assert (told[:, 5:7] == 0).all()
        assert (told[:, :5] == 1).all()
        assert (told[:, 7:] == 1).all()


def a_thin_part_that_moves_alone_is_whole(tell):
    assert (tell(steps(5.0, 0.0)) == 1).all()
    assert (tell(steps(5.0, 5.0, 0.0)) == 1).all()


def what_bends_gently_is_whole(tell):
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for matrix in ([[0.3, 0.4], [-0.4, 0.3]], [[-0.5, 0.0], [0.0, 0.5]]):
        motion = torch.einsum("ij,jhw->ihw", torch.tensor(matrix), torch.stack([x, y]).float())[None]
        assert (tell(motion) == 1).all()


def between_steep_and_steepest_it_falls_evenly(tell):
    for share in (0.0, 0.25, 0.5, 1.0):
        slope = STEEP + share * (STEEPEST - STEEP)
        told = tell(steps(*(slope * step for step in range(1, 9))))[0, 0, :, 6:11]
        torch.testing.assert_close(told, torch.full_like(told, 1 - share), atol=1e-5, rtol=0)


def all_directions_are_alike(tell):
    generator = torch.Generator().manual_seed(0)
    motion = 2 * torch.randn(2, 2, SIDE, SIDE, generator=generator)
    assert 0.1 < tell(motion).mean() < 0.9
    for times in (1, 2, 3):
        torch.testing.assert_close(tell(turned(motion, times)), tell(motion).rot90(times, (2, 3)))
    torch.testing.assert_close(tell(-motion), tell(motion))
    torch.testing.assert_close(tell(motion + 7), tell(motion))
    torch.testing.assert_close(tell(motion[1:]), tell(motion)[1:])


def nothing_learns_from_it(tell):
    assert not tell(steps(1.0).requires_grad_()).requires_grad


LAWS = (
    a_sharp_edge_is_none,
    a_slope_between_two_motions_belongs_to_nothing,
    a_thin_part_that_moves_alone_is_whole,
    what_bends_gently_is_whole,
    between_steep_and_steepest_it_falls_evenly,
    all_directions_are_alike,
    nothing_learns_from_it,
)


@pytest.mark.parametrize("times", range(2))
@pytest.mark.parametrize("law", LAWS)
def test_continuity_mask_obeys(law, times):
    law(lambda motion: continuity_mask(turned(motion, times)).rot90(-times, (2, 3)))


def whatever_changes(motion):
    change = torch.nn.functional.pad(motion.diff(dim=3).norm(dim=1, keepdim=True), (0, 1))
    return ((STEEPEST - change) / (STEEPEST - STEEP)).clamp(0, 1)


def ridges_too(motion):
    return torch.minimum(continuity_mask(motion), continuity_mask(motion.cumsum(3).abs().cumsum(3)))


def rows_only(motion):
    return continuity_mask(motion.mean(2, keepdim=True).expand_as(motion))


def always(motion):
    return torch.ones_like(motion[:, :1])


@pytest.mark.parametrize(
    ("defect", "law"),
    [
        (whatever_changes, a_sharp_edge_is_none),
        (whatever_changes, a_thin_part_that_moves_alone_is_whole),
        (ridges_too, a_thin_part_that_moves_alone_is_whole),
        (rows_only, all_directions_are_alike),
        (always, a_slope_between_two_motions_belongs_to_nothing),
        (always, between_steep_and_steepest_it_falls_evenly),
        (lambda motion: continuity_mask(5 * motion), what_bends_gently_is_whole),
    ],
)
def test_the_defect_is_caught(defect, law):
    with pytest.raises(AssertionError):
        law(defect)
