"""Standard JSON: NaN and infinity are refused."""

import math
from typing import Any

from ipoke.core.json_text import json_text
from ipoke.studio.problem import Problem


def written(value: Any) -> bytes:
    """Encode a value as JSON.

    Raises:
        Problem: A number is not finite.
    """
    if not is_finite(value):
        raise Problem(500, "the result contains a number that is not finite; use another seed or other pokes")
    return json_text(value).encode()


def is_finite(value: Any) -> bool:
    """Tell whether all numbers in a JSON value are finite."""
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
