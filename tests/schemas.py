"""Which values of a model of pydantic could be as large as a file says."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

LIMITS = {
    "integer": (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")),
    "number": (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")),
    "string": (("maxLength", "pattern", "enum", "const"),),
    "array": (("maxItems",),),
}


def unbounded(kind: type[BaseModel]) -> Iterator[str]:
    """Name the places of a table where no bound is said."""
    schema = kind.model_json_schema()
    yield from _unbounded(schema, schema.get("$defs", {}), kind.__name__)


def _unbounded(schema: dict[str, Any], known: dict[str, Any], where: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = known[schema["$ref"].rsplit("/", 1)[-1]]
    for limits in LIMITS.get(schema.get("type", ""), ()):
        if "enum" not in schema and "const" not in schema and not any(limit in schema for limit in limits):
            yield f"{where}: no {' or '.join(limits)}"
    for name, part in schema.get("properties", {}).items():
        yield from _unbounded(part, known, f"{where}.{name}")
    for key in ("anyOf", "oneOf", "prefixItems"):
        for part in schema.get(key, ()):
            yield from _unbounded(part, known, where)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _unbounded(schema[key], known, f"{where}[]")
    if schema.get("type") == "object" and "properties" not in schema and "maxProperties" not in schema:
        yield f"{where}: no maxProperties"
