"""Answer questions about pictures, in steps short enough for visitors to take turns."""

import base64
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.sampling.model import PokeModel
from ipoke.sampling.motion_correlation import (
    correlation_map,
    drag_requests,
    predicted_displacements,
    random_drags,
)
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Given, Residual, Term
from ipoke.sampling.sampler import Job, Samples
from ipoke.sampling.transfer import encode_clip, residual_of, round_trip, transfer_request
from ipoke.sampling.video_clip import strongest_poke
from ipoke.studio.encoding import png
from ipoke.studio.exporting import Export, shown
from ipoke.studio.jobs import Background, Batched, Steps
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.pictures import Picture
from ipoke.studio.questions import ExportQuestion, Question
from ipoke.studio.summaries import reached_by, summary

JPEG_QUALITY = 92
DRAGS, DRAGS_PER_STEP = 24, 6
"""Drags of a map of motion correlation, and drags per step."""
CLIPS_PER_STEP = 4
"""Clips of one question that are drawn in one step."""


class Work(NamedTuple):
    """Clips to draw for a picture."""

    opened: OpenPicture
    job: Job


class Answers:
    """Answers questions about pictures with one model; for one thread."""

    def __init__(self, model: PokeModel, limits: Limits = LIMITS) -> None:
        self.model, self.limits = model, limits
        self._resting: tuple[OpenPicture, SampleRequest] | None = None
        """The request of the last preview, at full precision."""

    def draw_batch(self, works: Sequence[Work]) -> list[Samples | InputError]:
        """Draw the clips of several visitors in one batch."""
        drawn = works[0].opened.sampler.draw([work.job for work in works])
        for work, samples in zip(works, drawn, strict=True):
            if isinstance(samples, Samples):
                work.opened.keep(work.job, samples)
        return drawn

    def ahead(self) -> Steps:
        """Draw the clip of the last preview, which is requested if the drag ends there."""
        if self._resting is not None:
            (opened, request), self._resting = self._resting, None
            if opened.kept(request) is None:
                job = opened.prepare(request)
                yield
                self.draw_batch([Work(opened, job)])

    def preview(self, picture: Picture, question: Question) -> Steps:
        """Yield the last frame of the first residual as JPEG, and the final positions of the poked points."""
        began = time.perf_counter()
        opened, request = picture.opened(self.model), question.request().part(slice(1))
        drawn = yield from self._draw(opened, request.roughly())
        last, motion = opened.show_last(drawn)
        if drawn.states.shape[1] != self.model.frames:
            motion = None
        reached = reached_by(opened, drawn, request.pokes, motion)
        self._resting = opened, request
        yield jpeg(last[0]), {"milliseconds": _milliseconds(began), "reached": reached[0] if reached else []}

    def clips(self, picture: Picture, question: Question) -> Steps:
        """Yield the lines of clips: the first sample, which the page plays at once, then the others frame by frame.

        After a drag, a draft of the clip, with the precision of the previews, is sent first.
        """
        began = time.perf_counter()
        opened, request = picture.opened(self.model), question.request()
        count, frames = len(request.residuals), request.frames or self.model.frames
        yield _begin(picture, count, frames)
        first_ms = None
        dragged = _dragged(opened, request)
        if dragged is not None:
            sketch = yield from self._draw(opened, request.part(slice(dragged, dragged + 1)).roughly())
            for frame in range(frames):
                yield _frame(dragged, 1 + frame, shown(opened, sketch, 1 + frame)) | {"sketch": True}
                first_ms = first_ms or _milliseconds(began)
        first = yield from self._draw(opened, request.part(slice(1)))
        for frame in range(frames):
            yield _frame(0, 1 + frame, shown(opened, first, 1 + frame))
            first_ms = first_ms or _milliseconds(began)
        parts = [first]
        for start in range(1, count, CLIPS_PER_STEP):
            parts += [(yield from self._draw(opened, request.part(slice(start, start + CLIPS_PER_STEP))))]
        others = [one for part in parts[1:] for one in part.singles()]
        for frame in range(frames):
            for index, one in enumerate(others):
                yield _frame(1 + index, 1 + frame, shown(opened, one, 1 + frame))
        yield None
        yield summary(opened, parts, request.pokes) | _times(began, first_ms)

    def last_frame(self, picture: Picture, question: Question) -> Steps:
        """Yield the last frame of the first residual as pixels."""
        opened = picture.opened(self.model)
        drawn = yield from self._draw(opened, question.request().part(slice(1)))
        yield opened.show_last(drawn)[0][0]

    def export(self, picture: Picture, question: ExportQuestion, start: Picture | None, kind: str) -> Steps:
        """Yield the bytes of a file, part by part."""
        opened, request, clips = picture.opened(self.model), question.request(), []
        for first in range(0, len(request.residuals), CLIPS_PER_STEP):
            part = yield from self._draw(opened, request.part(slice(first, first + CLIPS_PER_STEP)))
            clips += part.singles()
        yield from Export(self.model, picture, question, start, self.limits).steps(kind, opened, clips)

    def png(self, picture: Picture) -> Steps:
        """Yield the picture as PNG."""
        yield (yield Background(lambda: png(picture.image)))

    def correlation(self, picture: Picture, x: float, y: float) -> Steps:
        """Yield the motion correlation with a point, of predicted motion where the decoder predicts it."""
        opened, maps = picture.opened(self.model), picture.correlations
        here = opened.still.to_model(Poke(x, y, 0, 0))
        at = round(here.x), round(here.y)
        if at not in maps and not self.model.predicts_motion:
            maps[at] = _levels(self.model.motion_correlation(picture.image, x, y, pokes=DRAGS))
        if at not in maps:
            residuals = [(Term(seed, 0),) for seed in range(DRAGS)]
            requests = drag_requests(opened, at, random_drags(DRAGS, self.model.size, 0), residuals)
            fields = []
            for start in range(0, DRAGS, DRAGS_PER_STEP):
                fields.append(predicted_displacements(opened, requests[start : start + DRAGS_PER_STEP]))
                yield None
            maps[at] = _levels(correlation_map(np.concatenate(fields), at))
        while len(maps) > self.limits.correlations:
            maps.popitem(last=False)
        yield {"side": self.model.size, "values": base64.b64encode(maps[at]).decode()}

    def transfer(self, picture: Picture, clip: UInt8[np.ndarray, "t s s 3"]) -> Steps:
        """Animate the picture with the residual of a clip, as `PokeModel.transfer`; yield lines as `clips` does."""
        began = time.perf_counter()
        opened, model = picture.opened(self.model), self.model
        yield _begin(picture, 1, model.frames)
        pokes = strongest_poke(clip, model.recipe)
        encoded = encode_clip(model, clip, pokes)
        r = residual_of(model, encoded)
        error = round_trip(model, encoded, r).largest
        yield None
        request = transfer_request(opened, r, pokes)
        drawn = yield from self._draw(opened, request)
        first_ms = None
        for frame in range(model.frames):
            yield _frame(0, 1 + frame, shown(opened, drawn, 1 + frame))
            first_ms = first_ms or _milliseconds(began)
        end = summary(opened, [drawn], request.pokes) | _times(began, first_ms)
        strongest = asdict(request.pokes[0]) if request.pokes else None
        yield end | {"round_trip": error, "poke": strongest, "given": _base64(request.residuals[0])}

    def _draw(self, opened: OpenPicture, request: SampleRequest) -> Generator[Any, Any, Samples]:
        """Draw clips in one batch with those of other visitors, unless they are drawn already."""
        drawn = opened.kept(request)
        if drawn is None:
            drawn = yield Batched(Work(opened, opened.prepare(request)), len(request.residuals))
        return drawn


def _dragged(opened: OpenPicture, request: SampleRequest) -> int | None:
    """Find the residual whose previews a drag has shown, unless its clip is drawn already."""
    if opened.kept(request.part(slice(1))) is not None:
        return None
    singles = (request.part(slice(row, row + 1)) for row in range(len(request.residuals)))
    return next((row for row, one in enumerate(singles) if opened.follows_drag(one)), None)


def jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode a picture as JPEG, colours at full resolution."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes()


def _begin(picture: Picture, samples: int, frames: int) -> dict[str, Any]:
    height, width = picture.image.shape[:2]
    return {"kind": "begin", "samples": samples, "frames": frames, "width": width, "height": height}


def _frame(sample: int, frame: int, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
    return {"kind": "frame", "sample": sample, "frame": frame, "jpeg": base64.b64encode(jpeg(image)).decode()}


def _base64(residual: Residual) -> str | None:
    return base64.b64encode(residual.values).decode() if isinstance(residual, Given) else None


def _levels(values: Float[np.ndarray, "s s"]) -> bytes:
    return np.round(255 * values).astype(np.uint8).tobytes()


def _times(began: float, first_ms: float | None) -> dict[str, float | None]:
    return {"milliseconds": _milliseconds(began), "first_milliseconds": first_ms}


def _milliseconds(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 1)
