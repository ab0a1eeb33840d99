"""A picture that is poked more than once: what depends on it alone is computed once, and kept from poke to poke."""

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.data.poke import Poke
from ipoke.engine.one_by_one import one_by_one, one_thread
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.sampling.networks import Networks
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Residual
from ipoke.sampling.sampler import Job, Sampler, Samples, Sources, finite
from ipoke.sampling.still import Still

MOST_DRAGS = 8
"""Drags that a picture remembers while they go on."""
STEPS_PER_PREVIEW = 2
"""Steps of guidance by which residuals follow a drag from one preview to the next."""


class Drag(NamedTuple):
    """A drag that goes on: pokes at these places, with these residuals."""

    places: tuple[tuple[float, float], ...]
    residuals: tuple[Residual, ...]
    temperature: float


class DragState(NamedTuple):
    """Where a drag has led so far."""

    r: Float[Tensor, "n c h w"]
    jacobian: Float[Tensor, "m d"]


class OpenPicture:
    """A picture, with its encodings by one model; `ipoke.sampling.model.PokeModel.open` makes it.

    Encodings are kept from their first use on: open the picture anew after the model's weights were changed.

    >>> import ipoke
    >>> picture = ipoke.load("scenes-64").open(ipoke.bundled_still())
    >>> drag = [ipoke.Poke(x=38, y=137, dx=0, dy=34)]
    >>> picture.preview(drag, samples=2).shape
    (2, 256, 256, 3)
    >>> picture.poke(drag, samples=2).shape
    (2, 11, 256, 256, 3)
    """

    def __init__(self, image: UInt8[np.ndarray, "h w 3"], networks: Networks) -> None:
        self.still = Still(image, networks.size)
        self.sampler = Sampler(networks)
        self.networks = networks
        self._latest: tuple[SampleRequest, Samples] | None = None
        self._drags: OrderedDict[Drag, DragState] = OrderedDict()
        self._jacobian: tuple[tuple[Poke, ...], Tensor] | None = None

    def poke(
        self,
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
        guidance: bool = True,
    ) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Sample clips of what could happen, as `PokeModel.poke`; after their preview, continue from it.

        >>> import ipoke
        >>> model, still = ipoke.load("scenes-64"), ipoke.bundled_still()
        >>> picture = model.open(still)
        >>> picture.poke([ipoke.Poke(x=38, y=137, dx=0, dy=34)], frames=4).shape
        (1, 5, 256, 256, 3)
        """
        drawn = self.draw(
            SampleRequest.of_seed(
                pokes, samples=samples, seed=seed, temperature=temperature, frames=frames, guidance=guidance
            )
        )
        for line in redraw_notes(drawn.draws):
            warnings.warn(line, stacklevel=2)
        return self.show(drawn)

    def preview(
        self,
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
        guidance: bool = True,
    ) -> UInt8[np.ndarray, "n h2 w2 3"]:
        """Return the last frames of the clips that `poke` returns, up to rounding, in a fraction of its time.

        >>> import ipoke
        >>> model, still = ipoke.load("scenes-64"), ipoke.bundled_still()
        >>> picture = model.open(still)
        >>> picture.preview([ipoke.Poke(x=38, y=137, dx=0, dy=34)], samples=2).shape
        (2, 256, 256, 3)
        """
        drawn = self.draw(
            SampleRequest.of_seed(
                pokes, samples=samples, seed=seed, temperature=temperature, frames=frames, guidance=guidance
            )
        )
        return np.concatenate(one_by_one(lambda one: self.show_last(one)[0], drawn.singles()))

    def draw(self, request: SampleRequest) -> Samples:
        """Draw clips without showing them; those of the latest request are kept.

        Each is drawn by itself, so that neither their number nor the number of threads changes a bit of it.

        Raises:
            InputError: As of `ipoke.sampling.model.PokeModel.poke`.
        """
        samples = self.kept(request)
        if samples is None:
            with one_thread():
                job = self.prepare(request)
            parts = one_by_one(lambda single: finite(self.sampler.draw([single])[0]), job.singles())
            samples = Samples.cat(parts)
            self.keep(job, samples)
        return samples

    def prepare(self, request: SampleRequest) -> Job:
        """Prepare a request for `Sampler.draw`; then `keep` what was drawn.

        Raises:
            InputError: As of `ipoke.sampling.model.PokeModel.poke`.
        """
        (job,) = self.sampler.prepare(self._source, [request], [self._inner(request.pokes)])
        if not self.sampler.is_guided(job):
            return job
        drag = self._drags.get(_drag_of(request)) if request.rough else None
        if drag is not None:
            return replace(job, r=drag.r, jacobian=drag.jacobian, most_steps=STEPS_PER_PREVIEW)
        if self._jacobian is None or self._jacobian[0] != job.pokes:
            self._jacobian = job.pokes, self.sampler.jacobian(job)
        return replace(job, jacobian=self._jacobian[1])

    def kept(self, request: SampleRequest) -> Samples | None:
        """Return the clips of the latest request, if this is it."""
        return self._latest[1] if self._latest is not None and self._latest[0] == request else None

    def keep(self, job: Job, samples: Samples) -> None:
        """Keep clips as those of the latest request."""
        self._latest = job.request, samples
        if job.request.rough and job.jacobian is not None:
            drag = _drag_of(job.request)
            self._drags[drag] = DragState(samples.r, job.jacobian)
            self._drags.move_to_end(drag)
            while len(self._drags) > MOST_DRAGS:
                self._drags.popitem(last=False)

    def follows_drag(self, request: SampleRequest) -> bool:
        """Tell whether a drag at the same places is remembered, so that a rough drawing only has to follow it."""
        return _drag_of(request) in self._drags

    def show(self, samples: Samples, only: list[int] | None = None) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Show clips, the picture first, each by itself, or together ``only`` some of the frames after it (from 0)."""
        if only is not None:
            return self._show(samples.states[:, only])
        return np.concatenate(one_by_one(lambda one: self._show(one.states), samples.singles()))

    @torch.no_grad()
    def show_last(self, samples: Samples) -> tuple[UInt8[np.ndarray, "n h2 w2 3"], Float[Tensor, "n 2 s s"] | None]:
        """Show last frames, with the predicted motion of the model's still up to them, px of the model."""
        decoded = self._decode(samples.states[:, -1:])
        motion = decoded.motion
        return self.still.compose(decoded.cpu())[:, -1], None if motion is None else motion[:, -1]

    @torch.no_grad()
    def predict_motion(self, samples: Samples) -> Float[Tensor, "n 2 s s"]:
        """Predict where the pixels of the model's still are in the last frame that it was trained on, px of the model.

        Raises:
            ValueError: The decoder does not predict motion.
        """
        return self.sampler.predict_motion(samples.z, self._source.frames, self._source.decoder_features)

    @torch.no_grad()
    def predict_tracks(self, samples: Samples) -> Float[Tensor, "n t 2 s s"]:
        """Predict where they are in every frame, as `predict_motion`."""
        motion = self._decode(samples.states).motion
        if motion is None:
            raise ValueError("motion: got a decoder that does not predict motion, expected one that does")
        return motion

    @torch.no_grad()
    def last_frames(self, requests: Sequence[SampleRequest]) -> Float[Tensor, "n 3 s s"]:
        """Sample several requests in one batch, unguided; decode nothing but last frames, at the model's size.

        Raises:
            InputError: A poke is not on the picture, or no residual of a sample comes back from its latent.
        """
        frames = self.networks.frames
        jobs = self.sampler.prepare(self._source, requests, [self._inner(request.pokes) for request in requests])
        z = torch.cat([finite(one).z for one in self.sampler.latents(jobs)])
        return self._decode(self.sampler.engine.rollout(z, frames)[:, [frames - 1]]).clip[:, 0]

    def condition(self, pokes: Sequence[Poke]) -> Float[Tensor, "1 k 8 8"]:
        """Encode the picture and pokes in its pixels."""
        return self.sampler.condition(self._source, [self._inner(pokes)])

    def _inner(self, pokes: Sequence[Poke]) -> tuple[Poke, ...]:
        """Convert pokes into px of the model."""
        return tuple(self.still.to_model(poke) for poke in pokes)

    @cached_property
    def _source(self) -> Sources:
        with one_thread():
            return self.sampler.encode(self.still.source.to(self.networks.device))

    @torch.no_grad()
    def _show(self, states: Float[Tensor, "n t c h w"]) -> UInt8[np.ndarray, "n t2 h2 w2 3"]:
        return self.still.compose(self._decode(states).cpu())

    def _decode(self, states: Float[Tensor, "n t c h w"]) -> DecodedFrames:
        count, source = len(states), self._source
        features = [level.expand(count) for level in source.decoder_features]
        return self.sampler.engine.decode(states, source.frames.expand(count, -1, -1, -1), features)


def redraw_notes(draws: Sequence[int]) -> list[str]:
    """Note in one line each which samples had to be drawn again."""
    return [
        f"sample {number}: residuals did not survive the round trip through their latents; draw {count} is shown"
        for number, count in enumerate(draws)
        if count > 1
    ]


def _drag_of(request: SampleRequest) -> Drag:
    return Drag(tuple((poke.x, poke.y) for poke in request.pokes), request.residuals, request.temperature)
