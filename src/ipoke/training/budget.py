"""A recipe as a budget: hours become clips per stage, by what this machine does in a second."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ipoke.core.errors import InputError
from ipoke.core.files import write_text
from ipoke.core.reading.regular import read_bounded
from ipoke.core.recipe import BASELINE_STAGE, STAGES, Recipe, settings_key, stages_of
from ipoke.core.sections import StageSettings
from ipoke.core.values import Clips, Section

FILE = "plan.json"
RESERVE = 0.03
"""Share of the time kept back for reading, pictures and writing."""
NARROW, WIDE = 0.5, 2.0
"""Factors on the widths of all networks, beside 1."""
SHORT, LONG = 0.25, 1.5
"""Shares of the recipe's own clips. Where time suffices for less than the first, networks are narrow; where it suffices
for more than the second with wide ones, they are wide."""
GPU_BATCH = 4
"""How many times as large batches are on a GPU; the learning rate grows with the square root."""
WARMUP, HALF_LIFE = 1 / 10, 1 / 20
"""Longest warm-up and half-life of the averaged weights, as shares of a stage."""
CHECKPOINT_EVERY_S = 240.0


LARGEST_PLAN = 2**18
"""Bytes of the file; it holds two recipes."""
Positive = Annotated[float, Field(ge=0, le=1e9)]


class PlannedStage(Section):
    """How long a stage may take and what is expected of it."""

    stage: Annotated[str, Field(pattern=rf"^({'|'.join((*STAGES, BASELINE_STAGE))})$")]
    seconds: Positive
    """After which it ends, however far it is; its learning rate has come to zero by then."""
    clips: Clips
    """What this machine was measured to see in that time, at most what it will see."""
    clips_per_s: Positive


class Plan(Section):
    """What a budget comes to on a machine, decided once per run."""

    asked: Recipe
    recipe: Recipe
    """As it was fitted: widths, batches and schedules."""
    width: Positive
    checkpoint_every_clips: Clips
    """A picture is drawn half as often."""
    stages: Annotated[tuple[PlannedStage, ...], Field(min_length=1, max_length=5)]

    def lines(self) -> Iterator[str]:
        """Tell people."""
        hours, seconds = self.asked.budget.hours, sum(one.seconds for one in self.stages)
        yield f"budget of {hours:g} h: networks {self.width:g} times as wide as in {self.asked.name}, {_time(seconds)}"
        for one in self.stages:
            yield (
                f"  {one.stage:14} {one.clips:9,} clips at {one.clips_per_s:.3g} a second: {_time(one.seconds)}, "
                f"batch {getattr(self.recipe.train, settings_key(one.stage)).batch}"
            )

    def seconds_for(self, stage: str) -> float:
        """Say after how many seconds a stage ends."""
        return next(one.seconds for one in self.stages if one.stage == stage)


def make_plan(asked: Recipe, *, on_gpu: bool, processes: int, speed: Callable[[Recipe, str], float]) -> Plan:
    """Fit a recipe to its budget.

    Every stage gets the share of the time that its clips would take of the whole recipe; how wide networks are follows
    from how far that goes.

    Args:
        asked: A recipe with ``budget.hours``.
        on_gpu: Whether it will be trained on one.
        processes: That train together.
        speed: Measures clips per second of a stage of a recipe. What that takes is taken off the budget.

    Raises:
        InputError: There is not time for a single step of some stage.
    """
    if asked.budget.hours is None:
        raise ValueError("make_plan: got a recipe without budget.hours, expected one with it")
    ends = time.monotonic() + 3600 * asked.budget.hours * (1 - RESERVE)
    batched = _batched(asked, GPU_BATCH if on_gpu else 1)
    width, recipe = 1.0, batched
    speeds = _speeds(recipe, speed)
    reach = (ends - time.monotonic()) / _whole(recipe, speeds)
    # Weights to start from fit one width alone.
    if reach < SHORT and not asked.train.start:
        width, recipe = NARROW, _widened(batched, NARROW)
        speeds = _speeds(recipe, speed)
    elif reach > LONG and not asked.train.start:
        wide = _widened(batched, WIDE)
        slower = _speeds(wide, speed)
        if (ends - time.monotonic()) / _whole(wide, slower) > LONG:
            width, recipe, speeds = WIDE, wide, slower
    factor = (ends - time.monotonic()) / _whole(recipe, speeds)
    stages, fitted = [], {}
    for name, clips_per_s in speeds.items():
        settings: StageSettings = getattr(recipe.train, settings_key(name))
        clips = int(factor * settings.clips) // settings.batch * settings.batch
        if clips < settings.batch * processes:
            raise InputError(
                f"budget.hours: got {asked.budget.hours:g}, too little for a step of stage {name} on this machine, "
                f"which sees {clips_per_s:.3g} clips a second; give more"
            )
        stages.append(PlannedStage(stage=name, seconds=clips / clips_per_s, clips=clips, clips_per_s=clips_per_s))
        fitted[settings_key(name)] = _fitted(settings, clips)
    often = max(1, round(CHECKPOINT_EVERY_S * min(speeds.values())))
    return Plan(
        asked=asked,
        recipe=recipe.model_copy(update={"train": recipe.train.model_copy(update=fitted)}),
        width=width,
        checkpoint_every_clips=often,
        stages=tuple(stages),
    )


def read_plan(folder: Path, asked: Recipe) -> Plan | None:
    """Read the plan of a run, if it has one.

    Raises:
        InputError: It is broken, or for another recipe.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        plan = Plan.model_validate_json(read_bounded(path, LARGEST_PLAN, "plan"))
    except ValidationError as error:
        raise InputError(f"{path}: not a plan; restore the file or give another --out") from error
    if plan.asked != asked:
        raise InputError(f"{path}: a plan for other settings than the run's; restore the file or give another --out")
    return plan


def write_plan(folder: Path, plan: Plan) -> None:
    """Write a plan beside the settings of its run."""
    write_text(folder / FILE, plan.model_dump_json(indent=1) + "\n")


def _speeds(recipe: Recipe, speed: Callable[[Recipe, str], float]) -> dict[str, float]:
    return {name: speed(recipe, name) for name in stages_of(recipe)}


def _whole(recipe: Recipe, speeds: dict[str, float]) -> float:
    """Say how long the recipe as it is would take, seconds."""
    return sum(getattr(recipe.train, settings_key(name)).clips / clips_per_s for name, clips_per_s in speeds.items())


def _fitted(settings: StageSettings, clips: int) -> StageSettings:
    """Shorten or lengthen a stage; its learning rate comes to zero at the end."""
    changes: dict[str, Any] = {
        "clips": clips,
        "warmup_clips": min(settings.warmup_clips, int(WARMUP * clips)),
        "schedule": settings.schedule if settings.schedule in ("linear", "cosine") else "cosine",
        "ema_half_life_clips": max(1, min(settings.ema_half_life_clips or clips, int(HALF_LIFE * clips))),
    }
    return settings.model_copy(update=changes)


def _batched(recipe: Recipe, times: int) -> Recipe:
    stages = {}
    for name in stages_of(recipe):
        settings: StageSettings = getattr(recipe.train, settings_key(name))
        changes = {"batch": times * settings.batch, "learning_rate": times**0.5 * settings.learning_rate}
        stages[settings_key(name)] = settings.model_copy(update=changes)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=stages)})


def _widened(recipe: Recipe, factor: float) -> Recipe:
    """Make the networks of a recipe wider or narrower, in multiples of four; latents stay as they are."""

    def scaled(section: Section) -> Section:
        old = {key: getattr(section, key) for key in type(section).model_fields if key.endswith("widths")}
        new = {key: tuple(max(4, round(factor * width / 4) * 4) for width in widths) for key, widths in old.items()}
        return section.model_copy(update=new)

    latent = recipe.latent_flow
    return recipe.model_copy(
        update={
            "clip_encoder": scaled(recipe.clip_encoder),
            "clip_decoder": scaled(recipe.clip_decoder),
            "image_encoder": scaled(recipe.image_encoder),
            "poke_encoder": scaled(recipe.poke_encoder),
            "latent_flow": latent.model_copy(update={"coupling_width": max(4, round(factor * latent.coupling_width))}),
        }
    )


def _time(seconds: float) -> str:
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
