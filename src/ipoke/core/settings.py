"""Recipes: every number that a training run depends on, typed, frozen and strict.

A recipe is a TOML file. Each key has one default, here, and the defaults are the paper's (64 px); the shipped recipes
in ``ipoke/recipes`` say where they differ. Unknown keys are refused with a suggestion.
"""

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from ipoke.core.errors import LONGEST_WORD, InputError, cut, shown
from ipoke.core.reading.regular import read_bounded
from ipoke.core.sections import (
    AugmentSettings,
    AutoencoderLossSettings,
    BudgetSettings,
    ClipDecoderSettings,
    ClipEncoderSettings,
    ClipSettings,
    ConditionEncoderSettings,
    DiscriminatorSettings,
    LatentFlowSettings,
    PokeSettings,
    TrainSettings,
)
from ipoke.core.values import WHOLE, Name, Section, problem_of

LARGEST_RECIPE, LONGEST_LINE = 2**15, 4500
"""Bytes of a recipe, and of a line of it, which a path may fill; recipes that come with the package have 3 KB."""


STAGES = ("autoencoder", "image_encoder", "poke_encoder", "latent_flow")
"""The training stages of the paper, in the order in which they run."""
BASELINE_STAGE = "baseline"
"""The one stage of a run with another ``method``. It takes the place of the autoencoder: its clips, in its order."""


class Recipe(Section):
    """Everything that decides what a run computes."""

    name: Name = "custom"
    method: Literal["ipoke", "cvae", "sparse_warping", "deterministic", "recurrent"] = "ipoke"
    """What is trained: the system of the paper, or a baseline of `ipoke.training.baselines` in the widths of this
    recipe, on the budget of ``train.autoencoder``."""
    clip: ClipSettings = ClipSettings()
    latent_channels: Annotated[int, Field(gt=1, le=1024), WHOLE] = 32
    pokes: PokeSettings = PokeSettings()
    augment: AugmentSettings = AugmentSettings()
    clip_encoder: ClipEncoderSettings = ClipEncoderSettings()
    clip_decoder: ClipDecoderSettings = ClipDecoderSettings()
    autoencoder_losses: AutoencoderLossSettings = AutoencoderLossSettings()
    discriminators: DiscriminatorSettings = DiscriminatorSettings()
    image_encoder: ConditionEncoderSettings = ConditionEncoderSettings()
    poke_encoder: ConditionEncoderSettings = ConditionEncoderSettings()
    latent_flow: LatentFlowSettings = LatentFlowSettings()
    train: TrainSettings = TrainSettings()
    budget: BudgetSettings = BudgetSettings()

    @property
    def seen_size(self) -> int:
        """Side at which the networks look at pictures, px."""
        return self.clip.seen_size or self.clip.size

    @property
    def shrink(self) -> int:
        """By what factor pictures, motion and pokes shrink before the networks see them."""
        return self.clip.size // self.seen_size

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Recipe":
        """Check what single keys cannot: that every network ends on the same 8 x 8 grid."""
        seen = self.seen_size
        side = seen
        for _, height, width in self.clip_encoder.strides:
            if height != width:
                raise ValueError(f"clip_encoder.strides: got {height} by {width}, expected square strides")
            side = -(-side // height)
        if side != LATENT_SIDE:
            raise ValueError(f"clip_encoder.strides: end on a {side} x {side} grid at {seen} px, expected 8 x 8")
        if len(self.clip_encoder.widths) != len(self.clip_encoder.strides):
            raise ValueError("clip_encoder: widths and strides differ in length")
        ups = seen // LATENT_SIDE
        for name, count in (
            ("clip_decoder.widths", len(self.clip_decoder.widths) - 1),
            ("image_encoder.widths", len(self.image_encoder.widths)),
            ("image_encoder.decoder_widths", len(self.image_encoder.decoder_widths)),
            ("poke_encoder.widths", len(self.poke_encoder.widths)),
            ("poke_encoder.decoder_widths", len(self.poke_encoder.decoder_widths)),
        ):
            if 2**count != ups:
                raise ValueError(f"{name}: {count} doublings, expected {ups.bit_length() - 1} at {seen} px")
        details = len(self.clip_decoder.detail_widths)
        if seen * 2**details != self.clip.size:
            raise ValueError(
                f"clip_decoder.detail_widths: got {details} entries, expected one per doubling from clip.seen_size, "
                f"{seen} px, to clip.size, {self.clip.size} px"
            )
        if details and self.clip_decoder.output != "move":
            raise ValueError("clip_decoder.detail_widths: needs output = move")
        if self.clip_decoder.output == "move" and len(self.clip_decoder.source_widths) != len(self.clip_decoder.widths):
            raise ValueError("clip_decoder: widths and source_widths differ in length")
        levels = len(self.latent_flow.steps)
        layers = sum(self.latent_flow.steps) * (self.latent_flow.units + 1)
        if layers > MOST_FLOW_LAYERS:
            raise ValueError(
                f"latent_flow: all steps times (units + 1) are {layers}, expected {MOST_FLOW_LAYERS} at most"
            )
        factor = self.latent_flow.factor or levels + 1
        if levels > 1 and (factor <= levels or self.latent_channels % factor):
            raise ValueError(
                f"latent_flow.steps: {levels} levels need latent_channels divisible by a factor above {levels}, "
                f"got {self.latent_channels} and {factor}"
            )
        if self.autoencoder_losses.motion_between and not self.clip_encoder.sees_tracks:
            raise ValueError(
                "autoencoder_losses.motion_between: needs clip_encoder.sees_tracks, which brings the tracks"
            )
        if self.pokes.patch % 2 == 0:
            raise ValueError(f"pokes.patch: got {self.pokes.patch}, expected an odd number of px")
        return self


MOST_FLOW_LAYERS = 512
"""Steps of all levels, times one more than there are units; the paper's are 159."""
LATENT_SIDE = 8
"""Side of the latent grid, the same for every clip size. Paper: Sec. 3.2."""


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """Name the stages that a recipe trains, in the order in which they run."""
    return STAGES if recipe.method == "ipoke" else (BASELINE_STAGE,)


def settings_key(stage: str) -> str:
    """Say which section of the recipe's ``train`` a stage goes by; a baseline by that of the autoencoder."""
    return "autoencoder" if stage == BASELINE_STAGE else stage


def stage_stream(stage: str) -> int:
    """Number the random stream of a stage; a baseline has that of the autoencoder, and so sees the same clips."""
    return 0 if stage == BASELINE_STAGE else STAGES.index(stage)


def recipe_names() -> list[str]:
    """Name the recipes that come with the package."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files("ipoke.bundled.recipes").iterdir()
        if entry.name.endswith(".toml")
    )


def load_recipe(name_or_file: str, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a shipped recipe by name, or a TOML file, then apply ``key=value`` overrides such as ``train.seed=1``.

    Raises:
        InputError: No such recipe, not TOML, an unknown key (with a suggestion), or a value out of range.

    >>> load_recipe("lean-64", ["train.seed=7"]).train.seed
    7
    """
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
        table = tomllib.loads(text)
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply; correct the file") from error
    except ValueError as error:
        raise InputError(f"{where}: not valid TOML ({error}); correct the file") from error
    for override in overrides:
        key, found, value = override.partition("=")
        if not found:
            raise InputError(f"--set: got {shown(override)}, expected key=value such as train.seed=1")
        _assign(table, key.strip(), _toml_value(value.strip()))
    return parse_recipe(table, where)


def parse_recipe(table: dict[str, Any], where: str) -> Recipe:
    """Validate a recipe that was read from TOML or from a run's settings.

    Raises:
        InputError: The first problem found, with the key, what was got and what is expected.
    """
    try:
        return Recipe.model_validate(_with_tuples(table))
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply; correct the recipe") from error
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(first["loc"][:-1])
            raise InputError(
                f"{where}: unknown key {location}{suggestion(str(first['loc'][-1]), known)}; "
                f"known here: {', '.join(known)}"
            ) from error
        raise InputError(f"{where}: {problem_of(error)}") from error


def _with_tuples(value: Any) -> Any:
    """Turn the lists of TOML and JSON into the tuples that recipes hold."""
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def suggestion(word: str, known: list[str]) -> str:
    """Return ``" (did you mean X?)"`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word[:LONGEST_WORD], known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


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


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """List the keys of the section at a location of the recipe."""
    section: type[BaseModel] = Recipe
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(section.model_fields)
