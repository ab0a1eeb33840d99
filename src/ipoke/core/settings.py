"""Reading recipes: from the files that come with the package, and from TOML files that people write.

Each key has one default, in `ipoke.core.sections`, and the defaults are the paper's (64 px). A recipe may extend
another one: then it says only what differs. Keys that are unknown, or that have no effect in the recipe, are refused.
"""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from ipoke.core.errors import LONGEST_WORD, InputError, cut, shown
from ipoke.core.json_text import json_text
from ipoke.core.old_settings import OLD_KEYS
from ipoke.core.reading.regular import read_bounded
from ipoke.core.recipe import Recipe, without
from ipoke.core.sections import SpadeDecoderSettings, WarpDecoderSettings
from ipoke.core.unused import unused_keys
from ipoke.core.values import problem_of

LARGEST_RECIPE, LONGEST_LINE = 2**15, 4500
"""Bytes of a recipe, and of a line of it, which a path may fill; recipes that come with the package have 3 KB."""
DEEPEST = 4
"""Recipes of which each extends the next."""
DECODERS = {"spade": SpadeDecoderSettings, "warp": WarpDecoderSettings}


class Layer(NamedTuple):
    """A table of settings that changes those below it."""

    where: str
    """Whom an error speaks of."""
    table: dict[str, Any]


def recipe_names() -> list[str]:
    """Name the recipes that come with the package."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files("ipoke.bundled.recipes").iterdir()
        if entry.name.endswith(".toml")
    )


def load_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name, or a TOML file, then apply ``key=value`` overrides such as ``train.seed=1``.

    Raises:
        InputError: No such recipe, not TOML, an unknown key (with a suggestion), a key that has no effect in this
            recipe, or a value out of range.

    >>> load_recipe("lean-64", ["train.seed=7"]).train.seed
    7
    """
    layers = _layers_of(name_or_file)
    given: dict[str, Any] = {}
    for override in overrides:
        key, found, value = override.partition("=")
        if not found:
            raise InputError(f"--set: got {shown(override)}, expected key=value such as train.seed=1")
        _assign(given, key.strip(), _toml_value(value.strip()))
    if given:
        layers.append(Layer(layers[-1].where, given))
    return _resolved(layers)


def parse_recipe(table: dict[str, Any], where: str) -> Recipe:
    """Read a recipe from a table that extends no other.

    Raises:
        InputError: The first problem found, with the key, what was got and what is expected.
    """
    return _resolved([Layer(where, table)])


def stored_recipe(table: dict[str, Any], where: str) -> Recipe:
    """Read a recipe that a program stored; keys without an effect, which older versions stored too, are dropped.

    Raises:
        InputError: As `parse_recipe`.
    """
    recipe = _validated(table, where)
    return _validated(without(table, unused_keys(recipe)), where)


def suggestion(word: str, known: list[str]) -> str:
    """Return ``" (did you mean X?)"`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word[:LONGEST_WORD], known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _layers_of(name: str) -> list[Layer]:
    """Give the tables of a recipe and of those that it extends, its own last.

    Raises:
        InputError: One cannot be read, or they extend each other without end.
    """
    names, layers = [name], [_read(name)]
    while (base := layers[-1].table.pop("extends", None)) is not None:
        where = layers[-1].where
        if not isinstance(base, str):
            raise InputError(f'{where}: extends: got {shown(base)}, expected a recipe such as "lean-64"')
        if base.endswith(".toml"):
            base = str(Path(names[-1]).parent / base)
        if any(_same(base, one) for one in names):
            raise InputError(f"{where}: extends: {shown(base)} in turn extends this recipe; remove one of the two keys")
        if len(names) == DEEPEST:
            raise InputError(
                f"{where}: extends: got more than {DEEPEST} recipes that extend one another; "
                f"copy what {shown(base)} says into this one"
            )
        try:
            layers.append(_read(base))
        except InputError as error:
            raise InputError(f"{where}: extends: {error}") from error
        names.append(base)
    return layers[::-1]


def _same(first: str, second: str) -> bool:
    """Tell whether two names are those of one recipe."""
    if first in recipe_names() or second in recipe_names():
        return first == second
    return Path(first).resolve() == Path(second).resolve()


def _read(name_or_file: str) -> Layer:
    """Read one file, without those that it extends."""
    if name_or_file in recipe_names():
        text = (resources.files("ipoke.bundled.recipes") / f"{name_or_file}.toml").read_text(encoding="utf-8")
        where = f"recipe {name_or_file}"
    elif name_or_file.endswith(".toml"):
        where = name_or_file
        try:
            text = read_bounded(Path(name_or_file), LARGEST_RECIPE, "recipe").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{name_or_file}: cannot read this recipe ({error}); give a file in UTF-8") from error
    else:
        raise InputError(
            f"recipe: got {shown(name_or_file)}, expected one of {', '.join(recipe_names())} or a .toml file"
            + suggestion(name_or_file, recipe_names())
        )
    try:
        if max(map(len, text.splitlines()), default=0) > LONGEST_LINE:
            raise ValueError(f"a line is longer than {LONGEST_LINE} characters")
        return Layer(where, tomllib.loads(text))
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply; correct the file") from error
    except ValueError as error:
        raise InputError(f"{where}: not valid TOML ({error}); correct the file") from error


def _resolved(layers: Sequence[Layer]) -> Recipe:
    """Lay tables one over the other; keys of lower ones that lose their effect are dropped.

    Raises:
        InputError: A table has a key without an effect, or together with those below it is no recipe.
    """
    table: dict[str, Any] = {}
    for where, given in layers:
        if not isinstance(given, dict):
            raise InputError(f"{where}: got {shown(given)}, expected a table of settings")
        try:
            table = _overlaid(table, given)
            recipe = _validated(table, where)
            unused = unused_keys(recipe)
            for key in _written(given):
                if key in unused:
                    raise InputError(f"{where}: {key} has no effect here, only {unused[key]}; leave it out")
            table = without(table, unused)
        except RecursionError as error:
            raise InputError(f"{where}: nested too deeply; correct the recipe") from error
    return _validated(table, layers[-1].where)


def _overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Change a table by another one; a decoder of another kind keeps what both kinds have.

    >>> _overlaid({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(below)
    for key, value in above.items():
        known = below.get(key)
        if not (isinstance(known, dict) and isinstance(value, dict)):
            result[key] = value
            continue
        kind = DECODERS.get(str(value.get("kind"))) if key == "clip_decoder" else None
        if kind is not None and known.get("kind", "spade") != value["kind"]:
            known = {name: one for name, one in known.items() if name in kind.model_fields}
        result[key] = _overlaid(known, value)
    return result


def _written(table: Any, prefix: str = "") -> Iterator[str]:
    """Name the keys of a table, dotted."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _written(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _validated(table: dict[str, Any], where: str) -> Recipe:
    """Check a table: its keys, their values, and whether they agree."""
    try:
        return Recipe.model_validate(_with_tuples(table))
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply; correct the recipe") from error
    except ValidationError as error:
        first = error.errors()[0]
        location = [str(part) for part in first["loc"]]
        kind = location.pop(1) if location[:1] == ["clip_decoder"] and len(location) > 1 else None
        if first["type"] == "extra_forbidden":
            raise InputError(f"{where}: {_unknown(location, kind)}") from error
        if first["type"] == "union_tag_invalid":
            got, known = shown(first["input"]["kind"]), " or ".join(json_text(name) for name in DECODERS)
            raise InputError(f"{where}: clip_decoder.kind: got {got}, expected {known}") from error
        raise InputError(f"{where}: {problem_of(error, '.'.join(location))}") from error


def _unknown(location: list[str], kind: str | None) -> str:
    """Say what a key that is not known may have been meant for."""
    key = ".".join(location)
    if key in OLD_KEYS:
        return f"{key} was a key of version 0.1; {OLD_KEYS[key]}"
    every = list(_all_keys(Recipe))
    if kind is not None and key in every:
        other = next(name for name in DECODERS if name != kind)
        return f'unknown key {key} with clip_decoder.kind = "{kind}"; it is one of kind = "{other}"'
    section: type[BaseModel] = Recipe
    for part in location[:-1]:
        section = _table(section, part, kind)
    known = list(section.model_fields)
    meant = suggestion(location[-1], known)
    elsewhere = [one for one in every if one.endswith(f".{location[-1]}")]
    if not meant and elsewhere:
        meant = f" (did you mean {' or '.join(elsewhere[:2])}?)"
    return f"unknown key {key}{meant}; known here: {', '.join(known)}"


def _table(section: type[BaseModel], key: str, kind: str | None) -> type[BaseModel]:
    if key == "clip_decoder":
        return DECODERS[kind or "spade"]
    annotation = section.model_fields[key].annotation
    candidates = [annotation, *get_args(annotation)]
    return next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Name every key that any recipe may have, dotted."""
    for name, field in section.model_fields.items():
        if name == "clip_decoder":
            yield from (f"{name}.{key}" for kind in DECODERS.values() for key in kind.model_fields)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _all_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _with_tuples(value: Any) -> Any:
    """Turn the lists of TOML and JSON into the tuples that recipes hold."""
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _toml_value(text: str) -> Any:
    """Read a value as TOML does, or as a plain string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _assign(table: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise InputError(f"--set {cut(dotted, LONGEST_WORD)}: {parent} is a value, not a table of the recipe")
    table[last] = value
