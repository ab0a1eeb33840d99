"""Several visitors at once."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_two_visitors_are_both_answered(visitor, visit):
    visitors = [visitor, visit()]
    for number, one in enumerate(visitors):
        one.ask_for(2)
        one.drag(0, 20 + 8 * number)
    for number, one in enumerate(visitors):
        assert f"by 0,{20 + 8 * number}; 2 samples" in one.hears("target error")
        assert one.samples() == 2
