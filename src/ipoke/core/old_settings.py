"""Recipes that version 0.1.0 wrote into model files, as this version reads them."""

from typing import Any

from ipoke.core.errors import InputError

REMOVED: dict[str, Any] = {
    "clip_encoder.sums_up": False,
    "clip_decoder.rollout_straight": False,
    "clip_decoder.maps": False,
    "autoencoder_losses.going": 0.0,
    "train.clip_decoder": None,
}
"""Keys that are no more, each with the one value that a recipe may have had there."""


def upgraded(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Give a recipe of version 0.1.0 the keys of this version.

    Raises:
        InputError: It uses what this version no longer has.
    """
    table = {key: dict(value) if isinstance(value, dict) else value for key, value in table.items()}
    for key, off in REMOVED.items():
        section, name = key.split(".")
        found = table.get(section)
        if isinstance(found, dict) and found.pop(name, off) != off:
            raise InputError(f"{where}: {key}: this version has it no more; use ipoke 0.1.0")
    return table
