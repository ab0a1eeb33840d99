"""JSON that every reader takes: no number in it is infinite or none."""

import math
from typing import Any

from ipoke.core.json_text import json_text
from ipoke.studio.problem import Problem


def written(value: Any) -> bytes:
    """Write JSON.

    Raises:
        Problem: A number is not finite.
    """
    if not is_finite(value):
        raise Problem(500, "the answer holds a number that is not finite; take another seed, or other pokes")
    return json_text(value).encode()


def is_finite(value: Any) -> bool:
    """Tell whether all numbers in a value of JSON are finite."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return False
        if isinstance(one, (list, tuple)):
            left.extend(one)
        elif isinstance(one, dict):
            left.extend(one.values())
    return True
