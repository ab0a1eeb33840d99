"""The tables of a recipe: each key with its default, its type and its bounds."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from ipoke.core.values import (
    WHOLE,
    Beta,
    Clips,
    Depth,
    Fraction,
    Frames,
    MaybeClips,
    MaybeWidths,
    Name,
    NonNegative,
    PathText,
    PositiveInt,
    Section,
    Seed,
    Start,
    Stride,
    Width,
    Widths,
)

Norm = Literal["group", "none"]


class ClipSettings(Section):
    """The shape of a clip: ``frames`` predicted frames after the source frame, ``size`` px square."""

    size: Literal[64, 128] = 64
    frames: Frames = 10


class PokeSettings(Section):
    """How pokes are read off optical flow. Paper: Sec. 3.3."""

    max_pokes: Annotated[int, Field(gt=0, le=100), WHOLE] = 5
    patch: Annotated[int, Field(gt=0, lt=32), WHOLE] = 5
    """Side of the square that a poke fills in the poke map, px (odd); also the margin kept free of pokes."""
    zero_poke_fraction: Fraction = 1 / 12
    """Share of clips replaced by a still whose background is poked."""
    foreground: Literal["motion", "grabcut"] = "motion"
    max_pins: Annotated[int, Field(ge=0, le=100), WHOLE] = 0
    """Most pins per clip, at points that the clip leaves where they are. Differs from the original, which has none."""


Turns = Annotated[float, Field(ge=-1, le=1)]
Zoom = Annotated[float, Field(ge=0.1, le=10)]


class AugmentSettings(Section):
    """Training augmentation, drawn once per clip."""

    colour_probability: Fraction = 0.8
    brightness: Fraction = 0.4
    contrast: Fraction = 0.5
    saturation: Fraction = 0.4
    hue: tuple[Turns, Turns] = (-0.15, 0.15)
    """Range of the hue shift in turns. Differs from the original: symmetric; (-0.15, 0.30) restores it."""
    geometry_probability: Fraction = 0.8
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    translate: Fraction = 0.05
    """Largest shift per axis, as a share of the side."""
    flip_probability: Fraction = 0.0
    scale: tuple[Zoom, Zoom] = (1.0, 1.0)
    """Range of the zoom factor; displacements are multiplied by it."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    rotate_vectors: bool = True
    """Rotate the vectors with the image, mirrored in its reflected border. Differs from the original, which moved
    the map but left the vectors as they were."""

    @field_validator("hue", "scale")
    @classmethod
    def _ascends(cls, between: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        """Check that a range is one."""
        if between[0] > between[1]:
            raise ValueError("expected the lower end of the range first")
        return between


class ClipEncoderSettings(Section):
    """3D-ResNet from clip to latent; the first entry of ``widths`` and ``strides`` is the stem."""

    widths: Widths = (64, 128, 256, 256)
    strides: Annotated[tuple[tuple[Stride, Stride, Stride], ...], Field(min_length=1, max_length=8)] = (
        (2, 2, 2),
        (2, 1, 1),
        (2, 2, 2),
        (2, 2, 2),
    )
    """Strides in (time, height, width) per stage."""
    blocks: Depth = 2
    groups: Width = 16
    initial_logvar: Start = 0.0
    """Log-variance of the posterior at the start. Low values let the latent be heard before it has much to say; the
    original starts at 0."""
    sees_change: bool = False
    """Also feed every frame minus the source frame (6 channels), so that motion need not be found first. Differs from
    the original, which has the frames alone."""
    sees_tracks: bool = False
    """Also feed where every source pixel is in each frame (2 channels). Differs from the original, which must find
    motion by itself."""


class DecoderSettings(Section):
    """What both clip decoders have: a ConvGRU that unrolls the latent, and feature maps from 8 x 8 to full size."""

    rollout_layers: Depth = 4
    rollout_update_bias: Start = 0.0
    """Bias of the ConvGRU's update gates at the start. Below 0 the states keep the latent over the whole roll-out; at
    0, as in the original, they lose half of it at every step."""
    widths: Widths = (256, 256, 128, 64)
    """In-block, then one up-block (twice the side) per further entry."""


class SpadeDecoderSettings(DecoderSettings):
    """The paper's SPADE decoder: it paints every pixel. Paper: Sec. 3.2, G."""

    kind: Literal["spade"] = "spade"
    spade_width: Width = 128
    groups: Width = 16
    spectral_norm: bool = True


class WarpDecoderSettings(DecoderSettings):
    """The warp decoder: it moves the source's pixels by a predicted displacement and paints only disoccluded ones.

    Differs from the original, which has the SPADE decoder alone.
    """

    kind: Literal["warp"] = "warp"
    source_widths: MaybeWidths = ()
    """Widths of the source's features, one per entry of ``widths``, coarse to fine."""
    detail_widths: MaybeWidths = ()
    """Each entry doubles the side once more: all other networks see pictures, motion and pokes at the side of the clips
    divided by two per entry. Differs from the original, whose networks see all that they show."""


def _decoder_kind(value: object) -> str:
    """Read which decoder a table is about; the paper's if it does not say."""
    return str(value.get("kind", "spade") if isinstance(value, dict) else getattr(value, "kind", "spade"))


ClipDecoderSettings = Annotated[
    Annotated[SpadeDecoderSettings, Tag("spade")] | Annotated[WarpDecoderSettings, Tag("warp")],
    Discriminator(_decoder_kind),
]


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
    """Error of the motion that the warp decoder predicts for the last frame, against the clip's optical flow, px."""
    motion_between: NonNegative = 0.0
    """The same for earlier frames, against the clip's tracks."""
    adversarial_static: NonNegative = 1.0
    adversarial_temporal: NonNegative = 1.0
    feature_matching: NonNegative = 1.0
    gradient_penalty: NonNegative = 1.0
    adversarial_start: Fraction = 0.0
    """Share of the stage after which the discriminators take part."""
    frames_per_step: Frames | None = None
    """Frames decoded per step, the last among them, while the discriminators rest; all of them if unset."""
    perceptual_images: PositiveInt | None = None
    """Frames per step that the perceptual distance sees, drawn from those decoded; all of them if unset."""
    perceptual_weights: PathText | None = None
    """Folder of LPIPS-SqueezeNet weights or file of VGG-19 weights."""


class DiscriminatorSettings(Section):
    """Sizes of the static (PatchGAN) and temporal (3D-ResNet) discriminators."""

    static_widths: Widths = (64, 128, 256, 512)
    static_frames: Annotated[int, Field(gt=0, le=1000), WHOLE] = 16
    temporal_widths: Annotated[Widths, Field(min_length=2)] = (64, 64, 128, 256, 512)
    groups: Width = 16
    window: Literal["random", "first"] = "random"
    """Which frames the temporal one sees. Differs from the original (``first``), which never saw the last frame."""


class ConditionEncoderSettings(Section):
    """What both condition encoders have: a network onto the latent grid, and the decoder that pre-trains it."""

    widths: Widths = (32, 64, 64)
    """One stride-2 stage per entry; the last is the width of the features."""
    decoder_widths: Widths = (64, 64, 32)
    """Decoder that serves pre-training only."""
    bottleneck_blocks: Depth = 1
    """Residual blocks on the latent grid; each widens the area that a poke influences."""
    groups: Width = 16
    spectral_norm: bool = True


class ImageEncoderSettings(ConditionEncoderSettings):
    """Encoder of the source frame. Paper: Sec. 3.2, Phi_x0."""


class PokeEncoderSettings(ConditionEncoderSettings):
    """Encoder of pokes. Paper: Sec. 3.2, Phi_c."""

    norm: Norm = "group"
    sees_poked: bool = False
    """Also feed where the map was poked, so that a pin (zero displacement) can be told from no poke. Differs from the
    original, which cannot express pins."""
    sees_source: bool = True
    """Also feed the source frame (5 channels); without it the poke map alone (2 channels)."""
    error: Literal["absolute", "squared"] = "absolute"
    """Pre-training minimises it. The squared error leads to the mean of all motions that a poke can mean; the absolute
    one, as in the original, to their median, which is standing still at most places."""


class LatentFlowSettings(Section):
    """The conditional bijection between latent and residual. Paper: Sec. 3.2, Eq. 8."""

    steps: Annotated[tuple[Annotated[int, Field(gt=0, le=64), WHOLE], ...], Field(min_length=1, max_length=32)] = (
        10,
        5,
        5,
        4,
        4,
        4,
        3,
        3,
        3,
        2,
        2,
        2,
        1,
        1,
        1,
    )
    """Steps per level; each level sends ``channels / factor`` channels straight to the residual."""
    factor: Width | None = None
    """Into how many shares the levels split the channels; one more than there are levels if unset."""
    units: Annotated[int, Field(ge=0, le=16), WHOLE] = 2
    """Units (four masked convolutions each) per half step."""
    masked_width: Annotated[int, Field(gt=0, le=64), WHOLE] = 4
    """Hidden channels of a masked convolution, as a multiple of its input channels."""
    coupling_width: Width = 2048
    conditional_couplings: bool = False
    logit_bound: Annotated[float, Field(gt=0, le=100)] | None = None
    """Bound on the logits of all scales, which keeps them off zero; none in the original."""
    seen_bound: Annotated[float, Field(gt=0, le=1e3)] | None = None
    """Bound on the values that conditioners see, which keeps the inverse from overflowing; none in the original."""
    train_condition_encoders: bool = False
    """Train the two condition encoders on with the latent flow. Differs from the original, which froze them."""


class StageSettings(Section):
    """How long and how a stage is trained; all counts are in clips seen."""

    clips: Clips
    batch: Annotated[int, Field(gt=0, le=65_536), WHOLE]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False
    warmup_clips: MaybeClips = 0
    schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """After the warm-up: constant; to zero, linear or cosine; or times ``decay`` per ``decay_clips``."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.98
    decay_clips: Clips = 40_000
    gradient_clip: NonNegative = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    gradient_skip: NonNegative = 0.0
    """Times the usual gradient norm beyond which an update is left out; 0 leaves none out, as the original."""
    ema_half_life_clips: MaybeClips = 0
    """Half-life of the averaged weights; 0 keeps the last ones."""
    precision: Literal["float32", "bfloat16"] = "float32"


class AutoencoderStageSettings(StageSettings):
    """The video autoencoder; a baseline is trained by it too."""


class ImageEncoderStageSettings(StageSettings):
    """Pre-training of the image encoder."""

    perceptual: bool = True
    """Add the perceptual distance to the loss where weights for it are found."""
    adversarial_start: Fraction = 0.0
    """Share of the stage after which its discriminator takes part; 1 trains without one."""


class PokeEncoderStageSettings(StageSettings):
    """Pre-training of the poke encoder."""

    perceptual: bool = True
    """Add the perceptual distance of optical flow to the loss where weights for it are found."""


class LatentFlowStageSettings(StageSettings):
    """The latent flow."""


class TrainSettings(Section):
    """The stages."""

    start: PathText | None = None
    """Differs from the original if set: a model whose weights training starts from, where they fit, instead of chance.
    A bundled name, run directory or .safetensors file."""
    autoencoder: AutoencoderStageSettings = AutoencoderStageSettings(
        clips=800_000, batch=20, learning_rate=2e-4, betas=(0.5, 0.9), weight_decay=1e-5, schedule="exponential"
    )
    image_encoder: ImageEncoderStageSettings = ImageEncoderStageSettings(
        clips=2_560_000, batch=128, learning_rate=2e-4, adversarial_start=0.1
    )
    poke_encoder: PokeEncoderStageSettings = PokeEncoderStageSettings(clips=2_560_000, batch=64, learning_rate=1e-3)
    latent_flow: LatentFlowStageSettings = LatentFlowStageSettings(
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
    seed: Seed = 42
    checkpoint_every_clips: Clips = 20_000
    sample_every_clips: Clips = 40_000


class BudgetSettings(Section):
    """Time to train in, which decides widths, batches and numbers of clips in the recipe's place."""

    hours: Annotated[float, Field(gt=0, le=10_000)] | None = None


class RecipeTables(Section):
    """All tables of a recipe, each valid by itself; `ipoke.core.recipe.Recipe` also checks that they agree."""

    name: Name = "custom"
    method: Literal["ipoke", "cvae", "sparse_warping", "deterministic", "recurrent"] = "ipoke"
    """What is trained: the system of the paper, or a baseline of `ipoke.training.baselines` in the widths of this
    recipe, for as long as ``train.autoencoder`` says."""
    clip: ClipSettings = ClipSettings()
    latent_channels: Annotated[int, Field(gt=1, le=1024), WHOLE] = 32
    pokes: PokeSettings = PokeSettings()
    augment: AugmentSettings = AugmentSettings()
    clip_encoder: ClipEncoderSettings = ClipEncoderSettings()
    clip_decoder: ClipDecoderSettings = SpadeDecoderSettings()
    autoencoder_losses: AutoencoderLossSettings = AutoencoderLossSettings()
    discriminators: DiscriminatorSettings = DiscriminatorSettings()
    image_encoder: ImageEncoderSettings = ImageEncoderSettings()
    poke_encoder: PokeEncoderSettings = PokeEncoderSettings()
    latent_flow: LatentFlowSettings = LatentFlowSettings()
    train: TrainSettings = TrainSettings()
    budget: BudgetSettings = BudgetSettings()
