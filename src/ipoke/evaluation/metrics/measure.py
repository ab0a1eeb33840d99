"""Every metric of one clip, from the answer to its question."""

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

ClipValues: TypeAlias = dict[str, float]
"""Metrics of one clip by name; means over its samples unless the name says otherwise."""
STILL_PX, STILL_LEVELS = 0.3, 4.0
"""A pixel of the true clip is still if it moves less than the first, px, and changes less than the second, grey levels.
"""
LEAST_POKE_PX = 1.0
"""Shorter pokes are not measured."""


@dataclass(frozen=True)
class Instruments:
    """Networks that metrics need; a metric whose network is missing is not computed."""

    lpips: dict[Network, Lpips]
    i3d: Logits | None = None
    keypoints: KeypointEstimator | None = None


def measure_frames(answer: Answer, protocol: Protocol, instruments: Instruments) -> ClipValues:
    """Compute the metrics of frames: SSIM, PSNR, LPIPS and sample diversity."""
    values = measure_pixels(answer, protocol)
    for network, lpips in instruments.lpips.items():
        values |= measure_lpips(answer, lpips, f"lpips_{network}")
    return values


def measure_motion(answer: Answer, instruments: Instruments) -> ClipValues:
    """Compute the metrics that track points from the still: pokes, pins, still pixels and estimated keypoints."""
    values = measure_pokes(answer) | measure_still(answer)
    if instruments.keypoints is not None:
        values |= measure_keypoints(answer, instruments.keypoints)
    return values


def measure_pixels(answer: Answer, protocol: Protocol) -> ClipValues:
    """Compare samples with the true clip, and with each other, pixel by pixel.

    Returns `ssim` (at most 1) and `psnr` (dB), mean and best over the samples, and `diversity_mse` (at least 0).
    """
    samples = answer.samples
    target = answer.target.expand_as(samples)
    data_range = 2.0
    if protocol.range_of_data:
        data_range = float(max(one.max() - one.min() for one in (samples, target)))
    similarity = ssim(samples, target, data_range, mirrored=not protocol.whole_windows)
    ratio = psnr(samples, target, data_range)
    return {
        "ssim": float(similarity.mean()),
        "ssim_best": float(similarity.max()),
        "psnr": float(ratio.mean()),
        "psnr_best": float(ratio.max()),
        "diversity_mse": float(pairwise_mse(samples)),
    }


@torch.no_grad()
def measure_lpips(answer: Answer, lpips: Lpips, name: str) -> ClipValues:
    """Compare samples with the true clip, and with each other, by LPIPS (Zhang et al. 2018): at least 0, 0 is equal.

    The energy score (Gneiting and Raftery 2007, eq. 22) takes the root of LPIPS as the distance of clips.
    """
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
    """Average the root of LPIPS over all pairs of samples."""
    parts = [list(clip) for clip in zip(*(features.chunk(samples) for features in maps), strict=True)]
    pairs = itertools.combinations(parts, 2)
    return torch.stack([lpips.distance(one, other).mean().sqrt() for one, other in pairs]).mean()


def measure_pokes(answer: Answer) -> ClipValues:
    """Compare the displacement at pokes and pins with the drag: measured by optical flow, and predicted by the decoder.

    Names that end in `_said` are of the decoder's own prediction, those in `_ground_truth` of the true clip.
    """
    values: ClipValues = {}
    pokes = [poke for poke in answer.pokes if np.hypot(poke.dx, poke.dy) >= LEAST_POKE_PX]
    if pokes:
        truths = [poke_response(answer.true_displacement, poke) for poke in pokes]
        responses = [poke_response(field, poke) for field in answer.displacements for poke in pokes]
        values = {
            "poke_endpoint_error_px": float(np.mean([one.endpoint_error_px for one in responses])),
            "poke_endpoint_error_px_ground_truth": float(np.mean([one.endpoint_error_px for one in truths])),
            "poke_endpoint_error_px_no_motion": float(np.mean([np.hypot(poke.dx, poke.dy) for poke in pokes])),
            "poke_reach": float(np.mean([one.reach for one in responses])),
            "poke_reach_ground_truth": float(np.mean([one.reach for one in truths])),
        }
    if pokes and answer.predicted is not None:
        predicted = [poke_response(field, poke) for field in answer.predicted.numpy() for poke in pokes]
        values |= {
            "poke_endpoint_error_px_said": float(np.mean([one.endpoint_error_px for one in predicted])),
            "poke_reach_said": float(np.mean([one.reach for one in predicted])),
        }
    pin = answer.question.pin_poke()
    if pin is not None and answer.pinned_predicted is not None:
        values["pin_leakage_px_said"] = pin_leakage_px(answer.pinned_predicted.numpy()[0], pin)
    if pin is not None and answer.pinned_displacement is not None:
        values |= {
            "pin_leakage_px": pin_leakage_px(answer.pinned_displacement, pin),
            "pin_leakage_px_unasked": pin_leakage_px(answer.displacements[0], pin),
            "pin_leakage_px_ground_truth": pin_leakage_px(answer.true_displacement, pin),
        }
    return values


def measure_still(answer: Answer) -> ClipValues:
    """Measure the mean change up to the last frame, 0 to 255 grey levels, at pixels that are still in the true clip."""
    change = np.abs(answer.frames[-1].astype(float) - answer.frames[0]).mean(-1)
    still = (np.hypot(*answer.true_displacement) < STILL_PX) & (change < STILL_LEVELS)
    if not still.any():
        return {}
    changes = np.abs(answer.clips[:, -1].astype(float) - answer.frames[0]).mean(-1)
    return {"still_pixels_change": float(changes[:, still].mean())}


def measure_keypoints(answer: Answer, estimator: KeypointEstimator) -> ClipValues:
    """Compare the poked keypoint of the samples' last frame with that of the true one, both estimated, px."""
    true = estimator(answer.frames[[0, -1]])
    poked = poked_keypoint(true.points[0], true.confidence[0], answer.pokes[0], size=answer.frames.shape[1])
    if poked is None:
        return {}
    sampled = estimator(answer.clips[:, -1])
    return {"keypoint_error_px": float(keypoint_error_px(sampled.points[:, poked], true.points[1, poked]).mean())}


def measure_simulated(answer: Answer, keypoints: Float[np.ndarray, "t k 2"]) -> ClipValues:
    """Compare the end of the poked keypoint, tracked through each sample, with its exact end in the simulation, px."""
    (x, y), end = keypoints[0, -1], keypoints[-1, -1]
    row, column = round(float(y)), round(float(x))

    def error(field: Float[np.ndarray, "2 h w"]) -> float:
        return float(np.hypot(*(keypoints[0, -1] + field[:, row, column] - end)))

    return {
        "keypoint_error_px": float(np.mean([error(field) for field in answer.displacements])),
        "keypoint_error_px_ground_truth": error(answer.true_displacement),
    }


def clip_features(
    answer: Answer, protocol: Protocol, instruments: Instruments, *, of_motion: bool
) -> dict[str, list[list[float]]]:
    """Compute the features of the true clip and of the first sample for each Frechet distance, by name."""
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
) -> tuple[Float[Tensor, "1 c h2 w2"], Float[Tensor, "1 c h2 w2"]]:
    """Encode a clip with its set's optical flow, as in training; return mean and log-variance of its posterior."""
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
) -> ClipValues:
    """Compute what needs the bijection or the autoencoder.

    Returns the negative log-likelihood of a posterior sample of the true clip, bits per latent dimension; the largest
    error of latent to residual and back, relative to the largest |z|; PSNR (dB) and LPIPS of the reconstruction.
    """
    clip = clip_from_frames(answer.frames)[None].to(model.device)
    mean, logvar = encode_one(model, answer.frames, optical_flow)
    maps = torch.from_numpy(poke_map(answer.pokes, model.size, model.recipe.pokes.patch))[None].to(model.device)
    cond = model.condition(clip[:, 0], maps)
    z = sample_posterior(mean, logvar, torch.Generator().manual_seed(seed))
    residual, _ = model.to_residual(z, cond)
    dimensions = z[0].numel()
    rebuilt = model.decode(mean, clip[:, 0], model.frames).clamp(-1, 1)
    values = {} if lpips is None else {"reconstruction_lpips_squeeze": float(lpips(rebuilt[0], clip[0, 1:]).mean())}
    if gaussian is not None:
        values["nll_bits_per_dim_diagonal_gaussian"] = float(bits_per_dim(gaussian.log_prob(z.cpu()), dimensions))
    return values | {
        "nll_bits_per_dim": float(bits_per_dim(model.latent_flow.log_prob(z, cond), dimensions)),
        "round_trip_error": float((model.to_latent(residual, cond) - z).abs().max() / z.abs().max()),
        "reconstruction_psnr": float(psnr(rebuilt, clip[:, 1:])),
    }
