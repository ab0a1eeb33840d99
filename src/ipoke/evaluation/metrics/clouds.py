"""Clouds of end points of a clip: in samples, in true futures, and in a second set of true futures.

A cloud is where the same k points end in each of n clips, ``n k 2`` px.
"""

import functools
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ipoke.core.pixels import clip_from_frames
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.data.tracks import tracks_to
from ipoke.evaluation.metrics.questions import Question, is_simulated
from ipoke.evaluation.metrics.sampler_calls import sample_frames, sample_seeds
from ipoke.evaluation.metrics.true_futures import Futures, followed_points, grid_points, other_futures, true_futures
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.model import PokeModel

ONE_FUTURE = "needs several true futures of one poke, which simulated clips alone have (ipoke scenes)"
RANKED = 8
"""True futures whose likelihood is compared with that of as many false ones."""


class CloudMaker:
    """Samples a question many times and tracks points through the samples and the true futures.

    On simulated clips the points are the keypoints, with as many true futures as samples, and as many again as the
    oracle. On other clips the points are a grid over the picture, and the clip itself is the one true future.
    """

    def __init__(
        self, sampler: ClipSampler, clips: ClipSet, *, samples: int, pokes: int, seed: int, guidance: bool
    ) -> None:
        self.sampler, self.clips, self.samples, self.pokes = sampler, clips, samples, pokes
        self.seed, self.guidance = seed, guidance
        self.simulated = is_simulated(clips)
        self.reasons: dict[str, str] = {}
        """Why a metric of the clouds cannot be computed, by its name."""
        if not self.simulated:
            self.reasons |= dict.fromkeys(("energy_skill", "energy_score_oracle", "likelihood_ranking"), ONE_FUTURE)
        if not sampler.is_stochastic:
            one_sample = f"{sampler.name} is not stochastic, so its samples do not differ"
            self.reasons |= dict.fromkeys(("coverage_50", "coverage_90", "spread_error_ratio"), one_sample)
        if not isinstance(sampler, PokeModel):
            self.reasons["likelihood_ranking"] = f"{sampler.name} has no invertible density"

    def __call__(self, question: Question) -> dict[str, Any]:
        """Return the clouds of one clip, px, and log-likelihoods of true and false futures if there is a density."""
        clouds = self.truths(question)
        if self.simulated and isinstance(self.sampler, PokeModel):
            count, pokes = min(RANKED, self.samples), question.first_pokes(self.pokes)
            true = true_futures(self.clips, question.clip, count, seed=self.seed).truths
            false = other_futures(self.clips, question.clip, count, seed=self.seed)
            clouds["log_p_true"] = _log_p(self.sampler, true, pokes)
            clouds["log_p_false"] = _log_p(self.sampler, false, pokes)
        return clouds | {"samples": self.sampled(question, clouds["start"])}

    def truths(self, question: Question) -> dict[str, Any]:
        """Return where points start, and where they end in true futures, px."""
        if self.simulated:
            return dict(_true_clouds(self.clips, question.clip, self.samples, self.seed))
        start = grid_points(self.clips.size)
        return {"start": _rounded(start), "truths": _ends(self.clips.clip(question.clip)[None], start)}

    def sampled(self, question: Question, start: list[Any]) -> list[Any]:
        """Return where points that start at ``start`` end in samples, px."""
        count = self.samples if self.sampler.is_stochastic else 1
        clips = sample_frames(
            self.sampler,
            self.clips.clip(question.clip),
            [question.first_pokes(self.pokes)],
            [sample_seeds(self.seed, question.clip, count)],
            guidance=self.guidance,
            batch=count,
        )
        return _ends(clips[0], np.array(start, np.float32))


@functools.lru_cache(maxsize=1024)
def _true_clouds(clips: ClipSet, index: int, count: int, seed: int) -> dict[str, Any]:
    """Simulate true futures and track their points, once for all samplers that one process evaluates."""
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
    """Return log p(z | x0, c) of futures of one still under the same pokes, z the posterior means, nats."""
    batch = torch.stack([clip_from_frames(clip) for clip in futures.frames]).to(model.device)
    tracks = np.stack([tracks_to(*one) for one in zip(futures.frames, futures.optical_flow, strict=True)])
    maps = torch.from_numpy(poke_map(pokes, model.size, model.recipe.pokes.patch))[None].to(model.device)
    z, _ = model.encode(batch, torch.from_numpy(tracks).to(model.device))
    cond = model.condition(batch[:1, 0], maps).expand(len(z), -1, -1, -1)
    return [round(value, 4) for value in model.latent_flow.log_prob(z, cond).tolist()]
