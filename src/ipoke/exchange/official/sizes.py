"""The sizes of a released model, from its tensors."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.recipe import Recipe
from ipoke.core.settings import stored_recipe
from ipoke.exchange.official.names import blocks_per_layer, indices, steps_per_level, units_per_half_step

ORIGINAL = "parametrizations.weight.original"
"""A weight under spectral normalisation."""
POKE_AND_SOURCE = 5
"""Channels of a poke map beside a source frame."""


def inferred_recipe(tensors: Mapping[str, Tensor], states: Mapping[str, Mapping[str, Tensor]], where: str) -> Recipe:
    """Derive the recipe from shapes and counts; everything else is as in the paper.

    Args:
        tensors: The tensors by the names they have here.
        states: The same by part and original name.
        where: File that errors name.

    Raises:
        InputError: A tensor that determines a size is missing, or the sizes do not make up a model.
    """

    def size(name: str, axis: int) -> int:
        if name not in tensors or tensors[name].dim() <= axis:
            raise InputError(f"{where}: lacks the tensor {name}; give a whole checkpoint")
        return max(tensors[name].shape[axis], 1)

    def count(pattern: str) -> int:
        return 1 + max(indices(tensors, pattern), default=-1)

    layers = max(indices(states["first_stage_model"], r"^enc_motion\.layer(\d+)\."), default=0)
    blocks = blocks_per_layer(states["first_stage_model"])
    ups = count(r"^autoencoder\.decoder\.ups\.(\d+)\.")
    pixels = 8 * 2**ups
    channels = size("autoencoder.encoder.mean.weight", 0)
    steps, units = steps_per_level(states["flow"]), units_per_half_step(states["flow"])
    level = "latent_flow.bijection.levels.0.layers."
    table = {
        "name": f"official-{pixels}",
        "clip": {"size": pixels},
        "latent_channels": channels,
        "clip_encoder": {
            "widths": [
                size("autoencoder.encoder.stem.0.weight", 0),
                *(size(f"autoencoder.encoder.blocks.{layer * blocks}.main.0.weight", 0) for layer in range(layers)),
            ],
            "strides": [[2, 2, 2], [2, 1, 1], *[[2, 2, 2]] * (layers - 1)],
            "blocks": blocks,
        },
        "clip_decoder": {
            "kind": "spade",
            "rollout_layers": count(r"^autoencoder\.rollout\.gru\.cells\.(\d+)\."),
            "widths": [
                size(f"autoencoder.decoder.inner.main.0.{ORIGINAL}", 0),
                *(size(f"autoencoder.decoder.ups.{up}.main.0.{ORIGINAL}", 1) for up in range(ups)),
            ],
            "spade_width": size("autoencoder.decoder.spades.0.shared.weight", 0),
        },
        "image_encoder": _condition_sizes("conditions.image.", size, count),
        "poke_encoder": {
            **_condition_sizes("conditions.poke.", size, count),
            "sees_source": size(f"conditions.poke.stem.0.{ORIGINAL}", 1) == POKE_AND_SOURCE,
        },
        "latent_flow": {
            "steps": steps,
            "units": units,
            "factor": channels // size(f"{level}{steps[0] if steps else 0}.layers.2.inner.shift", 0),
            "masked_width": size(f"{level}0.layers.2.layers.0.conv.weight", 0) // channels,
            "coupling_width": size(f"{level}0.layers.{2 + units}.conv.weight", 0),
        },
    }
    return stored_recipe(table, where)


def _condition_sizes(prefix: str, size: Callable[[str, int], int], count: Callable[[str], int]) -> dict[str, Any]:
    """Read the sizes of a condition encoder; its decoder, for training only, is taken to be as wide, turned round."""
    known = re.escape(prefix)
    downs = range(count(rf"^{known}down\.(\d+)\."))
    widths = [
        size(f"{prefix}stem.0.{ORIGINAL}", 0),
        *(size(f"{prefix}down.{down}.main.0.{ORIGINAL}", 0) for down in downs),
    ]
    blocks = count(rf"^{known}bottleneck\.(\d+)\.")
    return {"widths": widths, "decoder_widths": widths[::-1], "bottleneck_blocks": blocks}
