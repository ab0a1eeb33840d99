"""Recipes: every number that a training run depends on, typed, frozen and strict."""

from typing import Any

from pydantic import model_validator

from ipoke.core.sections import RecipeTables, WarpDecoderSettings
from ipoke.core.unused import STAGE_TABLES, unused_keys

LATENT_SIDE = 8
"""Side of the latent grid, the same for every clip size. Paper: Sec. 3.2."""
STAGES = STAGE_TABLES
"""The training stages of the paper, in the order in which they run."""
LEAST_SEEN_PX = 64
"""Smallest side at which the networks see pictures, px."""
BASELINE_STAGE = "baseline"
"""The one stage of a run with another ``method``. It takes the place of the autoencoder: its clips, in its order."""
MOST_FLOW_LAYERS = 512
"""Steps of all levels, times one more than there are units; the paper's are 159."""


class Recipe(RecipeTables):
    """Everything that decides what a run computes."""

    @property
    def detail_widths(self) -> tuple[int, ...]:
        """Widths of the warp decoder's last doublings, which alone see pictures at full size."""
        return self.clip_decoder.detail_widths if isinstance(self.clip_decoder, WarpDecoderSettings) else ()

    @property
    def shrink(self) -> int:
        """By what factor pictures, motion and pokes shrink before the networks see them."""
        return 2 ** len(self.detail_widths)

    @property
    def seen_size(self) -> int:
        """Side at which the networks see pictures, px."""
        return self.clip.size // self.shrink

    def table(self) -> dict[str, Any]:
        """Give all keys that have an effect, as nested tables of plain values; `parse_recipe` reads them back."""
        return without(self.model_dump(mode="json"), unused_keys(self))

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Recipe":
        """Check what single keys cannot: that every network that is used ends on the same 8 x 8 grid."""
        unused = unused_keys(self)
        if self.seen_size < LEAST_SEEN_PX:
            raise ValueError(
                f"clip_decoder.detail_widths: got {len(self.detail_widths)} entries at {self.clip.size} px, expected "
                f"{self.clip.size // LEAST_SEEN_PX - 1} at most: the networks see at least {LEAST_SEEN_PX} px"
            )
        if "clip_encoder.strides" not in unused:
            _check_clip_encoder(self)
        ups = self.seen_size // LATENT_SIDE
        for name, count in (
            ("clip_decoder.widths", len(self.clip_decoder.widths) - 1),
            ("image_encoder.widths", len(self.image_encoder.widths)),
            ("image_encoder.decoder_widths", len(self.image_encoder.decoder_widths)),
            ("poke_encoder.widths", len(self.poke_encoder.widths)),
            ("poke_encoder.decoder_widths", len(self.poke_encoder.decoder_widths)),
        ):
            if 2**count != ups and name not in unused:
                raise ValueError(f"{name}: {count} doublings, expected {ups.bit_length() - 1} at {self.seen_size} px")
        decoder = self.clip_decoder
        reads_source = isinstance(decoder, WarpDecoderSettings) and "clip_decoder.source_widths" not in unused
        if reads_source and len(decoder.source_widths) != len(decoder.widths):
            raise ValueError("clip_decoder: widths and source_widths differ in length")
        if "latent_flow.steps" not in unused:
            _check_latent_flow(self)
        between = self.autoencoder_losses.motion_between and "autoencoder_losses.motion_between" not in unused
        if between and not self.clip_encoder.sees_tracks:
            raise ValueError(
                "autoencoder_losses.motion_between: needs clip_encoder.sees_tracks, which brings the tracks"
            )
        if self.pokes.patch % 2 == 0:
            raise ValueError(f"pokes.patch: got {self.pokes.patch}, expected an odd number of px")
        return self


def _check_clip_encoder(recipe: Recipe) -> None:
    side = recipe.seen_size
    for _, height, width in recipe.clip_encoder.strides:
        if height != width:
            raise ValueError(f"clip_encoder.strides: got {height} by {width}, expected square strides")
        side = -(-side // height)
    if side != LATENT_SIDE:
        raise ValueError(
            f"clip_encoder.strides: end on a {side} x {side} grid at {recipe.seen_size} px, expected 8 x 8"
        )
    if len(recipe.clip_encoder.widths) != len(recipe.clip_encoder.strides):
        raise ValueError("clip_encoder: widths and strides differ in length")


def _check_latent_flow(recipe: Recipe) -> None:
    settings = recipe.latent_flow
    levels, layers = len(settings.steps), sum(settings.steps) * (settings.units + 1)
    if layers > MOST_FLOW_LAYERS:
        raise ValueError(f"latent_flow: all steps times (units + 1) are {layers}, expected {MOST_FLOW_LAYERS} at most")
    factor = settings.factor or levels + 1
    if levels > 1 and (factor <= levels or recipe.latent_channels % factor):
        raise ValueError(
            f"latent_flow.steps: {levels} levels need latent_channels divisible by a factor above {levels}, "
            f"got {recipe.latent_channels} and {factor}"
        )


def without(table: dict[str, Any], keys: Any, prefix: str = "") -> dict[str, Any]:
    """Give nested tables without some keys, dotted, without keys that are None, and without tables that become empty.

    >>> without({"a": 1, "b": {"c": 2, "d": None}}, {"b.c"})
    {'a': 1}
    """
    kept: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            inner = without(value, keys, f"{prefix}{name}.")
            if inner or not value:
                kept[name] = inner
        elif value is not None and f"{prefix}{name}" not in keys:
            kept[name] = value
    return kept


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """Name the stages that a recipe trains, in the order in which they run."""
    return STAGES if recipe.method == "ipoke" else (BASELINE_STAGE,)


def settings_key(stage: str) -> str:
    """Say which section of the recipe's ``train`` a stage goes by; a baseline by that of the autoencoder."""
    return "autoencoder" if stage == BASELINE_STAGE else stage


def stage_stream(stage: str) -> int:
    """Number the random stream of a stage; a baseline has that of the autoencoder, and so sees the same clips."""
    return 0 if stage == BASELINE_STAGE else STAGES.index(stage)
