"""Evaluate a model on held-out clips: figures with intervals, film strips, report.json and report.md."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from ipoke.autoencoder.clip_encoder import sample_posterior
from ipoke.autoencoder.perceptual import LpipsSqueeze, find_perceptual_weights, load_perceptual
from ipoke.data.batches import Item, evaluation_item
from ipoke.data.clips import ClipSet
from ipoke.data.images import write_png
from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.pokes import poke_map
from ipoke.data.tracks import followed_optical_flow
from ipoke.errors import InputError
from ipoke.metrics.density import DiagonalGaussian, bits_per_dim
from ipoke.metrics.motion import poke_response
from ipoke.metrics.pixels import pairwise_mse, psnr
from ipoke.metrics.statistics import Estimate, estimate, unavailable
from ipoke.model import PokeModel
from ipoke.open_picture import sample_seeds
from ipoke.render import film_strip
from ipoke.runs import write_text
from ipoke.settings import PokeSettings
from ipoke.tensors import clip_from_frames, frames_from_clip

STRIPS = 8
"""Film strips that go with a report."""
UNITS = {
    "reconstruction_psnr": "dB",
    "reconstruction_lpips_squeeze": "",
    "nll_bits_per_dim": "bits",
    "nll_bits_per_dim_diagonal_gaussian": "bits",
    "round_trip_error": "",
    "poke_endpoint_error_px": "px",
    "poke_endpoint_error_px_no_motion": "px",
    "poke_endpoint_error_px_ground_truth": "px",
    "poke_reach": "",
    "poke_reach_ground_truth": "",
    "poke_followed_error_px": "px",
    "poke_followed_error_px_ground_truth": "px",
    "poke_followed_reach": "",
    "poke_followed_reach_ground_truth": "",
    "diversity_mse": "",
    "lpips_squeeze_best": "",
    "lpips_squeeze_copy": "",
    "still_pixels_change": "grey levels",
}
MEDIANS = tuple(name for name in UNITS if "reach" in name)
MEASURES: dict[str, Callable[[UInt8[np.ndarray, "t h w 3"]], Float32[np.ndarray, "2 h w"]]] = {
    "poke": lambda clip: estimate_with_dis(clip[0], clip[-1]),
    "poke_followed": lambda clip: followed_optical_flow(clip, len(clip) - 1, 1, estimate_with_dis)[0],
}
"""How the motion of a poked point is measured: in one search from the picture to the last frame, or from frame to
frame, which does not lose small fast parts."""


def evaluate(
    model: PokeModel,
    test: ClipSet,
    train: ClipSet,
    out: Path,
    *,
    samples: int,
    most: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Write report.json, report.md and film strips; return the report's lines.

    Every clip gets one poke, read off its optical flow by the seed. Frame 0 is never compared.

    Raises:
        InputError: Clips of another size than the model's, no test clips, or numbers out of range.
    """
    recipe = model.recipe
    if (test.size, test.frames) != (recipe.clip.size, recipe.clip.frames):
        raise InputError(
            f"{test.folder}: holds clips of {test.size} px and {test.frames} frames, the model expects "
            f"{recipe.clip.size} px and {recipe.clip.frames}; prepare again with its --size and --frames"
        )
    if len(test) == 0 or samples < 2 or most < 1:
        raise InputError(
            f"evaluate: got {len(test)} test clips, {samples} samples, at most {most} clips; expected at least 1, 2, 1"
        )
    weights = find_perceptual_weights(recipe.autoencoder_losses.perceptual_weights)
    perceptual = load_perceptual(weights) if weights is not None else None
    lpips = perceptual if isinstance(perceptual, LpipsSqueeze) else None
    gaussian = _fit_gaussian(model, train, seed)
    chosen = np.unique(np.linspace(0, len(test) - 1, min(most, len(test))).round().astype(int)).tolist()
    pokes = PokeSettings(max_pokes=1, fixed_count=True, patch=recipe.pokes.patch, foreground=recipe.pokes.foreground)
    figures: dict[str, list[float]] = defaultdict(list)
    strips = {chosen[i] for i in np.linspace(0, len(chosen) - 1, min(STRIPS, len(chosen))).round().astype(int)}
    for done, index in enumerate(chosen, start=1):
        item = evaluation_item(test, index, pokes, seed=seed)
        sampled = _measure(model, item, lpips, gaussian, samples, seed + index, figures)
        if index in strips:
            truth = item.frames[None]
            write_png(
                out / "strips" / f"clip-{index:05d}.png", film_strip(np.concatenate([truth, sampled]), item.pokes)
            )
        progress(done, len(chosen))
    metrics = {
        name: estimate(figures[name], unit, median=name in MEDIANS)
        if figures[name] or "lpips" not in name
        else unavailable(unit, "LPIPS-SqueezeNet weights not found; put lpips_squeeze/ into the folder IPOKE_WEIGHTS")
        for name, unit in UNITS.items()
    }
    facts: dict[str, object] = {
        "model": recipe.name,
        "model_sha256": model.sha256,
        "clips": test.folder.name,
        "clips_sha256": test.sha256,
        "test_clips": len(chosen),
        "samples": samples,
        "seed": seed,
        "optical_flow": "dis",
    }
    lines = list(_lines(metrics, facts))
    table = {name: value._asdict() for name, value in metrics.items()}
    write_text(out / "report.json", json.dumps({**facts, "metrics": table}, indent=2) + "\n")
    write_text(out / "report.md", "\n".join(lines) + "\n")
    return lines


@torch.no_grad()
def _fit_gaussian(model: PokeModel, train: ClipSet, seed: int, clips: int = 512) -> DiagonalGaussian:
    """Fit to posterior samples of training clips."""
    generator = torch.Generator().manual_seed(seed)
    latents = []
    for index in np.unique(np.linspace(0, len(train) - 1, clips).round().astype(int)):
        mean, logvar = model.encode(clip_from_frames(train.clip(int(index)))[None])
        latents.append(sample_posterior(mean, logvar, generator))
    return DiagonalGaussian(torch.cat(latents))


@torch.no_grad()
def _measure(
    model: PokeModel,
    item: Item,
    lpips: LpipsSqueeze | None,
    gaussian: DiagonalGaussian,
    samples: int,
    seed: int,
    figures: dict[str, list[float]],
) -> UInt8[np.ndarray, "n t s s 3"]:
    """Measure all that one clip tells; return the sampled clips with their source."""
    clip = clip_from_frames(item.frames)[None]
    source, target = clip[:, 0], clip[:, 1:]
    frames, size = target.shape[1], clip.shape[-1]
    mean, logvar = model.encode(clip)
    rebuilt = model.decode(mean, source, frames)
    figures["reconstruction_psnr"].append(float(psnr(rebuilt, target)))
    cond = model.condition(source, torch.from_numpy(poke_map(item.pokes, size, model.recipe.pokes.patch))[None])
    z = sample_posterior(mean, logvar, torch.Generator().manual_seed(seed))
    dimensions = z[0].numel()
    residual, _ = model.to_residual(z, cond)
    figures["nll_bits_per_dim"].append(float(bits_per_dim(model.latent_flow.log_prob(z, cond), dimensions)))
    figures["nll_bits_per_dim_diagonal_gaussian"].append(float(bits_per_dim(gaussian.log_prob(z), dimensions)))
    figures["round_trip_error"].append(float((model.to_latent(residual, cond) - z).abs().max() / z.abs().max()))
    sampled_z = model.latent_flow.sample(cond.expand(samples, -1, -1, -1), seeds=sample_seeds(seed, samples))
    sampled = model.decode(sampled_z, source.expand(samples, -1, -1, -1), frames).clamp(-1, 1)
    figures["diversity_mse"].append(float(pairwise_mse(sampled)))
    if lpips is not None:
        truth = target[0]
        figures["reconstruction_lpips_squeeze"].append(float(lpips(rebuilt[0], truth).mean()))
        distances = [float(lpips(one, truth).mean()) for one in sampled]
        figures["lpips_squeeze_best"].append(min(distances))
        figures["lpips_squeeze_copy"].append(float(lpips(source.expand_as(truth), truth).mean()))
    clips = np.concatenate(
        [np.broadcast_to(item.frames[:1], (samples, 1, size, size, 3)), frames_from_clip(sampled)], 1
    )
    _measure_motion(item, clips, figures)
    return clips


def _measure_motion(item: Item, clips: UInt8[np.ndarray, "n t s s 3"], figures: dict[str, list[float]]) -> None:
    still = np.hypot(*item.optical_flow) < 0.3
    truth_change = np.abs(item.frames[-1].astype(float) - item.frames[0]).mean(-1)
    background = still & (truth_change < 4)
    if background.any():
        change = np.abs(clips[:, -1].astype(float) - item.frames[0]).mean(-1)
        figures["still_pixels_change"].append(float(change[:, background].mean()))
    pokes = [poke for poke in item.pokes if np.hypot(poke.dx, poke.dy) >= 1]
    figures["poke_endpoint_error_px_no_motion"] += [float(np.hypot(poke.dx, poke.dy)) for poke in pokes]
    for name, measure in MEASURES.items():
        error = "poke_endpoint_error_px" if name == "poke" else f"{name}_error_px"
        in_truth, in_samples = measure(item.frames), [measure(clip) for clip in clips]
        for poke in pokes:
            truth = poke_response(in_truth, poke)
            responses = [poke_response(optical_flow, poke) for optical_flow in in_samples]
            figures[f"{error}_ground_truth"].append(truth.endpoint_error_px)
            figures[f"{name}_reach_ground_truth"].append(truth.reach)
            figures[error].append(float(np.mean([r.endpoint_error_px for r in responses])))
            figures[f"{name}_reach"].append(float(np.mean([r.reach for r in responses])))


def _lines(metrics: dict[str, Estimate], facts: dict[str, object]) -> Iterator[str]:
    yield f"# {facts['model']} on {facts['clips']}"
    yield ""
    yield "; ".join(f"{name} {value}" for name, value in facts.items())
    yield ""
    yield "| metric | value | 95 % interval over clips | n |"
    yield "|---|--:|---|--:|"
    for name, metric in metrics.items():
        if metric.value is None:
            yield f"| {name} | unavailable | {metric.reason} | 0 |"
        else:
            yield f"| {name} | {metric.value:.4g} {metric.unit} | {metric.low:.4g} to {metric.high:.4g} | {metric.n} |"
