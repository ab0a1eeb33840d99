"""The one way from requests to clips that are not shown yet: residuals, guided if asked, latents, roll-out states.

Several pictures go through the networks in one batch. A residual that does not come back from its latent
(`ipoke.networks.round_trip`) is replaced by its next draw.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.networks.nn.spade import Modulation
from ipoke.networks.round_trip import comes_back
from ipoke.sampling.guidance import MOST_STEPS, guide, jacobian_at_mode, motion_at, poked_motion
from ipoke.sampling.networks import Networks
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Residual, draw_residuals, redrawn

MOST_DRAWS = 8
"""A sample is given up after so many draws that do not come back."""


@dataclass(frozen=True)
class Sources:
    """Source frames, with what the networks compute from them alone."""

    frames: Float[Tensor, "k 3 s s"]
    image_features: Float[Tensor, "k c 8 8"]
    """Of the image encoder."""
    decoder_features: list[Modulation]
    """Source features of the decoder."""

    def __getitem__(self, number: int) -> "Sources":
        """Select one of them."""
        only = slice(number, number + 1)
        features = [level.rows(only) for level in self.decoder_features]
        return Sources(self.frames[only], self.image_features[only], features)


@dataclass(frozen=True)
class Job:
    """A request that is ready for the networks: residuals to start from, and what they are conditioned on."""

    request: SampleRequest
    pokes: tuple[Poke, ...]
    """Of the request, px of the model."""
    r: Float[Tensor, "n c h w"]
    cond: Float[Tensor, "1 k h w"]
    source: Sources
    """One."""
    jacobian: Float[Tensor, "m d"] | None = None
    """Of the motion of the poked pixels, as of `Sampler.jacobian`; None: no guidance."""
    most_steps: int = MOST_STEPS
    first: int = 0
    """Number of the first clip among those of the whole request."""

    def singles(self) -> "list[Job]":
        """Split it into one job per clip."""
        rows = [slice(row, row + 1) for row in range(len(self.r))]
        return [
            replace(self, request=self.request.part(row), r=self.r[row], first=self.first + row.start) for row in rows
        ]


@dataclass(frozen=True)
class Latents:
    """Latents of the clips of one request."""

    r: Float[Tensor, "n c h w"]
    """Residuals, after guidance if that was asked."""
    z: Float[Tensor, "n c h w"]
    cond: Float[Tensor, "1 k h w"]
    draws: tuple[int, ...]
    """How many times each residual was drawn: once, unless one did not come back."""


@dataclass(frozen=True)
class Samples(Latents):
    """Clips of one request before they are shown."""

    states: Float[Tensor, "n t c h w"]
    """Of the roll-out, one per frame after the picture."""

    def singles(self) -> "list[Samples]":
        """Split them into single clips."""
        rows = [slice(row, row + 1) for row in range(len(self.z))]
        return [Samples(self.r[i], self.z[i], self.cond, self.draws[i], self.states[i]) for i in rows]

    @staticmethod
    def cat(parts: "Sequence[Samples]") -> "Samples":
        """Join clips of one request."""
        r, z, states = (torch.cat([getattr(part, name) for part in parts]) for name in ("r", "z", "states"))
        return Samples(r, z, parts[0].cond, tuple(count for part in parts for count in part.draws), states)


@dataclass(frozen=True)
class GuidedRows:
    """What residuals of several pictures with as many pokes are conditioned on; indexing selects rows."""

    cond: Float[Tensor, "k c h w"]
    source: Float[Tensor, "k 3 s s"]
    features: list[Modulation]
    """Source features of the decoder, level by level."""
    places: Int64[Tensor, "k p 2"]
    """Row and column of each poke."""
    picture: Int64[Tensor, " n"]
    """Which of the k pictures each row belongs to."""

    def __getitem__(self, rows: Int64[Tensor, " j"]) -> "GuidedRows":
        return replace(self, picture=self.picture[rows])


AnyLatents = TypeVar("AnyLatents", bound=Latents)


class Sampler:
    """Samples with the networks of one model."""

    def __init__(self, networks: Networks) -> None:
        self.networks, self.engine = networks, networks.engine

    @torch.no_grad()
    def encode(self, frames: Float[Tensor, "k 3 s s"]) -> Sources:
        """Encode source frames in [-1, 1]."""
        return Sources(frames, self.networks.conditions.encode_image(frames), self.engine.source_features(frames))

    @torch.no_grad()
    def condition(self, sources: Sources, pokes: Sequence[Sequence[Poke]]) -> Float[Tensor, "n k h w"]:
        """Encode one source with several lists of pokes, or each with its own; pokes in px of the model."""
        recipe, count = self.networks.recipe, len(pokes)
        maps = np.stack([poke_map(few, recipe.clip.size, patch=recipe.pokes.patch) for few in pokes])
        frames = sources.frames.expand(count, -1, -1, -1)
        encoded = self.networks.conditions.encode_pokes(torch.from_numpy(maps).to(frames.device), frames)
        return torch.cat([sources.image_features.expand(count, -1, -1, -1), encoded], 1).float()

    def prepare(
        self, sources: Sources, requests: Sequence[SampleRequest], pokes: Sequence[tuple[Poke, ...]]
    ) -> list[Job]:
        """Prepare requests on one source or on one each, without guidance; conditions are computed in one batch.

        Args:
            sources: What is poked.
            requests: What is asked.
            pokes: Those of each request, px of the model.

        Raises:
            InputError: A given residual is not of this model.
        """
        conds = self.condition(sources, pokes)
        return [
            Job(
                *(request, pokes[i], self._residuals(request, request.residuals).to(conds.device)),
                *(conds[i : i + 1], sources if len(sources.frames) == 1 else sources[i]),
            )
            for i, request in enumerate(requests)
        ]

    def is_guided(self, job: Job) -> bool:
        """Tell whether guidance has anything to do: there are pokes, and a decoder that predicts motion."""
        return job.request.guidance and bool(job.pokes) and self.networks.predicts_motion

    def jacobian(self, job: Job) -> Float[Tensor, "m d"]:
        """Differentiate the motion of the poked pixels of a job, as `ipoke.sampling.guidance.jacobian_at_mode`."""
        places = places_of(job.pokes)

        def motion_of(z: Float[Tensor, "m c h w"]) -> Float[Tensor, "m m"]:
            motion = self.predict_motion(z, job.source.frames, job.source.decoder_features)
            return motion_at(motion, places.expand(len(z), -1, -1))

        return jacobian_at_mode(self.engine, self.networks.latent_flow, job.cond, motion_of, 2 * len(job.pokes))

    def guided(self, job: Job) -> Job:
        """Add the Jacobian that guidance needs, where there is guidance."""
        return replace(job, jacobian=self.jacobian(job)) if self.is_guided(job) else job

    def predict_motion(
        self, z: Float[Tensor, "n c h w"], source: Float[Tensor, "k 3 s s"], features: list[Modulation]
    ) -> Float[Tensor, "n 2 s s"]:
        """Predict where the pixels of one source, or of one each, are in the last frame trained on, px of the model.

        Differentiable.

        Raises:
            ValueError: The decoder does not predict motion.
        """
        frames = self.networks.frames
        return self.engine.predict_motion(z, source, frames, only=[frames - 1], features=features)[:, 0]

    @torch.no_grad()
    def draw(self, jobs: Sequence[Job]) -> list[Samples | InputError]:
        """Draw the clips of several jobs; each is what it would be alone, up to rounding.

        Returns:
            Clips of each job, or the error that a residual does not come back from its latent.
        """
        return [
            found if isinstance(found, InputError) else self._unroll(found, job.request.frames)
            for job, found in zip(jobs, self.latents(jobs), strict=True)
        ]

    @torch.no_grad()
    def latents(self, jobs: Sequence[Job]) -> list[Latents | InputError]:
        """Draw the latents of several jobs, as `draw`."""
        return [self._checked(job, *found) for job, found in zip(jobs, self._mapped(jobs), strict=True)]

    def _unroll(self, latents: Latents, frames: int | None) -> Samples:
        states = self.engine.rollout(latents.z, frames or self.networks.frames)
        return Samples(latents.r, latents.z, latents.cond, latents.draws, states)

    def _mapped(self, jobs: Sequence[Job]) -> list[tuple[Tensor, Tensor]]:
        """Guide residuals, and return them with their latents."""
        residuals = self._guided_residuals(jobs)
        counts = [len(r) for r in residuals]
        conds = torch.cat([job.cond.expand(count, -1, -1, -1) for job, count in zip(jobs, counts, strict=True)])
        z = self.engine.to_latent(torch.cat(residuals), conds).split(counts)
        return list(zip(residuals, z, strict=True))

    def _guided_residuals(self, jobs: Sequence[Job]) -> list[Float[Tensor, "n c h w"]]:
        """Guide the residuals of all jobs that want it; those with as many pokes and steps in one batch."""
        residuals, groups = [job.r for job in jobs], defaultdict(list)
        for number, job in enumerate(jobs):
            if job.jacobian is not None and job.pokes:
                groups[len(job.pokes), job.most_steps].append(number)
        for numbers in groups.values():
            for number, r in zip(numbers, self._guide([jobs[i] for i in numbers]), strict=True):
                residuals[number] = r
        return residuals

    def _guide(self, jobs: Sequence[Job]) -> Sequence[Float[Tensor, "n c h w"]]:
        """Guide the residuals of jobs with as many pokes, and at least one."""
        counts = [len(job.r) for job in jobs]
        r = torch.cat([job.r for job in jobs])
        levels = zip(*(job.source.decoder_features for job in jobs), strict=True)
        rows = GuidedRows(
            cond=torch.cat([job.cond for job in jobs]),
            source=torch.cat([job.source.frames for job in jobs]),
            features=[Modulation.cat(level) for level in levels],
            places=torch.stack([places_of(job.pokes) for job in jobs]),
            picture=torch.arange(len(jobs)).repeat_interleave(torch.tensor(counts)),
        )
        targets = torch.tensor([[[poke.dx, poke.dy] for poke in job.pokes] for job in jobs]).to(r).flatten(1)
        jacobians = torch.stack([job.jacobian for job in jobs if job.jacobian is not None])

        def motion_of(residuals: Float[Tensor, "j d"], some: GuidedRows) -> Float[Tensor, "j m"]:
            of = some.picture
            z = self.engine.to_latent(residuals.view(-1, *r.shape[1:]), some.cond[of])
            features = [level.rows(of) for level in some.features]
            return poked_motion(self.predict_motion(z, some.source[of], features), some.places[of])

        of = rows.picture
        guided = guide(r.flatten(1), rows, targets[of], jacobians[of], motion_of, jobs[0].most_steps)
        return guided.view_as(r).split(counts)

    def _checked(self, job: Job, r: Tensor, z: Tensor) -> Latents | InputError:
        """Replace residuals that do not come back by their next draws."""
        r, z, draws = r.clone(), z.clone(), [1] * len(r)
        lost = self._lost(r, z, job.cond)
        while lost:
            names = [redrawn(job.request.residuals[row], draws[row]) for row in lost]
            for row, name in zip(lost, names, strict=True):
                if name is None or draws[row] == MOST_DRAWS:
                    return does_not_come_back(job.first + row)
            again = self._residuals(job.request, [name for name in names if name is not None]).to(r)
            ((r[lost], z[lost]),) = self._mapped([replace(job, r=again)])
            for row in lost:
                draws[row] += 1
            lost = [lost[row] for row in self._lost(r[lost], z[lost], job.cond)]
        return Latents(r, z, job.cond, tuple(draws))

    def _lost(self, r: Tensor, z: Tensor, cond: Tensor) -> list[int]:
        good = comes_back(self.networks.latent_flow, r, z, cond.expand(len(r), -1, -1, -1))
        return good.logical_not().nonzero().flatten().tolist()

    def _residuals(self, request: SampleRequest, residuals: Sequence[Residual]) -> Float[Tensor, "n c h w"]:
        networks = self.networks
        return request.temperature * draw_residuals(networks.latent_flow, residuals, networks.residual_std)


def places_of(pokes: Sequence[Poke]) -> Int64[Tensor, "p 2"]:
    """Round the points of pokes to pixels: row and column each."""
    return torch.tensor([[round(poke.y), round(poke.x)] for poke in pokes])


def does_not_come_back(sample: int) -> InputError:
    """Explain that a sample cannot be shown."""
    return InputError(
        f"sample {sample}: its residual does not survive the round trip through its latent; "
        "take another seed, a lower temperature, or other pokes"
    )


def finite(found: AnyLatents | InputError) -> AnyLatents:
    """Return latents or clips.

    Raises:
        InputError: There are none, because a residual does not come back.
    """
    if isinstance(found, InputError):
        raise found
    return found
