"""Train latent flows of many shapes on the same latents for the same processor time, and compare what they learned.

    python benchmarks/latent_flows.py latents MODEL CLIPS --out latents.safetensors
    python benchmarks/latent_flows.py train latents.safetensors --out results.jsonl --minutes 6 SHAPE...
    python benchmarks/latent_flows.py time SHAPE...

The autoencoder and the condition encoders of MODEL stay as they are, so all shapes see the same numbers. Time is that
of one thread on the processor, so other work on the machine does not matter; a shape that takes longer per step makes
fewer of them. With --clips, training ends after so many clips instead. Held-out figures are of averaged weights, over
posterior samples of the test split.
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ipoke.core.model_files import read_tensors, write_tensors
from ipoke.core.sections import LatentFlowSettings
from ipoke.data.batches import TrainingClips, evaluation_batch, training_batch
from ipoke.data.clips import ClipSet
from ipoke.engine.inverse import PreparedInverse
from ipoke.evaluation.metrics.density import DiagonalGaussian, bits_per_dim
from ipoke.networks.autoencoder.clip_encoder import sample_posterior
from ipoke.networks.bijections.affine import split_parameters
from ipoke.networks.bijections.bijection import Bijection
from ipoke.networks.bijections.chain import Chain
from ipoke.networks.bijections.masked_conv import PADDING, MaskedConv
from ipoke.networks.bijections.multiscale import Multiscale
from ipoke.networks.latent_flow import LatentFlow
from ipoke.sampling.model import load
from ipoke.training.schedule import WeightAverage

PAPER = {"factor": 16}
LEAN = {"units": 1, "coupling_width": 64, "conditional_couplings": True, "logit_bound": 2.0, "steps": (2, 2, 2)}
SHAPES: dict[str, dict] = {
    "paper-256": PAPER | {"coupling_width": 256},
    "paper-512": PAPER | {"coupling_width": 512},
    "paper-1024": PAPER | {"coupling_width": 1024},
    "lean": LEAN,
    "lean-unbounded": LEAN | {"logit_bound": None},
    "lean-unconditional-couplings": LEAN | {"conditional_couplings": False},
    "lean-no-masked": LEAN | {"units": 0},
    "lean-many-masked": LEAN | {"units": 2},
    "lean-coupling-128": LEAN | {"coupling_width": 128},
    "lean-deeper": LEAN | {"steps": (4, 4, 4)},
    "lean-many-couplings": LEAN | {"units": 0, "steps": (6, 6, 6)},
}
BATCH, RATE, WARM_UP = 16, 1e-3, 0.03
TEMPERATURES = (0.8, 0.9, 1.0, 1.1)
TEST = 480
SWEEPS = (1, 2, 3, 4, 5, 6, 8)


@torch.no_grad()
def make_latents(model_name: str, clips: Path, out: Path, epochs: int, seed: int = 7) -> None:
    """Write posteriors and conditions of ``epochs`` augmented passes over the training split, and of the test split."""
    model = load(model_name)
    recipe = model.recipe
    found: dict[str, list[Tensor]] = {}
    train, test = ClipSet(clips, split="train"), ClipSet(clips, split="test")

    def keep(split: str, batch) -> None:
        tracks = batch.tracks if split == "train" else None
        mean, logvar = model.encode(batch.clip, tracks)
        cond = model.condition(batch.clip[:, 0], batch.poke_map)
        for name, tensor in (("mean", mean), ("logvar", logvar), ("cond", cond)):
            found.setdefault(f"{split}/{name}", []).append(tensor.half())

    total = epochs * len(train)
    for first in range(0, total - 15, 16):
        keep(
            "train",
            training_batch(
                TrainingClips(train, recipe.pokes, recipe.augment, seed=seed, with_tracks=True), first=first, batch=16
            ),
        )
        print(f"\r{first} of {total}", end="", file=sys.stderr)
    chosen = torch.linspace(0, len(test) - 1, min(TEST, len(test))).round().int().unique().tolist()
    for start in range(0, len(chosen), 16):
        keep("test", evaluation_batch(test, chosen[start : start + 16], recipe.pokes, seed=seed))
    write_tensors(out, {name: torch.cat(parts) for name, parts in found.items()}, {"model": model.sha256})


def flow_of(shape: str, channels: int, cond_channels: int) -> LatentFlow:
    """Build a latent flow."""
    settings = LatentFlowSettings(**SHAPES[shape])
    return LatentFlow(settings, channels=channels, cond_channels=cond_channels)


def train_shape(shape: str, data: dict[str, Tensor], minutes: float, clips: int | None, half: bool) -> dict:
    """Train one shape, and measure it on the test split."""
    torch.manual_seed(0)
    mean, logvar, cond = (data[f"train/{name}"] for name in ("mean", "logvar", "cond"))
    latent_flow = flow_of(shape, mean.shape[1], cond.shape[1])
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(latent_flow.parameters(), lr=0.0)
    average = None
    start, seen, order, bad = time.process_time(), 0, torch.empty(0, dtype=torch.long), 0
    while True:
        progress = seen / clips if clips else (time.process_time() - start) / (60 * minutes)
        if progress >= 1:
            break
        if len(order) < BATCH:
            order = torch.randperm(len(mean), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        z = sample_posterior(mean[rows].float(), logvar[rows].float(), generator)
        given = cond[rows].float()
        if average is None:
            latent_flow.initialise(z, given)
            average = WeightAverage(latent_flow, 1000)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, progress / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * progress))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = latent_flow.nll(z, given)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(latent_flow.parameters(), 100.0)
        seen += BATCH
        if norm.isfinite():
            optimizer.step()
            average.update(latent_flow, clips=seen, batch=BATCH)
        else:
            bad += 1
    assert average is not None
    seconds = time.process_time() - start
    latent_flow.load_state_dict(average.state())
    return {
        "shape": shape,
        "clips": seen,
        "minutes": round(seconds / 60, 2),
        "steps_that_were_not_finite": bad,
        "parameters": sum(p.numel() for p in latent_flow.parameters()),
        **measure(latent_flow.eval(), data),
    }


@torch.no_grad()
def measure(latent_flow: LatentFlow, data: dict[str, Tensor]) -> dict:
    """Give bits per dimension on the test split, at several temperatures, and of a diagonal Gaussian beside them."""
    generator = torch.Generator().manual_seed(2)
    mean, logvar, cond = (data[f"test/{name}"].float() for name in ("mean", "logvar", "cond"))
    z = sample_posterior(mean, logvar, generator)
    residual, log_det = [], []
    for start in range(0, len(z), 32):
        r, change = latent_flow.to_residual(z[start : start + 32], cond[start : start + 32])
        residual.append(r)
        log_det.append(change)
    r, change = torch.cat(residual), torch.cat(log_det)
    dimensions = z[0].numel()

    def bits(temperature: float) -> float:
        scaled = r / temperature
        log_prob = change - 0.5 * scaled.square().flatten(1).sum(1)
        log_prob = log_prob - dimensions * (0.5 * math.log(2 * math.pi) + math.log(temperature))
        return round(float(bits_per_dim(log_prob, dimensions).mean()), 4)

    training = sample_posterior(*(data[f"train/{name}"].float() for name in ("mean", "logvar")), generator)
    gaussian = bits_per_dim(DiagonalGaussian(training).log_prob(z), dimensions).mean()
    back = latent_flow.to_latent(r[:64], cond[:64])
    solved = {n: jacobi(latent_flow.bijection, r[:64], cond[:64], n) for n in SWEEPS}
    return {
        "bits": bits(1.0),
        "bits_at_temperature": {str(t): bits(t) for t in TEMPERATURES},
        "bits_of_a_diagonal_gaussian": round(float(gaussian), 4),
        "residual_std": round(float(r.std()), 4),
        "round_trip_error": float((back - z[:64]).abs().max() / z[:64].abs().max()),
        "jacobi_error": {n: float((x - z[:64]).abs().max() / z[:64].abs().max()) for n, x in solved.items()},
    }


@torch.no_grad()
def jacobi(layer: Bijection, y: Tensor, cond: Tensor, sweeps: int) -> Tensor:
    """Undo a bijection with all lines of a masked convolution at once, ``sweeps`` times; exact after as many as lines.

    x <- x - (f(x) - y) / s(x), which is (y - t(x)) / s(x): the same step is Newton's with the diagonal of the Jacobian
    for the whole of it. With the whole of it, a step would have to solve line after line.
    """
    match layer:
        case Chain():
            for inner in reversed(layer.ordered()):
                y = jacobi(inner, y, cond, sweeps)
            return y
        case Multiscale():
            for level in reversed(layer.ordered()):
                y = torch.cat([jacobi(level, y[:, : level.channels], cond, sweeps), y[:, level.channels :]], 1)
            return y
        case MaskedConv():
            x = y
            for _ in range(sweeps):
                hidden = torch.cat([layer.conv(F.pad(x, PADDING[layer.sweep])), cond], 1)
                shift, log_s = split_parameters(layer.project(F.elu(hidden)), x, layer.logit_bound)
                x = (y - shift) * (-log_s).exp()
            return x
        case _:
            return layer.inverse(y, cond)[0]


def timed(call, rounds: int = 15) -> float:
    """Give the median time of a call, ms."""
    call()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return round(1000 * statistics.median(seconds), 2)


@torch.no_grad()
def time_shape(shape: str, channels: int = 16, cond_channels: int = 96) -> dict:
    """Time the inverse of a shape, with random weights."""
    torch.manual_seed(0)
    latent_flow = flow_of(shape, channels, cond_channels)
    r, cond = torch.randn(8, channels, 8, 8), torch.randn(8, cond_channels, 8, 8)
    latent_flow.initialise(r, cond)
    bijection = latent_flow.bijection
    prepared = PreparedInverse(bijection)
    found: dict[str, float] = {}
    for b in (1, 8):
        found[f"inverse_ms_{b}"] = timed(lambda b=b: prepared(r[:b], cond[:b]))
        found[f"line_by_line_ms_{b}"] = timed(lambda b=b: bijection.inverse(r[:b], cond[:b]), 5)
        for sweeps in (4, 8):
            found[f"jacobi_{sweeps}_ms_{b}"] = timed(lambda b=b, n=sweeps: jacobi(bijection, r[:b], cond[:b], n), 5)
    return {"shape": shape, **found}


def main() -> None:
    """Run one of the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    latents = parts.add_parser("latents")
    latents.add_argument("model")
    latents.add_argument("clips", type=Path)
    latents.add_argument("--out", type=Path, required=True)
    latents.add_argument("--epochs", type=int, default=2)
    train = parts.add_parser("train")
    train.add_argument("latents", type=Path)
    train.add_argument("shapes", nargs="+", choices=list(SHAPES))
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--minutes", type=float, default=6.0)
    train.add_argument("--clips", type=int)
    train.add_argument("--float32", action="store_true")
    clock = parts.add_parser("time")
    clock.add_argument("shapes", nargs="+", choices=list(SHAPES))
    options = parser.parse_args()
    if options.part == "latents":
        make_latents(options.model, options.clips, options.out, options.epochs)
    elif options.part == "train":
        torch.set_num_threads(1)
        data, _ = read_tensors(options.latents)
        for shape in options.shapes:
            row = train_shape(shape, data, options.minutes, options.clips, not options.float32)
            print(json.dumps(row), flush=True)
            with options.out.open("a") as file:
                file.write(json.dumps({"latents": options.latents.stem, **row}) + "\n")
    else:
        torch.set_num_threads(2)
        for shape in options.shapes:
            print(json.dumps(time_shape(shape)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
