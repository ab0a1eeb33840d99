"""What networks that look at less than is shown are told."""

import pytest
import torch

from ipoke.data.poke import Poke
from ipoke.data.pokes import PIN_PX, poke_map
from ipoke.networks.nn import shrink
from ipoke.networks.nn.shrink import shrunk, shrunk_field, shrunk_pokes


def grid(side: int, pixel: float) -> torch.Tensor:
    """Give the places of pixel centres, (2, side, side), in pixels of which ``pixel`` make one of the grid."""
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) * pixel
    return torch.stack(torch.meshgrid(centres, centres, indexing="xy"))


def affine_motion_stays_the_same_motion() -> None:
    turn = torch.tensor([[0.9, -0.3], [0.2, 1.1]], dtype=torch.float64)
    large, small = grid(16, 1.0), grid(8, 2.0)
    moved = torch.einsum("ij,jhw->ihw", turn, large) - large
    wanted = (torch.einsum("ij,jhw->ihw", turn, small) - small) / 2
    torch.testing.assert_close(shrunk_field(moved[None], 2)[0], wanted)


def test_affine_motion_stays_the_same_motion():
    affine_motion_stays_the_same_motion()


def test_displacements_that_keep_their_numbers_are_caught(monkeypatch):
    monkeypatch.setitem(globals(), "shrunk_field", shrunk)
    with pytest.raises(AssertionError):
        affine_motion_stays_the_same_motion()


@pytest.mark.parametrize("x", [7.0, 8.0, 8.6])
def test_a_poke_keeps_its_length_and_a_pin_stays_one(x):
    drawn = torch.from_numpy(poke_map([Poke(x, 7.0, 6.0, -3.0), Poke(x, 23.0, 0.0, 0.0)], 32, patch=5))[None]
    small = shrunk_pokes(drawn, 2)[0]
    poked = small[:, :8][:, (small[:, :8] != 0).any(0)]
    assert poked.shape[1] == 9
    torch.testing.assert_close(poked, torch.tensor([[3.0], [-1.5]]).expand(2, 9))
    pinned = small[:, 8:][:, (small[:, 8:] != 0).any(0)]
    torch.testing.assert_close(pinned, torch.full((2, 9), PIN_PX / 2))


def test_pokes_that_fade_at_their_edges_are_caught(monkeypatch):
    monkeypatch.setattr(shrink, "shrunk_pokes", shrunk_field)
    monkeypatch.setitem(globals(), "shrunk_pokes", shrunk_field)
    with pytest.raises(AssertionError):
        test_a_poke_keeps_its_length_and_a_pin_stays_one(7.0)


def test_nothing_shrinks_by_one():
    x = torch.rand(1, 2, 4, 4)
    for make in (shrunk, shrunk_field, shrunk_pokes):
        assert torch.equal(make(x, 1), x)
