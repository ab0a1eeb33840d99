"""Clips as files with their session embedded, in steps: each frame is computed, encoded and dropped."""

import math
from collections.abc import Callable, Generator, Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from ipoke.sampling.model import PokeModel
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.render import (
    HELD_FIRST,
    HELD_LAST,
    draw_pokes,
    enlarged,
    enlargement,
    film_row,
    gap_below,
    side_by_side,
    strip_frames,
)
from ipoke.sampling.sampler import Samples
from ipoke.studio.encoding import Animation, Encoder, Gif, Mp4, Rows, Zip, palette_of, png
from ipoke.studio.jobs import Background, Steps
from ipoke.studio.limits import Limits
from ipoke.studio.pictures import Picture
from ipoke.studio.questions import ExportQuestion
from ipoke.studio.sessions import session_of
from ipoke.studio.tracks import tracks_of

COLUMNS = 3
PART = 256_000
"""Bytes sent at a time."""
PNG_ROWS = 64
"""Rows of pixels compressed in one step."""
Frame = UInt8[np.ndarray, "h w 3"]


class Export:
    """A file of clips, written step by step.

    Args:
        model: The model that samples them.
        picture: The poked picture.
        asked: The question.
        start: The picture at the start of its chain, if that is another.
        limits: Limits of frames and files.
    """

    def __init__(
        self, model: PokeModel, picture: Picture, asked: ExportQuestion, start: Picture | None, limits: Limits
    ) -> None:
        self._model, self._picture, self._asked, self._start = model, picture, asked, start
        self._limits, self._pokes = limits, asked.request().pokes
        self._frames = 1 + (asked.frames or model.frames)

    def steps(self, kind: str, opened: OpenPicture, clips: list[Samples]) -> Steps:
        """Yield the file's bytes, part by part.

        Raises:
            Problem: The file would be too large, or the model predicts no motion to write as tracks.
        """
        session = session_of(self._model, self._picture, self._asked, self._start)
        if kind == "tracks":
            motion = opened.predict_tracks(clips[0]).cpu().numpy()[0] if self._model.predicts_motion else None
            size = self._picture.image.shape[:2]
            whole = yield Background(
                lambda: tracks_of(motion, size, opened.still.px_per_model_px, session(), self._pokes)
            )
            yield from parts_of(whole)
            return
        payload = yield Background(lambda: session().model_dump_json().encode())
        make: dict[str, Callable[[OpenPicture, list[Samples], bytes], Steps]] = {
            "frames": self._zip,
            "png": self._strip,
        }
        if kind in make:
            yield from make[kind](opened, clips, payload)
        else:
            yield from self._played(kind, opened, clips, payload)

    def _zip(self, opened: OpenPicture, clips: list[Samples], payload: bytes) -> Steps:
        archive = Zip()
        yield archive.add("session.json", payload)
        for sample, clip in enumerate(clips):
            for frame in range(self._frames):
                image = shown(opened, clip, frame)
                yield None
                name = f"sample-{sample + 1}/frame-{frame:03d}.png"
                yield (yield Background(lambda name=name, image=image: archive.add(name, png(image))))
        yield archive.close()

    def _strip(self, opened: OpenPicture, clips: list[Samples], payload: bytes) -> Steps:
        chosen, file = strip_frames(self._frames), None
        for clip in clips:
            frames = []
            for frame in chosen:
                frames.append(shown(opened, clip, frame))
                yield None
            row = film_row(np.stack(frames), self._pokes)
            if file is None:
                gap = gap_below(row)
                file = Rows(len(clips) * (len(row) + len(gap)) - len(gap), row.shape[1], payload)
            else:
                yield file.add(gap)
            for first in range(0, len(row), PNG_ROWS):
                yield (yield Background(lambda rows=row[first : first + PNG_ROWS], file=file: file.add(rows)))
        if file is not None:
            yield file.close()

    def _played(self, kind: str, opened: OpenPicture, clips: list[Samples], payload: bytes) -> Steps:
        held = (HELD_FIRST, HELD_LAST) if len(clips) > 1 else (0, 0)
        last, encoder = self._frames - 1, None
        palette = None
        if kind == "gif":
            chosen = []
            for frame in sorted({0, last // 2, last}):
                chosen += [(yield from self._side_by_side(opened, clips, frame))]
            palette = yield Background(lambda: palette_of(chosen))
        try:
            for frame in range(self._frames):
                image = yield from self._side_by_side(opened, clips, frame)
                encoder = encoder or self._encoder(kind, *image.shape[:2], palette)
                for _ in range(1 + held[0] * (frame == 0) + held[1] * (frame == last)):
                    yield (yield Background(lambda image=image, encoder=encoder: encoder.add(image))) or None
            if encoder is not None:
                yield from parts_of((yield Background(lambda encoder=encoder: encoder.close(payload))))
        finally:
            if encoder is not None:
                encoder.drop()

    def _encoder(self, kind: str, height: int, width: int, palette: Any) -> Encoder:
        if kind == "gif":
            return Gif(height, width, palette)
        largest = self._limits.file_bytes
        return Mp4(height, width, largest) if kind == "mp4" else Animation(kind, height, width, largest)

    def _side_by_side(self, opened: OpenPicture, clips: list[Samples], frame: int) -> Generator[None, Any, Frame]:
        """Set samples beside the picture with its arrows, or show the only sample; one step each."""
        if len(clips) == 1:
            yield None
            return shown(opened, clips[0], frame)
        panels = []
        for clip in clips:
            panels.append(shown(opened, clip, frame))
            yield None
        height, width = panels[0].shape[:2]
        factor, columns = enlargement(height, width), min(COLUMNS, len(clips) + 1)
        panels = [draw_pokes(enlarged(self._first_frame(opened, clips)[None], factor)[0], self._pokes, factor)] + [
            enlarged(panel[None], factor)[0] for panel in panels
        ]
        rows = math.ceil(len(panels) / columns)
        scale = (self._limits.frame_pixels / (columns * rows * height * width * factor**2)) ** 0.5
        if scale < 1:
            size = max(8, int(width * factor * scale)), max(8, int(height * factor * scale))
            panels = [cv2.resize(panel, size, interpolation=cv2.INTER_AREA) for panel in panels]
        return side_by_side(panels, columns)

    def _first_frame(self, opened: OpenPicture, clips: list[Samples]) -> Frame:
        return shown(opened, clips[0], 0)


def shown(opened: OpenPicture, clip: Samples, frame: int) -> Frame:
    """Show one frame of one clip; frame 0 is the picture."""
    both = opened.show(clip, [max(0, frame - 1)])[0]
    return both[-1] if frame else both[0]


def parts_of(whole: bytes) -> Iterator[bytes]:
    """Cut bytes into parts that a slow reader can take one by one."""
    return (whole[start : start + PART] for start in range(0, len(whole), PART))
