"""The plain way to sample: what the released code computes, in its order and with its work.

A masked convolution is undone line by line with a call of its network each, weight normalisation included; SPADE is
evaluated for every frame; samples are drawn one after another. It shares weights with the model and no code with its
networks' inverses or its engines, so tests compare both with it. Run as a program, it is timed beside both engines:

    python benchmarks/plain_way.py --recipe plants-64 --rounds 5
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.settings import load_recipe
from ipoke.engine.engine import CpuEngine, Engine, PlainEngine
from ipoke.evaluation.bench.models import random_model
from ipoke.evaluation.bench.ways import still_and_poke
from ipoke.networks.autoencoder.spade_decoder import SpadeDecoder
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.chain import Chain
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.bijections.multiscale import LastChannels, Multiscale
from ipoke.networks.bijections.permutation import Permutation
from ipoke.networks.bijections.weight_norm import WeightNormConv2d
from ipoke.networks.nn.spade import Spade
from ipoke.sampling.model import PokeModel

SMALLEST = 1e-12
"""Added to scales before dividing by them, as the released code does."""


@torch.no_grad()
def sample(
    model: PokeModel, x0: Float[Tensor, "b 3 s s"], poke_map: Float[Tensor, "b 2 s s"], noise: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b t 3 s s"]:
    """Draw one clip per residual, one after another."""
    clips = []
    for source, asked, residual in zip(x0.split(1), poke_map.split(1), noise.split(1), strict=True):
        cond = model.condition(source, asked)
        z = inverse(model.latent_flow.bijection, residual, cond)
        clips.append(paint(model, roll_out(model, z), source))
    return torch.cat(clips)


@torch.no_grad()
def inverse(layer: nn.Module, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
    """Undo a bijection of the paper's."""
    match layer:
        case Chain():
            for inner in reversed(layer.layers):
                y = inverse(inner, y, cond)
            return y
        case Multiscale():
            for level in reversed(layer.ordered()):
                y = torch.cat([inverse(level, y[:, : level.channels], cond), y[:, level.channels :]], 1)
            return y
        case LastChannels():
            first = layer.channels - layer.inner.channels
            return torch.cat([y[:, :first], inverse(layer.inner, y[:, first:], cond)], 1)
        case ActNorm():
            return (y - layer.shift) / (layer.log_scale.exp() + SMALLEST)
        case Permutation():
            return y[:, torch.argsort(layer.order)]
        case AffineCoupling():
            return _undo_coupling(layer, y)
        case MaskedConv():
            return _undo_masked_conv(layer, y, cond)
        case _:
            raise TypeError(f"plain way: no inverse of {type(layer).__name__}")


@torch.no_grad()
def roll_out(model: PokeModel, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b t c h w"]:
    """Step the ConvGRU frame by frame."""
    rollout = model.autoencoder.rollout
    states, tops = [z] * len(rollout.gru.cells), []
    for _ in range(model.recipe.clip.frames):
        states = rollout.gru(rollout.motion_bias.expand_as(z), states)
        tops.append(states[-1])
    return torch.stack(tops, 1)


@torch.no_grad()
def paint(
    model: PokeModel, states: Float[Tensor, "b t c h w"], source: Float[Tensor, "b 3 s s"]
) -> Float[Tensor, "b t 3 s s"]:
    """Paint frame by frame, with SPADE evaluated anew for each.

    Raises:
        TypeError: The decoder is not the paper's.
    """
    decoder, frames = model.autoencoder.decoder, []
    if not isinstance(decoder, SpadeDecoder):
        raise TypeError("plain way: only the paper's decoder is known")
    for state in states.unbind(1):
        x = decoder.inner(state)
        for up, spade in zip(decoder.ups, decoder.spades, strict=True):
            assert isinstance(spade, Spade)
            x = up(x)
            small = F.interpolate(source, x.shape[2:], mode="bilinear", align_corners=True)
            hidden = F.leaky_relu(spade.shared(small), 0.2)
            x = spade.norm(x) * (1 + spade.scale(hidden)) + spade.shift(hidden)
        frames.append(decoder.last(x).tanh())
    return torch.stack(frames, 1)


def _undo_coupling(layer: AffineCoupling, y: Tensor) -> Tensor:
    hidden = F.elu(layer.mix(F.elu(layer.conv(y[:, layer.kept]))))
    shift, scale = _shift_and_scale(_weight_normed(layer.project, hidden, padding=1))
    x = y.clone()
    x[:, layer.transformed] = (y[:, layer.transformed] - shift) / (scale + SMALLEST)
    return x


def _undo_masked_conv(layer: MaskedConv, y: Tensor, cond: Tensor) -> Tensor:
    """Solve line by line; lines are rows after the grid is turned so that the walk goes down."""
    across, backwards = layer.sweep in ("right", "left"), layer.sweep in ("up", "left")
    y, cond = _turned(y, across, backwards), _turned(cond, across, backwards)
    kernel = layer.conv.weight.transpose(2, 3) if across else layer.conv.weight
    kernel = kernel.flip(2) if backwards else kernel
    height = y.shape[2]
    solved = F.pad(torch.zeros_like(y), (1, 1, 2, 0))
    for row in range(height):
        hidden = F.conv2d(solved[:, :, row : row + 2], kernel)
        hidden = F.elu(torch.cat([hidden, cond[:, :, row : row + 1]], 1))
        shift, scale = _shift_and_scale(_weight_normed(layer.project, hidden, padding=0))
        solved[:, :, row + 2, 1:-1] = ((y[:, :, row : row + 1] - shift) / (scale + SMALLEST))[:, :, 0]
    x = solved[:, :, 2:, 1:-1]
    x = x.flip(2) if backwards else x
    return x.transpose(2, 3) if across else x


def _turned(x: Tensor, across: bool, backwards: bool) -> Tensor:
    x = x.transpose(2, 3) if across else x
    return x.flip(2) if backwards else x


def _weight_normed(convolution: WeightNormConv2d, x: Tensor, padding: int) -> Tensor:
    direction = convolution.direction
    length = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return F.conv2d(x, direction * convolution.gain / length, convolution.bias, padding=padding)


def _shift_and_scale(parameters: Tensor) -> tuple[Tensor, Tensor]:
    shift, logit = parameters.chunk(2, 1)
    return shift, 1 + (0.5 * logit).tanh()


def main() -> None:
    """Time one clip the plain way, by the plain engine and by the CPU engine, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="plants-64", help="whose SPADE decoder and sizes are taken; random weights")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-prepared", action="store_true", help="leave the CPU engine out: half the memory")
    given = parser.parse_args()
    model = random_model(load_recipe(given.recipe, []))
    x0, asked = still_and_poke(model.size)
    noise = model.latent_flow.base_noise([0])
    engines: dict[str, type[Engine]] = {"plain engine": PlainEngine}
    engines |= {} if given.without_prepared else {"CPU engine": CpuEngine}
    made = {name: engine(model.autoencoder, model.latent_flow) for name, engine in engines.items()}
    ways: dict[str, Callable[[], Tensor]] = {"plain way": lambda: sample(model, x0, asked, noise)}
    ways |= {name: lambda engine=engine: _by_engine(engine, model, x0, asked, noise) for name, engine in made.items()}
    clips = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        error = float((clips[name] - clips["plain way"]).abs().max())
        ratio = statistics.median(seconds["plain way"]) / statistics.median(values)
        print(
            f"{name:13} median {1e3 * statistics.median(values):8.0f} ms  min {1e3 * min(values):8.0f} ms  "
            f"plain way / this {ratio:5.2f}  largest difference {error:.1e}"
        )


@torch.no_grad()
def _by_engine(engine: Engine, model: PokeModel, x0: Tensor, asked: Tensor, noise: Tensor) -> Tensor:
    z = engine.to_latent(noise, model.condition(x0, asked))
    return engine.decode(engine.rollout(z, model.frames), x0).clip


if __name__ == "__main__":
    main()
