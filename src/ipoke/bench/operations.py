"""How many operations the parts of a model take, counted without computing them."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ipoke.model import PokeModel
from ipoke.nn.spade import Modulation
from ipoke.settings import LATENT_SIDE, Recipe

Operations: TypeAlias = dict[str, tuple[float, float]]


def gflop(recipe: Recipe, *, plain: bool = False) -> Operations:
    """Count products and convolutions of each part, in 10^9 operations: (for a picture and a poke, per sample).

    A multiplication and the addition that follows are two operations. The latent flow is counted in its density
    direction, whose inverse takes as many. ``plain``: everything per sample, and what depends on the still per frame.
    """
    with torch.device("meta"):
        model = PokeModel(recipe).requires_grad_(False)
        size, frames = recipe.clip.size, recipe.clip.frames
        x0, asked = torch.empty(1, 3, size, size), torch.empty(1, 2, size, size)
        z = torch.empty(1, recipe.latent_channels, LATENT_SIDE, LATENT_SIDE)
        cond = torch.empty(1, model.conditions.channels, LATENT_SIDE, LATENT_SIDE)
        states = torch.empty(1, frames, *z.shape[1:])
        clip, tracks = torch.empty(1, frames + 1, 3, size, size), torch.empty(1, frames, 2, size, size)
        decoder = model.autoencoder.decoder.eval()
        modulations = decoder.modulations(x0)
        of_still = _count(lambda: decoder.modulations(x0))
        painted = _count(lambda: _networks(decoder, states, x0, modulations))
        counts = {
            "condition_encoders": (_count(lambda: model.conditions.eval()(x0, asked)), 0.0),
            "latent_flow_inverse": (0.0, _count(lambda: model.latent_flow.bijection(z, cond))),
            "rollout": (0.0, _count(lambda: model.autoencoder.rollout(z, frames))),
            "decoder": (of_still, painted),
            "encoder": (0.0, _count(lambda: model.autoencoder.encoder.eval()(clip, tracks))),
        }
    if plain:
        counts["decoder"] = (0.0, painted + frames * of_still)
        counts = {part: (0.0, sum(both)) for part, both in counts.items()}
    parts = [both for part, both in counts.items() if part != "encoder"]
    counts["clip"] = (sum(once for once, _ in parts), sum(each for _, each in parts))
    return counts


def _networks(decoder: nn.Module, states: torch.Tensor, x0: torch.Tensor, modulations: list[Modulation]) -> None:
    """Run a decoder's networks; splatting knows no meta device, and has no products."""
    say = getattr(decoder, "say", None)
    if say is not None:
        say(states, modulations)
    else:
        decoder(states, x0, modulations)


def _count(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops() / 1e9
