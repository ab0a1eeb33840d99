"""What the model has to say to a question, in steps that are short enough for visitors to take turns."""

import base64
import math
import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from ipoke.data.poke import Poke
from ipoke.drawing import Drawn, Wanted
from ipoke.errors import InputError
from ipoke.model import PokeModel
from ipoke.motion_affinity import affinity_of, draw_pulls
from ipoke.open_picture import Asked, OpenPicture
from ipoke.reach import motion_of_poked
from ipoke.residual_terms import Residual, given, plain_terms
from ipoke.studio.pictures import Picture
from ipoke.studio.questions import Question
from ipoke.studio.turns import Shared, Steps
from ipoke.tensors import clip_from_frames
from ipoke.video_clip import strongest_poke

JPEG_QUALITY = 92
PULLS, PULLS_A_STEP = 24, 6
MOVES_PX = 0.5
"""From which a place counts as moving, px of the model."""


class Work(NamedTuple):
    """Clips that a job wants to have drawn."""

    opened: OpenPicture
    asked: Asked
    wanted: Wanted


class Answers:
    """Answers questions about pictures with one model; for one thread."""

    def __init__(self, model: PokeModel) -> None:
        self.model = model
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
        reached = self._reached(opened, drawn, question.poke_list(), motion)
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
        first_ms, parts = None, []
        held = self._held(opened, question, residuals)
        if held is not None:
            drawn = yield from self._draw(opened, question, residuals[held : held + 1], rough=True)
            for frame in range(frames):
                yield _frame(held, 1 + frame, opened.show(drawn, [frame])[0, -1]) | {"sketch": True}
                first_ms = first_ms or _milliseconds(began)
        for start, part in ((0, residuals[:1]), (1, residuals[1:])):
            if not part:
                continue
            drawn = yield from self._draw(opened, question, part)
            parts.append(drawn)
            for frame in range(frames):
                for index, image in enumerate(opened.show(drawn, [frame])[:, -1]):
                    yield _frame(start + index, 1 + frame, image)
                    first_ms = first_ms or _milliseconds(began)
        yield self._end(opened, parts, question.poke_list(), began, first_ms)

    def last_frame(self, picture: Picture, question: Question) -> Steps:
        """Give the last frame of the first residual, in all its colours."""
        opened = picture.opened(self.model)
        drawn = yield from self._draw(opened, question, question.residual_list()[:1])
        yield opened.show_last(drawn)[0][0]

    def sampled(self, picture: Picture, question: Question) -> Steps:
        """Give whole clips, and where the pixels of the model's still are in every frame, px of the model."""
        opened = picture.opened(self.model)
        drawn = yield from self._draw(opened, question, question.residual_list())
        clips = opened.show(drawn)
        motion = opened.say_all(drawn).cpu().numpy() if self.model.autoencoder.says_motion else None
        yield clips, motion

    def affinity(self, picture: Picture, x: float, y: float) -> Steps:
        """Map what moves along when a place is pulled, by what the model says of pulls; steps in between give None."""
        opened = picture.opened(self.model)
        here = opened.still.to_model(Poke(x, y, 0, 0))
        at = round(here.x), round(here.y)
        if at not in picture.affinity and not self.model.autoencoder.says_motion:
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
        yield {"side": self.model.size, "values": base64.b64encode(picture.affinity[at]).decode()}

    def transfer(self, picture: Picture, clip: UInt8[np.ndarray, "t s s 3"]) -> Steps:
        """Animate the picture with the residual of a clip, as `ipoke.model.PokeModel.transfer`, as lines of clips."""
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
            yield _frame(0, 1 + frame, opened.show(drawn, [frame])[0, -1])
            first_ms = first_ms or _milliseconds(began)
        strongest = None
        if outer:
            poke = outer[0]
            strongest = {"x": poke.x, "y": poke.y, "dx": poke.dx, "dy": poke.dy}
        end = self._end(opened, [drawn], outer, began, first_ms)
        kept = base64.b64encode(given(r[0]).values).decode()
        yield end | {"round_trip": error, "poke": strongest, "given": kept}

    def _draw(
        self, opened: OpenPicture, question: Question, residuals: list[Residual], *, rough: bool = False
    ) -> Generator[Any, Any, Drawn]:
        """Draw clips together with what others want drawn; what was asked of the picture last is there already."""
        asked = _asked(question, residuals)._replace(rough=rough)
        drawn = opened.drawn(asked)
        if drawn is None:
            drawn = yield Shared(Work(opened, asked, opened.wanted(asked)))
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

    def _reached(
        self,
        opened: OpenPicture,
        drawn: Drawn,
        pokes: list[Poke],
        motion: Float[torch.Tensor, "n 2 s s"] | None = None,
    ) -> list[list[dict[str, float]]]:
        """Say for each clip where each poked point is by the end, and how far from its target, px of the picture.

        Where the motion by the end is known, it need not be computed.
        """
        if not self.model.autoencoder.says_motion or not pokes:
            return []
        inner = [opened.still.to_model(poke) for poke in pokes]
        motion = opened.say(drawn) if motion is None else motion
        moved = motion_of_poked(motion, inner).unflatten(1, (-1, 2)) * opened.still.px_per_model_px
        return [
            [
                {
                    "x": round(poke.x + float(dx), 2),
                    "y": round(poke.y + float(dy), 2),
                    "error": round(math.hypot(float(dx) - poke.dx, float(dy) - poke.dy), 2),
                }
                for poke, (dx, dy) in zip(pokes, of_clip, strict=True)
            ]
            for of_clip in moved
        ]

    @torch.no_grad()
    def _end(
        self, opened: OpenPicture, parts: list[Drawn], pokes: list[Poke], began: float, first_ms: float | None
    ) -> dict[str, Any]:
        """Sum clips up."""
        dimensions = parts[0].z[0].numel()
        nats = torch.cat([self.model.latent_flow.log_prob(d.z, d.cond.expand(len(d.z), -1, -1, -1)) for d in parts])
        order = nats.argsort(descending=True).tolist()
        draws = [count for drawn in parts for count in drawn.draws]
        reached = [one for drawn in parts for one in self._reached(opened, drawn, pokes)]
        motion = spread = ambiguity = unit = None
        if self.model.autoencoder.says_motion:
            fields = torch.cat([opened.say(drawn) for drawn in parts]).cpu().numpy() * opened.still.px_per_model_px
            unit = max(float(np.abs(fields).max()), 1e-6) / 127
            motion = [_base64(np.round(field.transpose(1, 2, 0) / unit).astype(np.int8)) for field in fields]
            apart = np.sqrt(fields.var(0).sum(0))
            moving = np.hypot(fields[:, 0], fields[:, 1]).max(0) > MOVES_PX * opened.still.px_per_model_px
            ambiguity = float(apart[moving].mean()) if moving.any() else 0.0
            spread = _base64(np.round(255 * apart / max(float(apart.max()), 1e-6)).astype(np.uint8))
        return {
            "kind": "end",
            "milliseconds": _milliseconds(began),
            "first_milliseconds": first_ms,
            "samples": [
                {
                    "bits_per_dim": round(-float(nats[i]) / (dimensions * math.log(2)), 4),
                    "rank": order.index(i),
                    "draws": draws[i],
                    "reached": reached[i] if reached else [],
                    "motion": motion[i] if motion else None,
                }
                for i in range(len(nats))
            ],
            "side": self.model.size,
            "motion_unit": unit,
            "spread": spread,
            "ambiguity": ambiguity,
        }


def _asked(question: Question, residuals: list[Residual]) -> Asked:
    pokes, temperature = tuple(question.poke_list()), question.temperature
    return Asked(pokes, tuple(residuals), temperature, question.frames, question.reaches)


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


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _milliseconds(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 1)
