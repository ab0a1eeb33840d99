"""Samples under a question's pokes, beside the true clip, with the motion measured in both."""

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
from ipoke.evaluation.metrics.sampler_calls import Sampled, sample_batch, sample_seeds
from ipoke.sampling.clip_sampler import ClipSampler


@dataclass(frozen=True)
class Answer:
    """A sampler's samples for one question, beside the true clip."""

    question: Question
    pokes: tuple[Poke, ...]
    """The pokes that were used, without the pin."""
    frames: UInt8[np.ndarray, "t h w 3"]
    """The true clip; frame 0 is the still."""
    samples: Float[Tensor, "n t2 3 s s"]
    """Frames after the still, in [-1, 1]."""
    pinned: Float[Tensor, "1 t2 3 s s"] | None
    """The first sample, drawn again with the question's pin; None if it has no pin."""
    predicted: Float[Tensor, "n 2 s s"] | None = None
    """Displacement of the still's pixels in the last frame as the decoder predicts it, px; of warp decoders alone."""
    pinned_predicted: Float[Tensor, "1 2 s s"] | None = None
    """The same of the sample with the pin."""

    @cached_property
    def target(self) -> Float[Tensor, "t2 3 s s"]:
        """The true frames after the still, in [-1, 1]."""
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
        """The same of each sample; measured once if all samples are equal."""
        if len(self.samples) > 1 and torch.equal(self.samples[0], self.samples[-1]):
            return [measured_tracks(self.clips[0])] * len(self.samples)
        return [measured_tracks(clip) for clip in self.clips]

    @property
    def true_displacement(self) -> Float32[np.ndarray, "2 h w"]:
        """Measured displacement from the still to the last frame of the true clip, px."""
        return self.true_tracks[-1]

    @property
    def displacements(self) -> list[Float32[np.ndarray, "2 h w"]]:
        """The same of each sample."""
        return [one[-1] for one in self.tracks]

    @cached_property
    def pinned_displacement(self) -> Float32[np.ndarray, "2 h w"] | None:
        """The same of the sample with the pin."""
        return None if self.pinned is None else measured_displacement(self._with_still(self.pinned)[0])

    def _with_still(self, samples: Tensor) -> UInt8[np.ndarray, "n t s s 3"]:
        still = np.broadcast_to(self.frames[:1], (len(samples), 1, *self.frames.shape[1:]))
        return np.concatenate([still, frames_from_clip(samples)], 1)


def measured_tracks(clip: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t2 2 h w"]:
    """Measure the displacement of every pixel of frame 0 up to each later frame, px, by DIS optical flow.

    Pixels are tracked from frame to frame, so that small parts that move far are not lost. At the pokes of simulated
    clips, tracking recovers 0.84 of the displacement; one search from the first frame to the last recovers a third.
    """
    return tracks(clip, estimate_with_dis)


def measured_displacement(clip: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "2 h w"]:
    """Measure the displacement of every pixel from frame 0 to the last frame, px, as `measured_tracks`."""
    return measured_tracks(clip)[-1]


def answer_questions(
    sampler: ClipSampler,
    questions: Sequence[Question],
    clips: Sequence[UInt8[np.ndarray, "t h w 3"]],
    *,
    pokes: int,
    samples: int,
    seed: int,
    guidance: bool,
) -> list[Answer]:
    """Sample clips for several questions in one call, under the first ``pokes`` pokes of each.

    A sample depends on the seed, the number of its clip and its own number, not on the other questions.
    """
    wanted = [question.first_pokes(pokes) for question in questions]
    context = torch.stack([clip_from_frames(clip[: sampler.context]) for clip in clips])
    count = samples if sampler.is_stochastic else 1
    seeds = [sample_seeds(seed, question.clip, count) for question in questions]
    drawn, predicted = sample_batch(sampler, context, wanted, seeds, guidance=guidance)
    repeated = drawn.expand(-1, samples, -1, -1, -1, -1)
    pinned: dict[int, Sampled] = {}
    rows = [row for row, question in enumerate(questions) if question.pin is not None]
    if rows:
        # Pins come first: where a poke overlaps a pin, the poke map shows the poke.
        both = [(pin, *wanted[row]) for row in rows if (pin := questions[row].pin_poke()) is not None]
        first = [seeds[row][:1] for row in rows]
        again, motion = sample_batch(sampler, context[rows], both, first, guidance=guidance)
        pinned = {row: Sampled(again[i], None if motion is None else motion[i]) for i, row in enumerate(rows)}
    return [
        Answer(
            question,
            wanted[row],
            clips[row],
            repeated[row],
            pinned[row].clips if row in pinned else None,
            predicted=None if predicted is None else predicted[row],
            pinned_predicted=pinned[row].predicted_motion if row in pinned else None,
        )
        for row, question in enumerate(questions)
    ]
