"""Standard JSON: numbers that are not finite are written as null."""

import json
import math
from typing import Any


def json_text(
    value: Any,
    *,
    indent: int | None = None,
    sort_keys: bool = False,
    ascii_only: bool = True,
    is_compact: bool = False,
) -> str:
    """Write a value as JSON; a number that is not finite becomes null.

    Where the reason matters, the caller writes it beside the number, as `ipoke.evaluation.metrics.statistics.finite`
    does for metrics.

    >>> json_text({"a": float("inf"), "b": [0.1]})
    '{"a": null, "b": [0.1]}'
    """
    plain = _finite(value)
    between = (",", ":") if is_compact else None
    return json.dumps(
        plain, indent=indent, sort_keys=sort_keys, ensure_ascii=ascii_only, separators=between, allow_nan=False
    )


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case _:
            return value
