import pytest

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Term

DRAG = Poke(38, 137, 0, 34)


def test_equal_requests_are_found_again():
    first, second = (SampleRequest.of_seed([DRAG], samples=2, seed=7) for _ in range(2))
    assert {first: "kept"}[second] == "kept"
    assert first != SampleRequest.of_seed([DRAG], samples=2, seed=7, guidance=False)
    assert first.roughly() != first


def test_a_part_keeps_all_but_the_number_of_clips():
    request = SampleRequest.of_seed([DRAG], samples=3, seed=7, temperature=0.5, frames=4, guidance=False)
    assert request.part(slice(1, 2)) == SampleRequest((DRAG,), ((Term(7, 1),),), 0.5, 4, guidance=False)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"samples": 0}, "samples: got 0, expected 1 to 256"),
        ({"samples": 257}, "samples: got 257"),
        ({"seed": -1}, "seed: got -1, expected 0 or more"),
        ({"temperature": 2.1}, "temperature: got 2.1, expected a number from 0 to 2"),
        ({"temperature": float("nan")}, "temperature: got nan"),
        ({"frames": 101}, "frames: got 101, expected 1 to 100"),
    ],
)
def test_what_is_out_of_range_is_refused_where_it_is_made(change, error):
    with pytest.raises(InputError, match=error):
        SampleRequest.of_seed([DRAG], **change)


def test_a_request_asks_for_a_clip():
    with pytest.raises(InputError, match="samples: got 0"):
        SampleRequest((DRAG,), ())
