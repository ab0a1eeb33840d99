"""Recipes: every number that a training run depends on, typed, frozen and strict.

A recipe is a TOML file. Each key has one default, here, and the defaults are the paper's (64 px); the shipped recipes
in ``ipoke/recipes`` say where they differ. Unknown keys are refused with a suggestion.
"""

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ipoke.errors import InputError

PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Norm = Literal["group", "none"]
STAGES = ("autoencoder", "image_encoder", "poke_encoder", "latent_flow")
"""The training stages of the paper, in the order in which they run."""
DECODER_STAGE = "clip_decoder"
"""A stage before them, for recipes that have it: the decoder learns alone what goes along with a given motion."""
BASELINE_STAGE = "baseline"
"""The one stage of a run with another ``method``. It takes the place of the autoencoder: its clips, in its order."""


class Section(BaseModel):
    """A frozen table of a recipe that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClipSettings(Section):
    """The shape of a clip: ``frames`` predicted frames after the source frame, ``size`` px square."""

    size: Literal[64, 128] = 64
    frames: PositiveInt = 10
    seen_size: Literal[64, 128] | None = None
    """Side at which the networks look at pictures, motion and pokes, px; that of the clips if unset. Differs from the
    original, whose networks see all that they show. Needs ``clip_decoder.detail_widths``, one per doubling."""


class PokeSettings(Section):
    """How pokes are read off optical flow. Paper: Sec. 3.3."""

    max_pokes: PositiveInt = 5
    fixed_count: bool = False
    patch: PositiveInt = 5
    """Side of the square that a poke fills in the poke map, px (odd); also the margin kept free of pokes."""
    zero_poke_fraction: Fraction = 1 / 12
    """Share of clips replaced by a still whose background is poked."""
    foreground: Literal["motion", "grabcut"] = "motion"
    max_pins: Annotated[int, Field(ge=0)] = 0
    """Most pins per clip, at points that the clip leaves where they are. Differs from the original, which has none."""


class AugmentSettings(Section):
    """Training augmentation, drawn once per clip."""

    colour_probability: Fraction = 0.8
    brightness: Fraction = 0.4
    contrast: Fraction = 0.5
    saturation: Fraction = 0.4
    hue: tuple[float, float] = (-0.15, 0.15)
    """Range of the hue shift in turns. Differs from the original: symmetric; (-0.15, 0.30) restores it."""
    geometry_probability: Fraction = 0.8
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    translate: Fraction = 0.05
    """Largest shift per axis, as a share of the side."""
    flip_probability: Fraction = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the zoom factor; displacements are multiplied by it."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    rotate_vectors: bool = True
    """Rotate the vectors with the image, mirrored in its reflected border. Differs from the original, which moved
    the map but left the vectors as they were."""


class ClipEncoderSettings(Section):
    """3D-ResNet from clip to latent; the first entry of ``widths`` and ``strides`` is the stem."""

    widths: tuple[PositiveInt, ...] = (64, 128, 256, 256)
    strides: tuple[tuple[int, int, int], ...] = ((2, 2, 2), (2, 1, 1), (2, 2, 2), (2, 2, 2))
    """Strides in (time, height, width) per stage."""
    blocks: PositiveInt = 2
    groups: PositiveInt = 16
    initial_logvar: float = 0.0
    """Log-variance of the posterior at the start. Low values let the latent be heard before it has much to say; the
    original starts at 0."""
    sees_change: bool = False
    """Also feed every frame minus the source frame (6 channels), so that motion need not be found first. Differs from
    the original, which has the frames alone."""
    sees_tracks: bool = False
    """Also feed where every source pixel is in each frame (2 channels). Differs from the original, which must find
    motion by itself."""
    sums_up: bool = False
    """Also add an affine map per cell, fitted to the tracks of the last frame, to the mean; needs ``sees_tracks``."""


class ClipDecoderSettings(Section):
    """ConvGRU roll-out and SPADE decoder from latent and source frame to frames."""

    rollout_layers: PositiveInt = 4
    rollout_update_bias: float = 0.0
    """Bias of the ConvGRU's update gates at the start. Below 0 a latent is remembered over the whole roll-out; at 0, as
    in the original, half of it is lost at every step."""
    rollout_straight: bool = False
    """Add z itself to the states, more with every frame. Differs from the original, which has what the ConvGRU
    remembers of it."""
    widths: tuple[PositiveInt, ...] = (256, 256, 128, 64)
    """In-block, then one up-block (twice the side) per further entry."""
    spade_width: PositiveInt = 128
    groups: PositiveInt = 16
    spectral_norm: bool = True
    output: Literal["paint", "move"] = "paint"
    """``paint``: the paper's, RGB from the last feature map. ``move``: move the source's pixels by a predicted
    displacement and paint only what was hidden; without spade_width, groups and spectral_norm."""
    maps: bool = False
    """``move`` only: also say an affine map of motion per cell, which each pixel follows or not."""
    source_widths: tuple[PositiveInt, ...] = ()
    """``move`` only: widths of the source's features, one per entry of ``widths``, coarse to fine."""
    detail_widths: tuple[PositiveInt, ...] = ()
    """``move`` only: one more doubling per entry, from ``clip.seen_size`` to the size of the clips."""


class AutoencoderLossSettings(Section):
    """Weights of the autoencoder's losses. Paper: Eq. 9; 0 turns a term off."""

    reconstruction_l1: NonNegative = 10.0
    pyramid_l1: NonNegative = 0.0
    """The same at 1/2 and 1/4 of the side. Differs from the original, which has none."""
    perceptual: NonNegative = 10.0
    kl: NonNegative = 1e-7
    kl_last: NonNegative | None = None
    """What ``kl`` becomes in the third quarter of the stage, linearly; it stays as it is if unset."""
    motion: NonNegative = 0.0
    """Error of the decoder's motion of the last frame against the optical flow of the clip, px (``move`` only)."""
    motion_between: NonNegative = 0.0
    """The same for the frames before, against the clip's tracks."""
    going: NonNegative = 0.0
    """Cross-entropy of which pixels go along, against which of them the optical flow moves (``move`` only)."""
    adversarial_static: NonNegative = 1.0
    adversarial_temporal: NonNegative = 1.0
    feature_matching: NonNegative = 1.0
    gradient_penalty: NonNegative = 1.0
    adversarial_start: Fraction = 0.0
    """Share of the stage after which the discriminators take part."""
    frames_per_step: PositiveInt | None = None
    """Frames decoded per step, the last among them, while the discriminators rest; all of them if unset."""
    perceptual_images: PositiveInt | None = None
    """Frames per step that the perceptual distance sees, drawn from those decoded; all of them if unset."""
    perceptual_weights: str | None = None
    """Folder of LPIPS-SqueezeNet weights or file of VGG-19 weights."""


class DiscriminatorSettings(Section):
    """Sizes of the static (PatchGAN) and temporal (3D-ResNet) discriminators."""

    static_widths: tuple[PositiveInt, ...] = (64, 128, 256, 512)
    static_frames: PositiveInt = 16
    temporal_widths: tuple[PositiveInt, ...] = (64, 64, 128, 256, 512)
    temporal_groups: PositiveInt = 16
    window: Literal["random", "first"] = "random"
    """Which frames the temporal one sees. Differs from the original (``first``), which never saw the last frame."""


class ConditionEncoderSettings(Section):
    """Encoder of the source frame, or of pokes with the source frame, onto the latent grid."""

    widths: tuple[PositiveInt, ...] = (32, 64, 64)
    """One stride-2 stage per entry; the last is the width of the features."""
    decoder_widths: tuple[PositiveInt, ...] = (64, 64, 32)
    """Decoder that serves pre-training only."""
    bottleneck_blocks: PositiveInt = 1
    """Residual blocks on the latent grid; more let a poke be felt further away."""
    norm: Norm = "group"
    groups: PositiveInt = 16
    spectral_norm: bool = True
    sees_poked: bool = False
    """Poke encoder only: also feed where the map was poked, so that a pin (zero displacement) can be told from no poke.
    Differs from the original, which cannot express pins."""
    error: Literal["absolute", "squared"] = "absolute"
    """Poke encoder only: what pre-training descends. The squared error asks for the mean of the motion that a poke can
    mean; the absolute one, as in the original, for its median, which is standing still at most places."""
    sees_source: bool = True
    """Poke encoder only: also feed the source frame (5 channels); without it the poke map alone (2 channels)."""


class LatentFlowSettings(Section):
    """The conditional bijection between latent and residual. Paper: Sec. 3.2, Eq. 8."""

    steps: tuple[PositiveInt, ...] = (10, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1)
    """Steps per level; each level sends ``channels / factor`` channels straight to the residual."""
    factor: PositiveInt | None = None
    """Into how many shares the levels split the channels; one more than there are levels if unset."""
    units: Annotated[int, Field(ge=0)] = 2
    """Units (four masked convolutions each) per half step."""
    masked_width: PositiveInt = 4
    """Hidden channels of a masked convolution, as a multiple of its input channels."""
    coupling_width: PositiveInt = 2048
    conditional_couplings: bool = False
    logit_bound: Annotated[float, Field(gt=0)] | None = None
    """Bound on the logits of all scales, which keeps them off zero; none in the original."""
    seen_bound: Annotated[float, Field(gt=0, le=1e3)] | None = None
    """Bound on the values that conditioners see, which keeps the inverse from overflowing; none in the original."""
    train_condition_encoders: bool = False
    """Train the two condition encoders on with the latent flow. Differs from the original, which froze them."""


class StageSettings(Section):
    """How long and how a stage is trained; all counts are in clips seen."""

    clips: PositiveInt
    batch: PositiveInt
    learning_rate: Annotated[float, Field(gt=0)]
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False
    warmup_clips: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """After the warm-up: constant; to zero, linear or cosine; or times ``decay`` per ``decay_clips``."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.98
    decay_clips: PositiveInt = 40_000
    gradient_clip: NonNegative = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    gradient_skip: NonNegative = 0.0
    """Times the usual gradient norm beyond which an update is left out; 0 leaves none out, as the original."""
    ema_half_life_clips: Annotated[int, Field(ge=0)] = 0
    """Half-life of the averaged weights; 0 keeps the last ones."""
    precision: Literal["float32", "bfloat16"] = "float32"
    perceptual: bool = True
    """Image and poke encoder: take the perceptual distance into the loss where weights for it are found."""
    adversarial_start: Fraction = 0.0
    """Image encoder only: share of the stage after which its discriminator takes part; 1 leaves it out."""


class TrainSettings(Section):
    """The stages."""

    start: str | None = None
    """Differs from the original if set: a model whose weights training starts from, where they fit, instead of chance.
    A bundled name, run directory or .safetensors file."""
    clip_decoder: StageSettings | None = None
    """Differs from the original if set: the decoder first learns alone, from stills and optical flow, which pixels go
    along with the maps that `ClipEncoderSettings.sums_up` fits. Four times as fast as the autoencoder, whose encoder
    and roll-out it does without."""
    autoencoder: StageSettings = StageSettings(
        clips=800_000, batch=20, learning_rate=2e-4, betas=(0.5, 0.9), weight_decay=1e-5, schedule="exponential"
    )
    image_encoder: StageSettings = StageSettings(clips=2_560_000, batch=128, learning_rate=2e-4, adversarial_start=0.1)
    poke_encoder: StageSettings = StageSettings(clips=2_560_000, batch=64, learning_rate=1e-3)
    latent_flow: StageSettings = StageSettings(
        clips=8_000_000,
        batch=40,
        learning_rate=1e-3,
        weight_decay=1e-5,
        amsgrad=True,
        warmup_clips=20_000,
        schedule="linear",
    )
    balance_objects: bool = False
    """Show every object (plant, person) equally often, however many clips there are of it; for sets that name them."""
    seed: Annotated[int, Field(ge=0)] = 42
    checkpoint_every_clips: PositiveInt = 20_000
    sample_every_clips: PositiveInt = 40_000


class BudgetSettings(Section):
    """Time to train in, which decides widths, batches and numbers of clips in the recipe's place."""

    hours: Annotated[float, Field(gt=0)] | None = None
    device: Literal["cpu", "cuda"] | None = None
    """On which the hours are spent; the one that is there if unset."""


class Recipe(Section):
    """Everything that decides what a run computes."""

    name: str = "custom"
    method: Literal["ipoke", "cvae", "sparse_warping", "deterministic", "recurrent"] = "ipoke"
    """What is trained: the system of the paper, or a baseline of `ipoke.baselines` in the widths of this recipe, on the
    budget of ``train.autoencoder``."""
    clip: ClipSettings = ClipSettings()
    latent_channels: PositiveInt = 32
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
        factor = self.latent_flow.factor or levels + 1
        if levels > 1 and (factor <= levels or self.latent_channels % factor):
            raise ValueError(
                f"latent_flow.steps: {levels} levels need latent_channels divisible by a factor above {levels}, "
                f"got {self.latent_channels} and {factor}"
            )
        if self.clip_encoder.sums_up and not self.clip_encoder.sees_tracks:
            raise ValueError("clip_encoder.sums_up: needs clip_encoder.sees_tracks, which brings the tracks")
        if self.autoencoder_losses.motion_between and not self.clip_encoder.sees_tracks:
            raise ValueError(
                "autoencoder_losses.motion_between: needs clip_encoder.sees_tracks, which brings the tracks"
            )
        if self.train.clip_decoder and not (self.clip_encoder.sums_up and self.clip_decoder.maps):
            raise ValueError("train.clip_decoder: needs clip_encoder.sums_up and clip_decoder.maps, to learn from maps")
        if self.pokes.patch % 2 == 0:
            raise ValueError(f"pokes.patch: got {self.pokes.patch}, expected an odd number of px")
        return self


LATENT_SIDE = 8
"""Side of the latent grid, the same for every clip size. Paper: Sec. 3.2."""


def stages_of(recipe: Recipe) -> tuple[str, ...]:
    """Name the stages that a recipe trains, in the order in which they run."""
    if recipe.method != "ipoke":
        return (BASELINE_STAGE,)
    return (DECODER_STAGE, *STAGES) if recipe.train.clip_decoder else STAGES


def settings_key(stage: str) -> str:
    """Say which section of the recipe's ``train`` a stage goes by; a baseline by that of the autoencoder."""
    return "autoencoder" if stage == BASELINE_STAGE else stage


def stage_stream(stage: str) -> int:
    """Number the random stream of a stage; a baseline has that of the autoencoder, and so sees the same clips."""
    if stage == DECODER_STAGE:
        return len(STAGES)
    return 0 if stage == BASELINE_STAGE else STAGES.index(stage)


def recipe_names() -> list[str]:
    """Name the recipes that come with the package."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files("ipoke.recipes").iterdir()
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
        text = (resources.files("ipoke.recipes") / f"{name_or_file}.toml").read_text(encoding="utf-8")
        where = f"recipe {name_or_file}"
    elif name_or_file.endswith(".toml"):
        where = name_or_file
        try:
            text = Path(name_or_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{name_or_file}: cannot read this recipe ({error}); check the path") from error
    else:
        raise InputError(
            f"recipe: got {name_or_file!r}, expected one of {', '.join(recipe_names())} or a .toml file"
            + suggestion(name_or_file, recipe_names())
        )
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML ({error}); correct the file") from error
    for override in overrides:
        key, found, value = override.partition("=")
        if not found:
            raise InputError(f"--set: got {override!r}, expected key=value such as train.seed=1")
        _assign(table, key.strip(), _toml_value(value.strip()))
    return parse_recipe(table, where)


def parse_recipe(table: dict[str, Any], where: str) -> Recipe:
    """Validate a recipe that was read from TOML or from a run's settings.

    Raises:
        InputError: The first problem found, with the key, what was got and what is expected.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(first["loc"][:-1])
            raise InputError(
                f"{where}: unknown key {location}{suggestion(str(first['loc'][-1]), known)}; "
                f"known here: {', '.join(known)}"
            ) from error
        message = first["msg"].removeprefix("Value error, ")
        if location:
            message = f"{location}: got {first['input']!r}; {message[0].lower()}{message[1:]}"
        raise InputError(f"{where}: {message}") from error


def suggestion(word: str, known: list[str]) -> str:
    """Return ``" (did you mean X?)"`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _toml_value(text: str) -> Any:
    """Read a value as TOML does, or as a plain string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(table: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise InputError(f"--set {dotted}: {parent} is a value, not a table of the recipe")
    table[last] = value


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """List the keys of the section at a location of the recipe."""
    section: type[BaseModel] = Recipe
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(section.model_fields)
