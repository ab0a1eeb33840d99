"""A question with its answers: the true clip, the samples, and the motion that is seen in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from ipoke.core.pixels import clip_from_frames, frames_from_clip
from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.poke import Poke
from ipoke.data.tracks import tracks
from ipoke.evaluation.metrics.questions import Question
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.model import PokeModel


@dataclass(frozen=True)
class Answer:
    """What a sampler answered to one question, beside what really happened."""

    question: Question
    pokes: tuple[Poke, ...]
    """Those that were asked, without the pin."""
    frames: UInt8[np.ndarray, "t h w 3"]
    """The true clip; frame 0 is the still."""
    samples: Float[Tensor, "n t2 3 s s"]
    """Frames after the still, [-1, 1]."""
    pinned: Float[Tensor, "1 t2 3 s s"] | None
    """The first sample with the question's pin asked as well, if it has one."""
    said: Float[Tensor, "n 2 s s"] | None = None
    """Where the samples' pixels are in the last frame, px, as the model says it; of a model that moves pixels."""
    pinned_said: Float[Tensor, "1 2 s s"] | None = None
    """The same for the sample with a pin."""

    @cached_property
    def target(self) -> Float[Tensor, "t2 3 s s"]:
        """The true frames after the still, [-1, 1]."""
        return clip_from_frames(self.frames)[1:]

    @cached_property
    def clips(self) -> UInt8[np.ndarray, "n t s s 3"]:
        """The samples as clips, the still first."""
        return self._with_still(self.samples)

    @cached_property
    def true_tracks(self) -> Float32[np.ndarray, "t2 2 h w"]:
        """Measured displacement from the still to every later frame of the true clip, px."""
        return measured_tracks(self.frames)

    @cached_property
    def tracks(self) -> list[Float32[np.ndarray, "t2 2 h w"]]:
        """The same for each sample; measured once where all samples are one."""
        if len(self.samples) > 1 and torch.equal(self.samples[0], self.samples[-1]):
            return [measured_tracks(self.clips[0])] * len(self.samples)
        return [measured_tracks(clip) for clip in self.clips]

    @property
    def true_field(self) -> Float32[np.ndarray, "2 h w"]:
        """Measured displacement from the still to the last frame of the true clip, px."""
        return self.true_tracks[-1]

    @property
    def fields(self) -> list[Float32[np.ndarray, "2 h w"]]:
        """The same for each sample."""
        return [one[-1] for one in self.tracks]

    @cached_property
    def pinned_field(self) -> Float32[np.ndarray, "2 h w"] | None:
        """The same for the sample with a pin."""
        return None if self.pinned is None else measured_field(self._with_still(self.pinned)[0])

    def _with_still(self, samples: Tensor) -> UInt8[np.ndarray, "n t s s 3"]:
        still = np.broadcast_to(self.frames[:1], (len(samples), 1, *self.frames.shape[1:]))
        return np.concatenate([still, frames_from_clip(samples)], 1)


def measured_tracks(clip: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t2 2 h w"]:
    """Measure the displacement of every pixel of frame 0 up to each later frame, px.

    Followed from frame to frame, so that small parts that move far are not lost: one search from first to last frame
    sees a third of what simulated clips do at their pokes, following them 0.84.
    """
    return tracks(clip, estimate_with_dis)


def measured_field(clip: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "2 h w"]:
    """Measure the displacement of every pixel of frame 0 up to the last frame, px, as `measured_tracks`."""
    return measured_tracks(clip)[-1]


def answers(
    sampler: ClipSampler,
    questions: Sequence[Question],
    clips: Sequence[UInt8[np.ndarray, "t h w 3"]],
    *,
    pokes: int,
    samples: int,
    seed: int,
) -> list[Answer]:
    """Ask questions of a sampler, all in one call, with the first ``pokes`` pokes of each.

    A sample depends on the seed, the number of its clip and its own number, not on what else is asked.
    """
    asked = [question.first_pokes(pokes) for question in questions]
    context = torch.stack([clip_from_frames(clip[: sampler.context]) for clip in clips])
    count = samples if sampler.is_stochastic else 1
    seeds = [seeds_of(seed, question.clip, count) for question in questions]
    drawn, said = _drawn(sampler, context, asked, seeds)
    sampled = drawn.expand(-1, samples, -1, -1, -1, -1)
    pinned: dict[int, tuple[Tensor, Tensor | None]] = {}
    with_pin = [row for row, question in enumerate(questions) if question.pin is not None]
    if with_pin:
        # Pins first: where a poke overlaps one, the poke is what is seen.
        both = [(pin, *asked[row]) for row in with_pin if (pin := questions[row].pin_poke()) is not None]
        again, moved = _drawn(sampler, context[with_pin], both, [seeds[row][:1] for row in with_pin])
        pinned = dict(
            zip(with_pin, zip(again, [None] * len(again) if moved is None else moved, strict=True), strict=True)
        )
    return [
        Answer(
            *(question, asked[row], clips[row], sampled[row], pinned.get(row, (None, None))[0]),
            said=None if said is None else said[row],
            pinned_said=pinned.get(row, (None, None))[1],
        )
        for row, question in enumerate(questions)
    ]


def _drawn(
    sampler: ClipSampler, context: Tensor, pokes: Sequence[Sequence[Poke]], seeds: Sequence[Sequence[int]]
) -> tuple[Float[Tensor, "b n t 3 s s"], Float[Tensor, "b n 2 s s"] | None]:
    """Sample clips, and what a model says of their motion."""
    if not isinstance(sampler, PokeModel):
        return sampler.sample_clips(context, pokes, seeds).cpu().clamp(-1, 1), None
    clips, motion = sampler.sample_with_motion(context, pokes, seeds)
    return clips.cpu(), None if motion is None else motion.cpu()


def seeds_of(seed: int, clip: int, samples: int) -> list[int]:
    """Derive the seeds of a clip's samples; the first ones do not depend on how many there are."""
    return [int(np.random.SeedSequence([seed, clip, i]).generate_state(1, np.uint64)[0] >> 1) for i in range(samples)]
