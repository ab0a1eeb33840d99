"""Settings that version 0.1.0 wrote into model files and runs, as this version reads them, and its keys by new name."""

from typing import Any

from ipoke.core.errors import InputError

KINDS = {"paint": "spade", "move": "warp"}
"""Values of ``clip_decoder.output``, and of ``clip_decoder.kind``."""
OF_SPADE, OF_WARP = ("spade_width", "groups", "spectral_norm"), ("source_widths", "detail_widths")
GONE: dict[str, Any] = {
    "pokes.fixed_count": False,
    "clip_encoder.sums_up": False,
    "clip_decoder.rollout_straight": False,
    "clip_decoder.maps": False,
    "autoencoder_losses.going": 0.0,
    "image_encoder.norm": "group",
    "train.clip_decoder": None,
}
"""Keys that had an effect, each with the one value under which this version computes the same."""
NEVER_READ = (
    *("clip.seen_size", "budget.device"),
    *("image_encoder.sees_poked", "image_encoder.sees_source", "image_encoder.error"),
    *("train.autoencoder.perceptual", "train.autoencoder.adversarial_start"),
    *("train.poke_encoder.adversarial_start", "train.latent_flow.perceptual", "train.latent_flow.adversarial_start"),
)
"""Keys that had no effect, or that follow from others."""
NO_EFFECT = "it had no effect, leave it out"
NO_MORE = "this version does not have it, leave it out"
OLD_KEYS: dict[str, str] = {
    **dict.fromkeys(NEVER_READ, NO_EFFECT),
    **dict.fromkeys(GONE, NO_MORE),
    "clip_decoder.output": 'write clip_decoder.kind = "spade" for "paint", clip_decoder.kind = "warp" for "move"',
    "clip.seen_size": "leave it out, it follows from clip.size and clip_decoder.detail_widths",
    "discriminators.temporal_groups": "write discriminators.groups",
    "budget.device": "give --device instead",
}
"""What a person who uses an old key is told."""


def upgraded(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Give settings of version 0.1.0 the keys of this version; newer settings stay as they are.

    Raises:
        InputError: They use what this version does not have.
    """
    table = _copied(table)
    for key, same in GONE.items():
        if _popped(table, key, same) != same:
            raise InputError(f"{where}: {key}: this version does not have it; use ipoke 0.1.0")
    for key in NEVER_READ:
        _popped(table, key, None)
    groups = _popped(table, "discriminators.temporal_groups", None)
    if groups is not None:
        table["discriminators"]["groups"] = groups
    output = _popped(table, "clip_decoder.output", None)
    if output is not None:
        decoder = table["clip_decoder"]
        decoder["kind"] = KINDS.get(output, output)
        for key in OF_WARP if decoder["kind"] == "spade" else OF_SPADE:
            decoder.pop(key, None)
    return table


def _copied(table: Any) -> Any:
    return {key: _copied(value) for key, value in table.items()} if isinstance(table, dict) else table


def _popped(table: dict[str, Any], dotted: str, default: Any) -> Any:
    """Take a key out of nested tables, where it is."""
    *parents, last = dotted.split(".")
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):
            return default
        table = inner
    return table.pop(last, default)
