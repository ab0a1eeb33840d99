"""The answer that a training clip already gave."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke

THUMBNAIL_SIDE = 16
CANDIDATES = 64
"""Training clips whose optical flow is compared with what is asked."""


class NearestClip:
    """Retrieves training clips that begin like the still and move at the pokes as asked.

    Rule: of all training clips, the 64 whose frame 0 is nearest to the still, by the mean squared difference at 16 px
    (areas averaged), are the candidates. They are ranked by the distance between the asked displacement and the clip's
    optical flow at the poke's pixel, averaged over pokes (a pin asks for none); equals, and all where nothing is asked,
    by the difference of frames; equals in that by their number. Sample i of a still is the i-th of the ranking,
    whatever its seed: frames 1 to T of that clip, as they are.
    """

    name = "nearest-clip"
    context = 1
    is_stochastic = True
    shows_still = False

    def __init__(self, clips: ClipSet) -> None:
        self.clips = clips
        self.size, self.frames = clips.size, clips.frames
        self._thumbnails = torch.cat([_thumbnails(self._clip(index)[:1]) for index in range(len(clips))])

    @property
    def sha256(self) -> str:
        """Hash of the rule's name and of the clips."""
        return hashlib.sha256(f"{self.name} {self.clips.sha256}".encode()).hexdigest()

    def sample_clips(
        self,
        context: Float[Tensor, "b k 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Retrieve as many clips for each still as it has seeds.

        Raises:
            InputError: More samples are asked for than there are candidates.
        """
        most, samples = min(CANDIDATES, len(self.clips)), len(seeds[0])
        if samples > most:
            raise InputError(f"{self.name}: samples: got {samples}, expected at most {most} of {self.clips.folder}")
        answers = []
        for still, asked in zip(_thumbnails(context[:, 0].cpu()), pokes, strict=True):
            answers.append(torch.stack([self._clip(index)[1:] for index in self._ranking(still, asked)[:samples]]))
        return torch.stack(answers)

    def _ranking(self, still: Float[Tensor, "3 u u"], asked: Sequence[Poke]) -> list[int]:
        differences = (self._thumbnails - still).square().mean((1, 2, 3)).numpy()
        candidates = np.argsort(differences, kind="stable")[:CANDIDATES]
        return [int(index) for index in candidates[np.argsort(self._errors(candidates, asked), kind="stable")]]

    def _errors(self, candidates: Int64[np.ndarray, " n"], asked: Sequence[Poke]) -> Float[np.ndarray, " n"]:
        """Give the mean distance of each candidate's motion from the asked one, px."""
        errors = np.zeros(len(candidates))
        if not asked:
            return errors
        columns, rows = (np.floor([getattr(poke, axis) + 0.5 for poke in asked]).astype(int) for axis in ("x", "y"))
        wanted = np.array([[poke.dx for poke in asked], [poke.dy for poke in asked]])
        for place, index in enumerate(candidates):
            found = self.clips.optical_flow(int(index))[:, rows, columns]
            errors[place] = np.hypot(*(found - wanted)).mean()
        return errors

    def _clip(self, index: int) -> Float[Tensor, "t 3 s s"]:
        return clip_from_frames(self.clips.clip(index))


def _thumbnails(images: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n 3 u u"]:
    return F.adaptive_avg_pool2d(images, THUMBNAIL_SIDE)
