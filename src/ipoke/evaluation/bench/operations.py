"""How many operations the parts of a model take, counted without computing them."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ipoke.core.recipe import LATENT_SIDE, Recipe
from ipoke.networks.autoencoder.warp_decoder import WarpDecoder
from ipoke.networks.nn.spade import Modulation
from ipoke.sampling.model import PokeModel

Operations: TypeAlias = dict[str, tuple[float, float]]


def gflop(recipe: Recipe) -> Operations:
    """Count products and convolutions of each part, in 10^9 operations: (for a still and a poke, per sample).

    A multiplication and the addition that follows are two operations. The latent flow is counted in its density
    direction, whose inverse takes as many.
    """
    with torch.device("meta"):
        model = PokeModel(recipe).eval().requires_grad_(False)
        size, frames = recipe.clip.size, recipe.clip.frames
        x0, asked = torch.empty(1, 3, size, size), torch.empty(1, 2, size, size)
        z = torch.empty(1, recipe.latent_channels, LATENT_SIDE, LATENT_SIDE)
        cond = torch.empty(1, model.conditions.channels, LATENT_SIDE, LATENT_SIDE)
        states = torch.empty(1, frames, *z.shape[1:])
        clip, tracks = torch.empty(1, frames + 1, 3, size, size), torch.empty(1, frames, 2, size, size)
        decoder = model.autoencoder.decoder
        modulations = decoder.source_features(x0)
        counts = {
            "condition_encoders": (_count(lambda: model.conditions(x0, asked)), 0.0),
            "latent_flow_inverse": (0.0, _count(lambda: model.latent_flow.bijection(z, cond))),
            "rollout": (0.0, _count(lambda: model.autoencoder.rollout(z, frames))),
            "decoder": (
                _count(lambda: decoder.source_features(x0)),
                _count(lambda: _networks(decoder, states, x0, modulations)),
            ),
        }
        return {**_with_clip(counts), "encoder": (0.0, _count(lambda: model.autoencoder.encoder(clip, tracks)))}


def counted_per_sample(counts: Operations, times: int = 1) -> Operations:
    """Count all for every sample, as where samples are drawn one at a time.

    Args:
        counts: Of `gflop`.
        times: How often the decoder's source features are computed; the released code does so for every frame.
    """
    of_still, painted = counts["decoder"]
    parts = {part: (0.0, sum(both)) for part, both in counts.items() if part not in ("clip", "encoder")}
    return _with_clip({**parts, "decoder": (0.0, painted + times * of_still)})


def _with_clip(counts: Operations) -> Operations:
    return {**counts, "clip": (sum(once for once, _ in counts.values()), sum(each for _, each in counts.values()))}


def _networks(decoder: nn.Module, states: torch.Tensor, x0: torch.Tensor, modulations: list[Modulation]) -> None:
    """Run a decoder's networks; what follows those that move has no products."""
    if isinstance(decoder, WarpDecoder):
        decoder.predict(states, modulations)
    else:
        decoder(states, x0, modulations)


def _count(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops() / 1e9
