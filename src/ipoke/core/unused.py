"""Which keys have no effect in a recipe, because other keys rule them out.

A recipe that sets such a key is refused; one that inherits it drops it. Resolved settings list the other keys alone.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ipoke.core.sections import RecipeTables
from ipoke.core.values import Section

STAGE_TABLES = ("autoencoder", "image_encoder", "poke_encoder", "latent_flow")
ENCODER = ("widths", "bottleneck_blocks", "groups", "spectral_norm")
"""Keys of a condition encoder that is not pre-trained."""
POKE_CODE = (*(f"poke_encoder.{key}" for key in (*ENCODER, "norm", "sees_poked", "sees_source")),)
IMAGE_CODE = (*(f"image_encoder.{key}" for key in ENCODER),)
NETWORKS = ("latent_channels", "clip_encoder", "clip_decoder", "image_encoder", "poke_encoder", "latent_flow")
BASELINES: dict[str, tuple[str, ...]] = {
    "cvae": ("latent_channels", "clip_encoder", "clip_decoder", *POKE_CODE),
    "deterministic": ("latent_channels", "clip_encoder.sees_tracks", "clip_decoder", *IMAGE_CODE, *POKE_CODE),
    "recurrent": (
        *("latent_channels", "clip_encoder.sees_tracks", "clip_encoder.initial_logvar", "clip_decoder"),
        *IMAGE_CODE,
    ),
    "sparse_warping": (
        *("clip_decoder.kind", "clip_decoder.widths", "clip_decoder.detail_widths", "poke_encoder.bottleneck_blocks"),
    ),
}
"""The tables and keys of `NETWORKS` that each baseline reads."""


class Rule(NamedTuple):
    """Keys that have an effect only under a condition."""

    keys: tuple[str, ...]
    """Keys and whole tables, dotted."""
    only: str
    """The condition, for people."""
    holds: Callable[[RecipeTables], bool]


def _is_system(recipe: RecipeTables) -> bool:
    return recipe.method == "ipoke"


def _predicts_motion(recipe: RecipeTables) -> bool:
    return recipe.clip_decoder.kind == "warp" and recipe.method != "sparse_warping"


def has_adversary(recipe: RecipeTables) -> bool:
    """Tell whether discriminators teach the autoencoder, or the baseline in its place."""
    losses = recipe.autoencoder_losses
    some = losses.adversarial_static > 0 or losses.adversarial_temporal > 0
    return recipe.method != "sparse_warping" and losses.adversarial_start < 1 and some


def has_image_adversary(recipe: RecipeTables) -> bool:
    """Tell whether a discriminator teaches the image encoder."""
    return _is_system(recipe) and recipe.train.image_encoder.adversarial_start < 1


def _compares_pictures(recipe: RecipeTables) -> bool:
    train, losses = recipe.train, recipe.autoencoder_losses
    encoders = train.image_encoder.perceptual or (
        train.poke_encoder.perceptual and recipe.poke_encoder.error == "absolute"
    )
    return losses.perceptual > 0 or (_is_system(recipe) and encoders)


def _stage_rules(stage: str) -> Iterator[Rule]:
    yield Rule(
        (f"train.{stage}.decay", f"train.{stage}.decay_clips"),
        f'with train.{stage}.schedule = "exponential" and without budget.hours',
        lambda recipe: getattr(recipe.train, stage).schedule == "exponential" and recipe.budget.hours is None,
    )


RULES = (
    Rule(
        (
            *("train.image_encoder", "train.poke_encoder", "train.latent_flow"),
            *("autoencoder_losses.kl", "autoencoder_losses.kl_last"),
        ),
        'with method = "ipoke"',
        _is_system,
    ),
    Rule(
        ("autoencoder_losses.motion", "autoencoder_losses.motion_between"),
        'with clip_decoder.kind = "warp" and a method that has a clip decoder',
        _predicts_motion,
    ),
    Rule(
        ("autoencoder_losses.adversarial_start",),
        "with a method that has discriminators",
        lambda recipe: recipe.method != "sparse_warping",
    ),
    Rule(
        ("autoencoder_losses.adversarial_static", "autoencoder_losses.adversarial_temporal"),
        "where the autoencoder meets discriminators, with autoencoder_losses.adversarial_start below 1",
        lambda recipe: recipe.method != "sparse_warping" and recipe.autoencoder_losses.adversarial_start < 1,
    ),
    Rule(
        (
            *("autoencoder_losses.feature_matching", "autoencoder_losses.gradient_penalty"),
            *("discriminators.static_frames", "discriminators.temporal_widths", "discriminators.window"),
        ),
        "where the autoencoder meets discriminators: adversarial_static or adversarial_temporal of autoencoder_losses "
        "above 0, adversarial_start below 1",
        has_adversary,
    ),
    Rule(
        ("discriminators.static_widths", "discriminators.groups"),
        "where discriminators learn: autoencoder_losses.adversarial_start or train.image_encoder.adversarial_start "
        "below 1",
        lambda recipe: has_adversary(recipe) or has_image_adversary(recipe),
    ),
    Rule(
        ("autoencoder_losses.frames_per_step",),
        "while discriminators rest, with autoencoder_losses.adversarial_start above 0",
        lambda recipe: not has_adversary(recipe) or recipe.autoencoder_losses.adversarial_start > 0,
    ),
    Rule(
        ("autoencoder_losses.perceptual_images",),
        "with autoencoder_losses.perceptual above 0",
        lambda recipe: recipe.autoencoder_losses.perceptual > 0,
    ),
    Rule(
        ("autoencoder_losses.perceptual_weights",),
        "where a loss has a perceptual distance",
        _compares_pictures,
    ),
    Rule(
        ("train.poke_encoder.perceptual",),
        'with poke_encoder.error = "absolute"',
        lambda recipe: recipe.poke_encoder.error == "absolute",
    ),
    Rule(
        ("poke_encoder.groups",),
        'with method = "ipoke" or poke_encoder.norm = "group"',
        lambda recipe: _is_system(recipe) or recipe.poke_encoder.norm == "group",
    ),
    Rule(
        ("latent_flow.factor",),
        "with two or more levels in latent_flow.steps",
        lambda recipe: len(recipe.latent_flow.steps) > 1,
    ),
    Rule(
        ("latent_flow.masked_width",),
        "with latent_flow.units above 0",
        lambda recipe: recipe.latent_flow.units > 0,
    ),
    Rule(
        tuple(f"augment.{key}" for key in ("brightness", "contrast", "saturation", "hue")),
        "with augment.colour_probability above 0",
        lambda recipe: recipe.augment.colour_probability > 0,
    ),
    Rule(
        tuple(f"augment.{key}" for key in ("rotate_deg", "translate", "scale", "interpolation", "rotate_vectors")),
        "with augment.geometry_probability or augment.flip_probability above 0",
        lambda recipe: recipe.augment.geometry_probability > 0 or recipe.augment.flip_probability > 0,
    ),
    Rule(
        ("train.checkpoint_every_clips", "train.sample_every_clips"),
        "without budget.hours, which sets them",
        lambda recipe: recipe.budget.hours is None,
    ),
    *(rule for stage in STAGE_TABLES for rule in _stage_rules(stage)),
)


def unused_keys(recipe: RecipeTables) -> dict[str, str]:
    """Give the keys that have no effect in a recipe, dotted, each with the condition under which it would have one."""
    keys = dict(leaves(recipe))
    unused: dict[str, str] = {}
    read = BASELINES.get(recipe.method, NETWORKS)
    for key in keys:
        if _is_under(key, NETWORKS) and not _is_under(key, read):
            unused[key] = f'with another method than "{recipe.method}"'
    for rule in RULES:
        if not rule.holds(recipe):
            unused |= {key: rule.only for key in keys if key not in unused and _is_under(key, rule.keys)}
    return unused


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Give every key of a table and of the tables in it, dotted, with its value."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_under(key: str, places: tuple[str, ...]) -> bool:
    """Tell whether a key is one of some keys, or lies in one of some tables."""
    return any(key == place or key.startswith(f"{place}.") for place in places)
