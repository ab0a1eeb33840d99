"""The released implementation's names of tensors, and where each belongs here."""

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

PARTS = ("first_stage_model", "conditioner", "poke_embedder", "flow")
"""The released second stage's modules that make up the model: E, GRU and G; source frame; pokes; latent flow."""
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
RESIDUAL: tuple[Rule, ...] = (
    (r"conv1\.conv\.", "main.0."),
    (r"conv1\.norm\.", "main.1."),
    (r"conv2\.conv\.", "main.3."),
    (r"conv2\.norm\.", "main.4."),
    (r"res_conv\.conv\.", "shortcut.0."),
)
SPECTRAL: tuple[Rule, ...] = (
    (r"weight_orig$", "parametrizations.weight.original"),
    (r"weight_u$", "parametrizations.weight.0._u"),
    (r"weight_v$", "parametrizations.weight.0._v"),
)
FIRST_STAGE: tuple[Rule, ...] = (
    (r"^enc_motion\.conv1\.", "autoencoder.encoder.stem.0."),
    (r"^enc_motion\.bn1\.", "autoencoder.encoder.stem.1."),
    (r"^enc_motion\.conv_mu\.", "autoencoder.encoder.mean."),
    (r"^enc_motion\.conv_var\.", "autoencoder.encoder.logvar."),
    (r"^enc_motion\.layer", "autoencoder.encoder.blocks."),
    (r"(encoder\.blocks\.\d+\.)conv1\.", r"\1main.0."),
    (r"(encoder\.blocks\.\d+\.)bn1\.", r"\1main.1."),
    (r"(encoder\.blocks\.\d+\.)conv2\.", r"\1main.3."),
    (r"(encoder\.blocks\.\d+\.)bn2\.", r"\1main.4."),
    (r"(encoder\.blocks\.\d+\.)downsample\.", r"\1shortcut."),
    (r"^rnn\.(cells\.\d+\.)(update|reset)_gate\.", r"autoencoder.rollout.gru.\1\2."),
    (r"^rnn\.(cells\.\d+\.)out_gate\.", r"autoencoder.rollout.gru.\1propose."),
    (r"^motion_bias$", "autoencoder.rollout.motion_bias"),
    (r"^gen\.out_conv\.conv\.", "autoencoder.decoder.last."),
    (r"^gen\.spade_blocks\.(\d+)\.conv\.", r"autoencoder.decoder.spades.\1.shared."),
    (r"^gen\.spade_blocks\.(\d+)\.conv_gamma\.", r"autoencoder.decoder.spades.\1.scale."),
    (r"^gen\.spade_blocks\.(\d+)\.conv_beta\.", r"autoencoder.decoder.spades.\1.shift."),
    (r"^gen\.in_block\.", "autoencoder.decoder.inner."),
    (r"^gen\.blocks\.", "autoencoder.decoder.ups."),
    *RESIDUAL,
    *SPECTRAL,
)
CONDITION: tuple[Rule, ...] = (
    (r"^encoder\.model\.0\.conv\.", "stem.0."),
    (r"^encoder\.model\.0\.norm\.", "stem.1."),
    (r"^encoder\.model\.(\d+)\.", lambda match: f"down.{int(match[1]) - 1}."),
    (r"^encoder\.bottleneck\.", "bottleneck."),
    *RESIDUAL,
    *SPECTRAL,
)
UNIT = {"conv1": 0, "conv2": 1, "actnorm1": 2, "conv3": 3, "conv4": 4, "actnorm2": 5}
PRIOR = {"conv1x1": "0", "coupling": "1", "actnorm": "2.inner"}
LAYER: tuple[Rule, ...] = (
    (r"\.net\.(shift_conv|conv1)\.weight$", ".conv.weight"),
    (r"\.net\.conv2\.weight$", ".mix.weight"),
    (r"\.net\.conv(1x1|3)\.conv\.weight_v$", ".project.direction"),
    (r"\.net\.conv(1x1|3)\.conv\.weight_g$", ".project.gain"),
    (r"\.net\.conv(1x1|3)\.conv\.bias$", ".project.bias"),
    (r"(\d|inner)\.bias$", r"\1.shift"),
    (r"\.forward_shuffle_idx$", ".order"),
    (r"\.initialized$", ".initialised"),
)
DERIVED = re.compile(r"\.backward_shuffle_idx$|\.net\.conv(1x1|3)\.initialized$")
"""Buffers of the original that follow from others."""


def renamed(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, tuple[str, str]]:
    """Map the name that each tensor has here to its part and its name in the original.

    What has no rule keeps its own name, and so will be found to be unknown. Left out are the decoders of the condition
    encoders, which served their training, and buffers that follow from others.
    """
    names = {}
    blocks = blocks_per_layer(states["first_stage_model"])
    for name in states["first_stage_model"]:
        flat = re.sub(r"layer(\d+)\.(\d+)\.", lambda m: f"layer{(int(m[1]) - 1) * blocks + int(m[2])}.", name)
        names[_by_rules(flat, FIRST_STAGE)] = ("first_stage_model", name)
    for part, ours in (("conditioner", "conditions.image."), ("poke_embedder", "conditions.poke.")):
        for name in states[part]:
            if not name.startswith("decoder."):
                names[ours + _by_rules(name, CONDITION)] = (part, name)
    steps, units = steps_per_level(states["flow"]), units_per_half_step(states["flow"])
    for name in states["flow"]:
        if not DERIVED.search(name):
            place = _place(name.removeprefix("flow."), steps, units)
            names["latent_flow.bijection." + _by_rules(place, LAYER)] = ("flow", name)
    return names


def blocks_per_layer(first_stage: Iterable[str]) -> int:
    """Count the residual blocks of a layer of E."""
    return 1 + max(indices(first_stage, r"^enc_motion\.layer1\.(\d+)\."), default=0)


def steps_per_level(names: Iterable[str]) -> list[int]:
    """Count the steps of every level of the latent flow."""
    pattern = re.compile(r"(?:^|\.)layers\.(\d+)\.(\d+)\.")
    places = [(int(match[1]), int(match[2])) for name in names if (match := pattern.search(name))]
    steps = [0] * (1 + max((level for level, _ in places), default=-1))
    for level, step in places:
        steps[level] = max(steps[level], step + 1)
    return steps


def units_per_half_step(names: Iterable[str]) -> int:
    """Count the units of four masked convolutions in half a step."""
    return 1 + max(indices(names, r"(?:^|\.)layers\.0\.0\.units1\.(\d+)\."), default=-1)


def indices(names: Iterable[str], pattern: str) -> list[int]:
    """Collect the number that a pattern captures in the names that match it."""
    return [int(match[1]) for name in names if (match := re.search(pattern, name))]


def _by_rules(name: str, rules: Iterable[Rule]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _place(name: str, steps: list[int], units: int) -> str:
    """Find the layer of the latent flow that a name of the original speaks of; unknown names stay."""
    step_layers = {"actnorm1": 0, "conv1x1": 1, "coupling1_up": 2 + units, "coupling1_dn": 3 + units}
    step_layers |= {"actnorm2": 4 + units, "coupling2_up": 5 + 2 * units, "coupling2_dn": 6 + 2 * units}
    if match := re.fullmatch(r"layers\.(\d+)\.(\d+)\.units([12])\.(\d+)\.(\w+)(\..*)", name):
        level, step, half, unit, layer, rest = match.groups()
        start = 2 if half == "1" else 5 + units
        if layer in UNIT:
            return f"levels.{level}.layers.{step}.layers.{start + int(unit)}.layers.{UNIT[layer]}{rest}"
    elif match := re.fullmatch(r"layers\.(\d+)\.(\d+)\.(\w+)(\..*)", name):
        level, step, layer, rest = match.groups()
        if layer in step_layers:
            return f"levels.{level}.layers.{step}.layers.{step_layers[layer]}{rest}"
    elif match := re.fullmatch(r"priors\.(\d+)\.(\w+)(\..*)", name):
        level, layer, rest = match.groups()
        if layer in PRIOR and int(level) < len(steps):
            return f"levels.{level}.layers.{steps[int(level)]}.layers.{PRIOR[layer]}{rest}"
    elif match := re.fullmatch(r"shuffle_layers\.(\d+)(\..*)", name):
        level, rest = match.groups()
        if int(level) < len(steps):
            return f"levels.{level}.layers.{steps[int(level)]}.layers.3{rest}"
    return name
