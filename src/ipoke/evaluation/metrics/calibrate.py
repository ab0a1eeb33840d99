"""Clouds of a clip: where the same points end in samples, in true futures, and in further true futures."""

import functools
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ipoke.core.pixels import clip_from_frames, frames_from_clip
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.data.tracks import tracks_to
from ipoke.evaluation.metrics.answer import seeds_of
from ipoke.evaluation.metrics.questions import Question, is_simulated
from ipoke.evaluation.metrics.true_futures import Futures, followed_points, grid_points, other_futures, true_futures
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.model import PokeModel

ONE_FUTURE = "needs several true futures of one poke, which simulated clips alone have (ipoke scenes)"
RANKED = 8
"""True futures whose likelihood is compared with that of as many false ones."""


class Calibrator:
    """Samples a question many times and follows points through samples and true futures.

    On simulated clips the points are the figure's keypoints and there are as many true futures as samples, and as many
    again for the oracle; elsewhere they are a grid over the picture, and the clip itself is the one truth.
    """

    def __init__(self, sampler: ClipSampler, clips: ClipSet, *, samples: int, pokes: int, seed: int) -> None:
        self.sampler, self.clips, self.samples, self.pokes, self.seed = sampler, clips, samples, pokes, seed
        self.simulated = is_simulated(clips)
        self.reasons: dict[str, str] = {}
        if not self.simulated:
            self.reasons |= dict.fromkeys(("energy_skill", "energy_score_oracle", "likelihood_ranking"), ONE_FUTURE)
        if not sampler.is_stochastic:
            one_answer = f"{sampler.name} gives one answer, which has no spread"
            self.reasons |= dict.fromkeys(("coverage_50", "coverage_90", "spread_error_ratio"), one_answer)
        if not isinstance(sampler, PokeModel):
            self.reasons["likelihood_ranking"] = f"{sampler.name} has no invertible density"

    def __call__(self, question: Question) -> dict[str, Any]:
        """Give the clouds of one clip, px, and log-likelihoods where there is a density."""
        clouds = self.truths(question)
        if self.simulated and isinstance(self.sampler, PokeModel):
            count, asked = min(RANKED, self.samples), question.first_pokes(self.pokes)
            ranked = true_futures(self.clips, question.clip, count, seed=self.seed).truths
            false = other_futures(self.clips, question.clip, count, seed=self.seed)
            clouds["log_p_true"] = _log_p(self.sampler, ranked, asked)
            clouds["log_p_false"] = _log_p(self.sampler, false, asked)
        return clouds | {"samples": self.cloud(question, clouds["start"])}

    def truths(self, question: Question) -> dict[str, Any]:
        """Give where points start, and where true futures of a clip take them, px."""
        if self.simulated:
            return dict(_true_clouds(self.clips, question.clip, self.samples, self.seed))
        start = grid_points(self.clips.size)
        return {"start": _rounded(start), "truths": _ends(self.clips.clip(question.clip)[None], start)}

    def cloud(self, question: Question, start: list[Any]) -> list[Any]:
        """Give where samples take the points, px."""
        sampled = self._sampled(question, self.clips.clip(question.clip))
        return _ends(sampled, np.array(start, np.float32))

    def _sampled(self, question: Question, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "n t h w 3"]:
        context = clip_from_frames(frames[: self.sampler.context])[None]
        seeds = seeds_of(self.seed, question.clip, self.samples if self.sampler.is_stochastic else 1)
        sampled = self.sampler.sample_clips(context, [question.first_pokes(self.pokes)], [seeds])[0]
        shown = frames_from_clip(sampled.cpu().clamp(-1, 1))
        return np.concatenate([np.broadcast_to(frames[:1], (len(shown), 1, *frames.shape[1:])), shown], 1)


@functools.lru_cache(maxsize=1024)
def _true_clouds(clips: ClipSet, index: int, count: int, seed: int) -> dict[str, Any]:
    """Simulate and follow true futures, once for all samplers that a program evaluates."""
    futures = true_futures(clips, index, count, seed=seed)
    start = futures.truths.keypoints[0, 0]
    return {
        "names": list(futures.keypoint_names),
        "start": _rounded(start),
        "truths": _ends(futures.truths.frames, start),
        "oracle": _ends(futures.oracle.frames, start),
    }


def _ends(clips: UInt8[np.ndarray, "n t h w 3"], start: Float[np.ndarray, "k 2"]) -> list[Any]:
    return _rounded(np.stack([followed_points(clip, start)[-1] for clip in clips]))


def _rounded(points: Float[np.ndarray, "..."]) -> list[Any]:
    return points.astype(float).round(3).tolist()


@torch.no_grad()
def _log_p(model: PokeModel, futures: Futures, pokes: tuple[Poke, ...]) -> list[float]:
    """Give the log-likelihood of futures of one still under the same pokes, of their latents' means, nats."""
    batch = torch.stack([clip_from_frames(clip) for clip in futures.frames]).to(model.device)
    followed = np.stack([tracks_to(*one) for one in zip(futures.frames, futures.optical_flow, strict=True)])
    drawn = torch.from_numpy(poke_map(pokes, model.size, model.recipe.pokes.patch))[None].to(model.device)
    z, _ = model.encode(batch, torch.from_numpy(followed).to(model.device))
    cond = model.condition(batch[:1, 0], drawn).expand(len(z), -1, -1, -1)
    return [round(value, 4) for value in model.latent_flow.log_prob(z, cond).tolist()]
