"""Draw clips: arrows, target dots, film strips, grids, heat maps."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ipoke.data.poke import Poke

ARROW = (230, 57, 70)
TARGET = (230, 57, 70)
PIN = (29, 53, 87)
OUTLINE = (255, 255, 255)
GAP = (255, 255, 255)
HELD_FIRST, HELD_LAST = 3, 4
"""How many more times a grid shows its first and its last frame."""
LEAST_SIDE = 256
"""Small clips are shown enlarged to about this many px."""


def enlargement(height: int, width: int) -> int:
    """Choose the whole factor by which small pictures are shown enlarged."""
    return max(1, round(LEAST_SIDE / max(height, width)))


def enlarged(frames: UInt8[np.ndarray, "t h w 3"], factor: int) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """Enlarge frames by a whole factor, smoothly."""
    if factor == 1:
        return frames
    return np.stack([cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) for frame in frames])


def draw_pokes(image: UInt8[np.ndarray, "h w 3"], pokes: Sequence[Poke], factor: int = 1) -> UInt8[np.ndarray, "h w 3"]:
    """Draw an arrow per poke and a ring per pin on a picture that is shown ``factor`` times enlarged."""
    drawn = image.copy()
    thick = max(1, round(max(image.shape[:2]) / 128))
    for poke in pokes:
        shown = poke.scaled(factor)
        start = _point(shown.x, shown.y)
        if poke.is_pin:
            cv2.circle(drawn, start, 3 * thick, OUTLINE, 2 * thick, cv2.LINE_AA)
            cv2.circle(drawn, start, 3 * thick, PIN, thick, cv2.LINE_AA)
            continue
        end = _point(*shown.target)
        tip = 3.5 * thick / max(1.0, float(np.hypot(shown.dx, shown.dy)))
        cv2.arrowedLine(drawn, start, end, OUTLINE, 3 * thick, cv2.LINE_AA, tipLength=min(0.6, 2 * tip))
        cv2.arrowedLine(drawn, start, end, ARROW, thick, cv2.LINE_AA, tipLength=min(0.6, 2 * tip))
    return drawn


def draw_targets(
    image: UInt8[np.ndarray, "h w 3"], pokes: Sequence[Poke], factor: int = 1
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a dot at the target of each poke."""
    drawn = image.copy()
    radius = max(1, round(max(image.shape[:2]) / 64))
    for poke in pokes:
        centre = _point(*poke.scaled(factor).target)
        cv2.circle(drawn, centre, radius + max(1, radius // 2), OUTLINE, -1, cv2.LINE_AA)
        cv2.circle(drawn, centre, radius, PIN if poke.is_pin else TARGET, -1, cv2.LINE_AA)
    return drawn


def film_strip(
    clips: UInt8[np.ndarray, "n t h w 3"], pokes: Sequence[Poke], *, columns: int = 6
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Lay samples out as rows of frames in time: arrows on the first frame, target dots on the last."""
    chosen = strip_frames(clips.shape[1], columns)
    return _joined([film_row(clip[chosen], pokes) for clip in clips], axis=0)


def strip_frames(frames: int, columns: int = 6) -> list[int]:
    """Choose the frames of a film strip, evenly in time."""
    return np.unique(np.linspace(0, frames - 1, min(columns, frames)).round().astype(int)).tolist()


def film_row(frames: UInt8[np.ndarray, "t h w 3"], pokes: Sequence[Poke]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Lay frames of one sample out as a row of a film strip."""
    factor = max(1, round(LEAST_SIDE / 2 / max(frames.shape[1:3])))
    shown = list(enlarged(frames, factor))
    shown[0] = draw_pokes(shown[0], pokes, factor)
    shown[-1] = draw_targets(shown[-1], pokes, factor)
    return _joined(shown, axis=1)


def gap_below(row: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "g w 3"]:
    """Return the narrow gap between two rows."""
    return np.broadcast_to(np.array(GAP, np.uint8), (_gap(row.shape[0]), *row.shape[1:]))


def grid(
    clips: UInt8[np.ndarray, "n t h w 3"], pokes: Sequence[Poke], *, columns: int | None = None
) -> UInt8[np.ndarray, "t2 h2 w2 3"]:
    """Set samples side by side, frame by frame, the poked picture first; the first and last frames repeat.

    The first panel shows the picture with its arrows all the time.
    """
    samples, frames, height, width = clips.shape[:4]
    factor = enlargement(height, width)
    columns = columns or min(3, samples + 1)
    asked = draw_pokes(enlarged(clips[0, :1], factor)[0], pokes, factor)
    panels = [np.broadcast_to(asked, (frames, *asked.shape)), *(enlarged(clip, factor) for clip in clips)]
    played = [side_by_side([panel[frame] for panel in panels], columns) for frame in range(frames)]
    return np.stack([played[0]] * HELD_FIRST + played + [played[-1]] * HELD_LAST)


def side_by_side(panels: Sequence[UInt8[np.ndarray, "h w 3"]], columns: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Set pictures of one size in rows of ``columns``; the rest of the last row is white."""
    blank = np.full_like(panels[0], 255)
    panels = [*panels, *[blank] * (-len(panels) % columns)]
    rows = [_joined(panels[start : start + columns], axis=1) for start in range(0, len(panels), columns)]
    return _joined(rows, axis=0)


def _joined(parts: list[UInt8[np.ndarray, "h w 3"]], axis: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Set pictures side by side (axis 1) or below each other (axis 0) with a narrow gap."""
    shape = list(parts[0].shape)
    shape[axis] = _gap(shape[axis])
    spacer = np.broadcast_to(np.array(GAP, np.uint8), shape)
    spaced = [parts[0]]
    for part in parts[1:]:
        spaced += [spacer, part]
    return np.concatenate(spaced, axis)


def _gap(side: int) -> int:
    return max(2, side // 64)


def _point(x: float, y: float) -> tuple[int, int]:
    return round(x), round(y)


def heat_map(
    image: UInt8[np.ndarray, "h w 3"], values: Float[np.ndarray, "s s"], at: tuple[float, float]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Overlay a picture with values in [0, 1] of the square that holds it, and mark the place ``at``."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = cv2.resize(values.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    top, left = (side - height) // 2, (side - width) // 2
    levels = (square[top : top + height, left : left + width].clip(0, 1) * 255).round().astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    blended = cv2.addWeighted(image, 0.35, colours, 0.65, 0)
    factor = enlargement(height, width)
    return draw_pokes(enlarged(blended[None], factor)[0], [Poke(*at, 0, 0)], factor)
