"""JSON that every reader takes: no number in it is infinite or none."""

import json
from typing import Any

from ipoke.studio.problem import Problem


def written(value: Any) -> bytes:
    """Write JSON.

    Raises:
        Problem: A number is not finite.
    """
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError as error:
        raise Problem(500, "the answer holds a number that is not finite; take another seed, or other pokes") from error
