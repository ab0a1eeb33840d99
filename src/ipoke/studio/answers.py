"""What the model has to say to a question, in steps that are short enough for visitors to take turns."""

import base64
import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from ipoke.core.errors import InputError
from ipoke.core.pixels import clip_from_frames
from ipoke.data.poke import Poke
from ipoke.sampling.drawing import Drawn, Wanted
from ipoke.sampling.model import PokeModel
from ipoke.sampling.motion_correlation import affinity_of, draw_pulls
from ipoke.sampling.open_picture import Asked, OpenPicture
from ipoke.sampling.residual_terms import Residual, given, plain_terms
from ipoke.sampling.video_clip import strongest_poke
from ipoke.studio.encoding import png
from ipoke.studio.exporting import Export, shown
from ipoke.studio.jobs import Aside, Shared, Steps
from ipoke.studio.limits import LIMITS, Limits
from ipoke.studio.pictures import Picture
from ipoke.studio.questions import Keeping, Question
from ipoke.studio.summaries import reached_by, summary

JPEG_QUALITY = 92
PULLS, PULLS_A_STEP = 24, 6
DRAWN_A_STEP = 4
"""Clips of one question that are drawn in one step."""


class Work(NamedTuple):
    """Clips that a job wants to have drawn."""

    opened: OpenPicture
    asked: Asked
    wanted: Wanted


class Answers:
    """Answers questions about pictures with one model; for one thread."""

    def __init__(self, model: PokeModel, limits: Limits = LIMITS) -> None:
        self.model, self.limits = model, limits
        self._resting: tuple[OpenPicture, Asked] | None = None

    def together(self, works: Sequence[Work]) -> list[Drawn | InputError]:
        """Draw what several jobs want, in one batch."""
        drawn = works[0].opened.drawing.together([work.wanted for work in works])
        for work, one in zip(works, drawn, strict=True):
            if isinstance(one, Drawn):
                work.opened.keep(work.asked, work.wanted, one)
        return drawn

    def ahead(self) -> Steps:
        """Draw what the last preview was of, as it will be asked for if the hand lets go where it rests."""
        if self._resting is not None:
            (opened, asked), self._resting = self._resting, None
            if opened.drawn(asked) is None:
                wanted = opened.wanted(asked)
                yield
                self.together([Work(opened, asked, wanted)])

    def preview(self, picture: Picture, question: Question) -> Steps:
        """Give the last frame of the first residual as JPEG, and where the poked points are in it."""
        began = time.perf_counter()
        opened = picture.opened(self.model)
        drawn = yield from self._draw(opened, question, question.residual_list()[:1], rough=True)
        last, motion = opened.show_last(drawn)
        if drawn.states.shape[1] != self.model.frames:
            motion = None
        reached = reached_by(self.model, opened, drawn, question.poke_list(), motion)
        self._resting = opened, _asked(question, question.residual_list()[:1])
        yield jpeg(last[0]), {"milliseconds": _milliseconds(began), "reached": reached[0] if reached else []}

    def clips(self, picture: Picture, question: Question) -> Steps:
        """Give the lines of clips: the first sample, so that something moves soon, then the others frame by frame.

        Where a hand has just let go, a sketch of what it held comes before all, as rough as its previews were.
        """
        began = time.perf_counter()
        opened, residuals = picture.opened(self.model), question.residual_list()
        frames = question.frames or self.model.frames
        yield _begin(picture, len(residuals), frames)
        first_ms = None
        held = self._held(opened, question, residuals)
        if held is not None:
            drawn = yield from self._draw(opened, question, residuals[held : held + 1], rough=True)
            for frame in range(frames):
                yield _frame(held, 1 + frame, shown(opened, drawn, 1 + frame)) | {"sketch": True}
                first_ms = first_ms or _milliseconds(began)
        first = yield from self._draw(opened, question, residuals[:1])
        for frame in range(frames):
            yield _frame(0, 1 + frame, shown(opened, first, 1 + frame))
            first_ms = first_ms or _milliseconds(began)
        parts = [first]
        for start in range(1, len(residuals), DRAWN_A_STEP):
            parts += [(yield from self._draw(opened, question, residuals[start : start + DRAWN_A_STEP]))]
        others = [one for part in parts[1:] for one in singly(part)]
        for frame in range(frames):
            for index, one in enumerate(others):
                yield _frame(1 + index, 1 + frame, shown(opened, one, 1 + frame))
        yield None
        yield summary(self.model, opened, parts, question.poke_list()) | _times(began, first_ms)

    def last_frame(self, picture: Picture, question: Question) -> Steps:
        """Give the last frame of the first residual, in all its colours."""
        opened = picture.opened(self.model)
        drawn = yield from self._draw(opened, question, question.residual_list()[:1])
        yield opened.show_last(drawn)[0][0]

    def export(self, picture: Picture, question: Keeping, start: Picture | None, kind: str) -> Steps:
        """Give the bytes of a file, part by part."""
        opened, residuals, clips = picture.opened(self.model), question.residual_list(), []
        for first in range(0, len(residuals), DRAWN_A_STEP):
            clips += singly((yield from self._draw(opened, question, residuals[first : first + DRAWN_A_STEP])))
        yield from Export(self.model, picture, question, start, self.limits).steps(kind, opened, clips)

    def png(self, picture: Picture) -> Steps:
        """Give the picture itself, without loss."""
        yield (yield Aside(lambda: png(picture.image)))

    def affinity(self, picture: Picture, x: float, y: float) -> Steps:
        """Map what moves along when a place is pulled, by what the model says of pulls; steps in between give None."""
        opened = picture.opened(self.model)
        here = opened.still.to_model(Poke(x, y, 0, 0))
        at = round(here.x), round(here.y)
        if at not in picture.affinity and not self.model.autoencoder.predicts_motion:
            values = self.model.affinity(picture.image, x, y, pokes=PULLS)
            picture.affinity[at] = _levels(values)
        if at not in picture.affinity:
            pulls = draw_pulls(PULLS, self.model.size, 0)
            fields = []
            for start in range(0, PULLS, PULLS_A_STEP):
                fields += [
                    self._pulled(opened, at, pull, start + i)
                    for i, pull in enumerate(pulls[start : start + PULLS_A_STEP])
                ]
                yield None
            values = affinity_of(lambda _, seeds: np.stack([fields[seed] for seed in seeds]), at, pulls, range(PULLS))
            picture.affinity[at] = _levels(values)
        while len(picture.affinity) > self.limits.affinities:
            picture.affinity.popitem(last=False)
        yield {"side": self.model.size, "values": base64.b64encode(picture.affinity[at]).decode()}

    def transfer(self, picture: Picture, clip: UInt8[np.ndarray, "t s s 3"]) -> Steps:
        """Animate the picture with the residual of a clip, as `PokeModel.transfer`, as lines of clips."""
        began = time.perf_counter()
        opened, model = picture.opened(self.model), self.model
        yield _begin(picture, 1, model.frames)
        pokes = strongest_poke(clip, model.recipe)
        own = model.open(clip[0]).condition(pokes)
        with torch.no_grad():
            z = model.encode(_as_clip(clip, model))[0]
            r, _ = model.to_residual(z, own)
            error = float((model.to_latent(r, own) - z).abs().max() / z.abs().max())
        yield None
        outer = [opened.still.from_model(poke) for poke in pokes]
        drawn = opened.with_residual(r, outer)
        first_ms = None
        for frame in range(model.frames):
            yield _frame(0, 1 + frame, shown(opened, drawn, 1 + frame))
            first_ms = first_ms or _milliseconds(began)
        strongest = None
        if outer:
            poke = outer[0]
            strongest = {"x": poke.x, "y": poke.y, "dx": poke.dx, "dy": poke.dy}
        end = summary(model, opened, [drawn], outer) | _times(began, first_ms)
        kept = base64.b64encode(given(r[0]).values).decode()
        yield end | {"round_trip": error, "poke": strongest, "given": kept}

    def _draw(
        self, opened: OpenPicture, question: Question, residuals: list[Residual], *, rough: bool = False
    ) -> Generator[Any, Any, Drawn]:
        """Draw clips together with what others want drawn; what was asked of the picture last is there already."""
        asked = _asked(question, residuals)._replace(rough=rough)
        drawn = opened.drawn(asked)
        if drawn is None:
            drawn = yield Shared(Work(opened, asked, opened.wanted(asked)), len(residuals))
        return drawn

    def _held(self, opened: OpenPicture, question: Question, residuals: list[Residual]) -> int | None:
        """Find the residual that a hand held, unless its clip is drawn already."""
        if opened.drawn(_asked(question, residuals[:1])) is not None:
            return None
        asked = (_asked(question, [residual]) for residual in residuals)
        return next((index for index, one in enumerate(asked) if opened.is_held(one)), None)

    def _pulled(
        self, opened: OpenPicture, at: tuple[int, int], pull: Float32[np.ndarray, "2"], seed: int
    ) -> Float32[np.ndarray, "2 s s"]:
        poke = opened.still.from_model(Poke(*map(float, at), *map(float, pull)))
        drawn = opened.draw([poke], plain_terms(seed, 1), reaches=False)
        return opened.say(drawn)[0].cpu().numpy()


def _asked(question: Question, residuals: list[Residual]) -> Asked:
    pokes, temperature = tuple(question.poke_list()), question.temperature
    return Asked(pokes, tuple(residuals), temperature, question.frames, question.reaches)


def singly(drawn: Drawn) -> list[Drawn]:
    """Take clips that were drawn together apart."""
    rows = [slice(row, row + 1) for row in range(len(drawn.z))]
    return [Drawn(drawn.r[row], drawn.z[row], drawn.cond, drawn.states[row], drawn.draws[row]) for row in rows]


def jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode a picture as JPEG, colours at full resolution."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes()


def _begin(picture: Picture, samples: int, frames: int) -> dict[str, Any]:
    height, width = picture.image.shape[:2]
    return {"kind": "begin", "samples": samples, "frames": frames, "width": width, "height": height}


def _frame(sample: int, frame: int, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
    return {"kind": "frame", "sample": sample, "frame": frame, "jpeg": base64.b64encode(jpeg(image)).decode()}


def _as_clip(frames: UInt8[np.ndarray, "t s s 3"], model: PokeModel) -> Float[torch.Tensor, "1 t 3 s s"]:
    return clip_from_frames(frames)[None].to(model.device)


def _levels(values: Float[np.ndarray, "s s"]) -> bytes:
    return np.round(255 * values).astype(np.uint8).tobytes()


def _times(began: float, first_ms: float | None) -> dict[str, float | None]:
    return {"milliseconds": _milliseconds(began), "first_milliseconds": first_ms}


def _milliseconds(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 1)
