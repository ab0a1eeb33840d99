"""All that one question and its answers tell, figure by figure."""

import itertools
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from ipoke.core.pixels import clip_from_frames
from ipoke.data.pokes import poke_map
from ipoke.data.tracks import tracks_to
from ipoke.evaluation.metrics.answer import Answer
from ipoke.evaluation.metrics.clip_features import motion_grid, random_conv3d
from ipoke.evaluation.metrics.density import DiagonalGaussian, bits_per_dim
from ipoke.evaluation.metrics.i3d import Logits, i3d_features
from ipoke.evaluation.metrics.keypoints import KeypointEstimator, keypoint_error_px, poked_keypoint
from ipoke.evaluation.metrics.motion import pin_leakage_px, poke_response
from ipoke.evaluation.metrics.pixels import pairwise_mse, psnr, ssim
from ipoke.evaluation.metrics.protocol import Protocol
from ipoke.networks.autoencoder.clip_encoder import sample_posterior
from ipoke.networks.autoencoder.lpips import Lpips, Network
from ipoke.sampling.model import PokeModel

Figures: TypeAlias = dict[str, float]
STILL_PX, STILL_LEVELS = 0.3, 4.0
"""Where the true clip counts as standing still: it moves less than the first and changes by less than the second."""


@dataclass(frozen=True)
class Instruments:
    """The networks that measure; what is missing is not measured."""

    lpips: dict[Network, Lpips]
    i3d: Logits | None = None
    keypoints: KeypointEstimator | None = None


def measure_frames(answer: Answer, protocol: Protocol, instruments: Instruments) -> Figures:
    """Measure frames by themselves; means over the samples of the clip."""
    figures = measure_pixels(answer, protocol)
    for network, lpips in instruments.lpips.items():
        figures |= measure_lpips(answer, lpips, f"lpips_{network}")
    return figures


def measure_motion(answer: Answer, instruments: Instruments) -> Figures:
    """Measure what happens to the still, from which points are followed; means over the samples of the clip."""
    figures = measure_pokes(answer) | measure_still(answer)
    if instruments.keypoints is not None:
        figures |= measure_keypoints(answer, instruments.keypoints)
    return figures


def measure_pixels(answer: Answer, protocol: Protocol) -> Figures:
    """Compare frames with the true ones, and samples with each other."""
    samples = answer.samples
    target = answer.target.expand_as(samples)
    data_range = 2.0
    if protocol.range_of_data:
        data_range = float(max(one.max() - one.min() for one in (samples, target)))
    likeness = ssim(samples, target, data_range, mirrored=not protocol.whole_windows)
    ratio = psnr(samples, target, data_range)
    return {
        "ssim": float(likeness.mean()),
        "ssim_best": float(likeness.max()),
        "psnr": float(ratio.mean()),
        "psnr_best": float(ratio.max()),
        "diversity_mse": float(pairwise_mse(samples)),
    }


@torch.no_grad()
def measure_lpips(answer: Answer, lpips: Lpips, name: str) -> Figures:
    """Compare frames with the true ones, and samples with each other, as a network sees them."""
    samples, frames = answer.samples.shape[:2]
    of_samples = lpips.embed(answer.samples.flatten(0, 1))
    of_truth = [one.repeat(samples, 1, 1, 1) for one in lpips.embed(answer.target)]
    distances = lpips.distance(of_samples, of_truth).unflatten(0, (samples, frames)).mean(1)
    return {
        name: float(distances.mean()),
        f"{name}_best": float(distances.min()),
        f"diversity_{name}": float(lpips.pairwise(of_samples, samples)),
        f"energy_score_{name}": float(distances.sqrt().mean() - _mean_distance(lpips, of_samples, samples) / 2),
    }


def _mean_distance(lpips: Lpips, maps: list[Tensor], samples: int) -> Tensor:
    """Average, over pairs of samples, the Euclidean distance of clips in the space whose squared distance is LPIPS."""
    parts = [list(clip) for clip in zip(*(features.chunk(samples) for features in maps), strict=True)]
    pairs = itertools.combinations(parts, 2)
    return torch.stack([lpips.distance(one, other).mean().sqrt() for one, other in pairs]).mean()


def measure_pokes(answer: Answer) -> Figures:
    """Compare the motion of poked and pinned places, as it is measured, with what was asked."""
    figures: Figures = {}
    pokes = [poke for poke in answer.pokes if np.hypot(poke.dx, poke.dy) >= 1]
    if pokes:
        truths = [poke_response(answer.true_field, poke) for poke in pokes]
        responses = [poke_response(field, poke) for field in answer.fields for poke in pokes]
        figures = {
            "poke_endpoint_error_px": float(np.mean([one.endpoint_error_px for one in responses])),
            "poke_endpoint_error_px_ground_truth": float(np.mean([one.endpoint_error_px for one in truths])),
            "poke_endpoint_error_px_no_motion": float(np.mean([np.hypot(poke.dx, poke.dy) for poke in pokes])),
            "poke_reach": float(np.mean([one.reach for one in responses])),
            "poke_reach_ground_truth": float(np.mean([one.reach for one in truths])),
        }
    if pokes and answer.said is not None:
        told = [poke_response(field, poke) for field in answer.said.numpy() for poke in pokes]
        figures |= {
            "poke_endpoint_error_px_said": float(np.mean([one.endpoint_error_px for one in told])),
            "poke_reach_said": float(np.mean([one.reach for one in told])),
        }
    pin = answer.question.pin_poke()
    if pin is not None and answer.pinned_said is not None:
        figures["pin_leakage_px_said"] = pin_leakage_px(answer.pinned_said.numpy()[0], pin)
    if pin is not None and answer.pinned_field is not None:
        figures |= {
            "pin_leakage_px": pin_leakage_px(answer.pinned_field, pin),
            "pin_leakage_px_unasked": pin_leakage_px(answer.fields[0], pin),
            "pin_leakage_px_ground_truth": pin_leakage_px(answer.true_field, pin),
        }
    return figures


def measure_still(answer: Answer) -> Figures:
    """Measure how much changes, in grey levels, where the true clip stands still."""
    change = np.abs(answer.frames[-1].astype(float) - answer.frames[0]).mean(-1)
    still = (np.hypot(*answer.true_field) < STILL_PX) & (change < STILL_LEVELS)
    if not still.any():
        return {}
    changes = np.abs(answer.clips[:, -1].astype(float) - answer.frames[0]).mean(-1)
    return {"still_pixels_change": float(changes[:, still].mean())}


def measure_keypoints(answer: Answer, estimator: KeypointEstimator) -> Figures:
    """Compare the poked keypoint of the last frames with that of the true last frame, as an estimator sees both."""
    true = estimator(answer.frames[[0, -1]])
    poked = poked_keypoint(true.points[0], true.confidence[0], answer.pokes[0], size=answer.frames.shape[1])
    if poked is None:
        return {}
    sampled = estimator(answer.clips[:, -1])
    return {"keypoint_error_px": float(keypoint_error_px(sampled.points[:, poked], true.points[1, poked]).mean())}


def measure_simulated(answer: Answer, keypoints: Float[np.ndarray, "t k 2"]) -> Figures:
    """Compare the end of the poked point, followed through each sample, with where it really went, known exactly."""
    (x, y), end = keypoints[0, -1], keypoints[-1, -1]
    row, column = round(float(y)), round(float(x))

    def error(field: Float[np.ndarray, "2 h w"]) -> float:
        return float(np.hypot(*(keypoints[0, -1] + field[:, row, column] - end)))

    return {
        "keypoint_error_px": float(np.mean([error(field) for field in answer.fields])),
        "keypoint_error_px_ground_truth": error(answer.true_field),
    }


def clip_features(
    answer: Answer, protocol: Protocol, instruments: Instruments, *, of_motion: bool
) -> dict[str, list[list[float]]]:
    """Give the features of the true clip and of the first sample, by their names, for Frechet distances."""
    first = 0 if protocol.with_source else 1
    pair = [answer.frames[first:], _shown(answer, protocol)[first:]]
    middle = len(answer.target) // 2 - 1
    features = {"random_conv3d": random_conv3d(np.stack(pair))}
    if of_motion:
        tracks = (answer.true_tracks, answer.tracks[0])
        features["motion_grid"] = motion_grid(np.stack([one[[middle, -1]] for one in tracks]))
    if instruments.i3d is not None:
        features["i3d"] = i3d_features(instruments.i3d, np.stack(pair))
    return {name: both.astype(float).round(7).tolist() for name, both in features.items()}


def _shown(answer: Answer, protocol: Protocol) -> UInt8[np.ndarray, "t h w 3"]:
    if not protocol.truncates:
        return answer.clips[0]
    levels = ((answer.samples[0] + 1) * 127.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.concatenate([answer.frames[:1], levels])


def encode_one(
    model: PokeModel, frames: UInt8[np.ndarray, "t h w 3"], optical_flow: Float32[np.ndarray, "2 h w"]
) -> tuple[Float[Tensor, "1 c h w"], Float[Tensor, "1 c h w"]]:
    """Encode a clip of a set with the set's optical flow, as in training; mean and log-variance of its latent."""
    followed = torch.from_numpy(tracks_to(frames, optical_flow))[None].to(model.device)
    return model.encode(clip_from_frames(frames)[None].to(model.device), followed)


@torch.no_grad()
def measure_density(
    model: PokeModel,
    answer: Answer,
    optical_flow: Float32[np.ndarray, "2 h w"],
    gaussian: DiagonalGaussian | None,
    lpips: Lpips | None,
    seed: int,
) -> Figures:
    """Measure what only an exact density tells: bits per dimension, and whether residuals lead back to latents."""
    clip = clip_from_frames(answer.frames)[None].to(model.device)
    mean, logvar = encode_one(model, answer.frames, optical_flow)
    maps = torch.from_numpy(poke_map(answer.pokes, model.size, model.recipe.pokes.patch))[None].to(model.device)
    cond = model.condition(clip[:, 0], maps)
    z = sample_posterior(mean, logvar, torch.Generator().manual_seed(seed))
    residual, _ = model.to_residual(z, cond)
    dimensions = z[0].numel()
    rebuilt = model.decode(mean, clip[:, 0], model.frames).clamp(-1, 1)
    figures = {} if lpips is None else {"reconstruction_lpips_squeeze": float(lpips(rebuilt[0], clip[0, 1:]).mean())}
    if gaussian is not None:
        figures["nll_bits_per_dim_diagonal_gaussian"] = float(bits_per_dim(gaussian.log_prob(z.cpu()), dimensions))
    return figures | {
        "nll_bits_per_dim": float(bits_per_dim(model.latent_flow.log_prob(z, cond), dimensions)),
        "round_trip_error": float((model.to_latent(residual, cond) - z).abs().max() / z.abs().max()),
        "reconstruction_psnr": float(psnr(rebuilt, clip[:, 1:])),
    }
