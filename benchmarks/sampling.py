"""Time one sample of a model as large as the paper's, the plain way and ours, side by side.

    python benchmarks/sampling.py                       one clip, with two threads
    python benchmarks/sampling.py --samples 5           five clips of one still

Weights are random; the work does not depend on them. What is timed starts from a still and a poke map and ends with the
clip's frames; the condition encoders are part of it. Each round runs every way once, so that a change of the machine's
mood hits all of them. The medians, and how far the clips are from those of the plain way, are printed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import plain_way
from ipoke.compiled.library import compiled
from ipoke.model import PokeModel, load
from ipoke.settings import load_recipe

Way = Callable[[], Tensor]


def random_model(recipe: str) -> PokeModel:
    """Make a model of random weights that neither explode nor vanish."""
    with torch.device("meta"):
        model = PokeModel(load_recipe(recipe))
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith(("gain", "log_scale", "shift", "bias")):
            parameter.normal_(0, 0.02, generator=generator)
        elif parameter.dim() > 1:
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.fill_(1.0)
    for name, buffer in model.named_buffers():
        if name.endswith("initialised"):
            buffer.fill_(True)
        elif name.endswith("order"):
            buffer.copy_(torch.randperm(len(buffer), generator=generator))
        else:
            buffer.normal_(0, 1, generator=generator).div_(buffer.norm())
    return model


def ours(model: PokeModel, x0: Tensor, poke_map: Tensor, noise: Tensor) -> Tensor:
    """Draw one clip per residual, all of one still and one poke, in one batch."""
    samples = len(noise)
    z = model.to_latent(noise, model.condition(x0, poke_map).expand(samples, -1, -1, -1))
    modulations = model.autoencoder.modulations(x0)
    shared = [type(m)(*(part.expand(samples, -1, -1, -1) for part in m)) for m in modulations]
    frames = model.recipe.clip.frames
    return model.autoencoder.decode(z, x0.expand(samples, -1, -1, -1), frames, modulations=shared).clip


def timed(ways: dict[str, Way], rounds: int) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Run every way once to warm up and then in turn; give seconds and clips."""
    clips = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds, clips


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="plants-64")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    size = load_recipe(options.recipe).clip.size
    generator = torch.Generator().manual_seed(1)
    x0 = 2 * torch.rand(1, 3, size, size, generator=generator) - 1
    asked = torch.zeros(1, 2, size, size)
    asked[:, :, 30:35, 30:35] = 8.0

    plain = random_model(options.recipe)
    with tempfile.TemporaryDirectory() as folder:
        plain.save(Path(folder) / "model.safetensors", {}, precision=torch.float32)
        reduced = load(Path(folder) / "model.safetensors", precision="bfloat16")
    noise = plain.latent_flow.base_noise(list(range(options.samples)))
    repeated = [part.expand(options.samples, -1, -1, -1) for part in (x0, asked)]
    seconds, clips = timed(
        {
            "plain way, float32": lambda: plain_way.sample(plain, repeated[0], repeated[1], noise),
            "ours, float32": lambda: ours(plain, x0, asked, noise),
            "ours, bfloat16": lambda: ours(reduced, x0, asked, noise),
        },
        options.rounds,
    )
    z = plain.to_latent(noise, plain.condition(*repeated))
    back, _ = plain.to_residual(z, plain.condition(*repeated))
    around = "compiled" if compiled() is not None else "in PyTorch, for want of a C compiler"
    print(f"{options.recipe}, {options.samples} samples, {options.threads} threads, torch {torch.__version__}")
    print(f"around the matrix products: {around}; and back: {_largest(back - noise, noise):.1e} relative")
    reference, first = statistics.median(seconds["plain way, float32"]), clips["plain way, float32"]
    print(f"{'':20} {'median s':>9} {'min':>7} {'max':>7} {'faster':>7} {'video rms':>10} {'largest':>8}")
    for name, found in seconds.items():
        median, error = statistics.median(found), clips[name] - first
        row = f"{name:20} {median:9.3f} {min(found):7.3f} {max(found):7.3f} {reference / median:6.2f}x"
        print(f"{row} {error.square().mean().sqrt():10.1e} {error.abs().max():8.1e}")


def _largest(error: Tensor, of: Tensor) -> float:
    return float(error.abs().max() / of.abs().max())


if __name__ == "__main__":
    sys.exit(main())
