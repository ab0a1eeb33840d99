"""Panels, text and colours of a figure, as pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from ipoke.data.optical_flow import to_colour
from ipoke.data.poke import Poke
from ipoke.sampling.render import LEAST_SIDE, draw_pokes, draw_targets, enlarged, film_strip

INK = (40, 40, 40)
FOUND = (0, 114, 178)
"""Colour of measured points; targets have `ipoke.sampling.render.ARROW`."""
TEXT_PX = 15
"""Height of text."""
MARGIN = 12
"""Space between and around panels, px."""
ARROW_EVERY, ARROW_LEAST = 8, 1.0
"""Spacing of the arrows on an optical-flow map, and the least displacement with an arrow, px of the clip."""
COLUMNS = 6
"""Frames of a film strip."""


def words(text: str, width: int, height: int, *, size: int = TEXT_PX, left: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """Write text of one or more lines on a white panel, centred or at its left."""
    panel = Image.new("RGB", (width, height), "white")
    place, anchor = ((0, height / 2), "lm") if left else ((width / 2, height / 2), "mm")
    font = ImageFont.load_default(size)
    ImageDraw.Draw(panel).multiline_text(place, text, INK, font, anchor, spacing=3, align="left" if left else "center")
    return np.array(panel)


def beside(parts: Sequence[UInt8[np.ndarray, "_ _ 3"]], gap: int = MARGIN) -> UInt8[np.ndarray, "h w 3"]:
    """Place panels side by side on white, tops aligned."""
    height, width = max(part.shape[0] for part in parts), sum(part.shape[1] + gap for part in parts) - gap
    sheet, left = np.full((height, width, 3), 255, np.uint8), 0
    for part in parts:
        sheet[: part.shape[0], left : left + part.shape[1]] = part
        left += part.shape[1] + gap
    return sheet


def below(parts: Sequence[UInt8[np.ndarray, "_ _ 3"]], gap: int = MARGIN) -> UInt8[np.ndarray, "h w 3"]:
    """Place panels below each other on white, left sides aligned."""
    return beside([part.transpose(1, 0, 2) for part in parts], gap).transpose(1, 0, 2)


def framed(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Add a white margin around a figure."""
    return np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)


def panel_factor(size: int) -> int:
    """Choose the integer factor that enlarges the panels of a strip."""
    return max(1, round(LEAST_SIDE / 2 / size))


def strip(
    clip: UInt8[np.ndarray, "t s s 3"], pokes: Sequence[Poke]
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h2 w 3"]]:
    """Lay out a clip in time; return the row of frames, and a row of frame numbers to place above it."""
    shown = np.unique(np.linspace(0, len(clip) - 1, min(COLUMNS, len(clip))).round().astype(int))
    row = film_strip(clip[None, shown], pokes, columns=len(shown))
    side = row.shape[0]
    gap = (row.shape[1] - len(shown) * side) // max(1, len(shown) - 1)
    return row, beside([words(f"frame {number}", side, 22) for number in shown], gap)


def first_panel(frame: UInt8[np.ndarray, "s s 3"], pokes: Sequence[Poke]) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a still, enlarged, with the arrows of its pokes."""
    factor = panel_factor(len(frame))
    return draw_pokes(enlarged(frame[None], factor)[0], pokes, factor)


def last_panel(frame: UInt8[np.ndarray, "s s 3"], pokes: Sequence[Poke]) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a last frame, enlarged, with a dot at the target of each poke."""
    factor = panel_factor(len(frame))
    return draw_targets(enlarged(frame[None], factor)[0], pokes, factor)


def largest_length(fields: Sequence[Float32[np.ndarray, "2 s s"]]) -> float:
    """Choose one scale for several optical-flow maps: their 99.5th percentile, whole px."""
    lengths = np.stack([np.hypot(field[0], field[1]) for field in fields])
    return float(max(1, np.ceil(np.percentile(lengths, 99.5))))


def displacement_panel(field: Float32[np.ndarray, "2 s s"], largest: float) -> UInt8[np.ndarray, "h w 3"]:
    """Draw an optical-flow map in colours, with arrows to scale, so that it reads without colours too."""
    size = field.shape[1]
    factor = panel_factor(size)
    colours = cv2.resize(to_colour(field, largest), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    for y in range(ARROW_EVERY // 2, size, ARROW_EVERY):
        for x in range(ARROW_EVERY // 2, size, ARROW_EVERY):
            dx, dy = field[:, y, x].tolist()
            if np.hypot(dx, dy) >= ARROW_LEAST:
                shown = Poke(x, y, dx, dy).scaled(factor)
                start, end = ((round(at[0]), round(at[1])) for at in ((shown.x, shown.y), shown.target))
                cv2.arrowedLine(colours, start, end, INK, 1, cv2.LINE_AA, tipLength=0.3)
    return cv2.copyMakeBorder(colours[1:-1, 1:-1], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(200, 200, 200))


def legend(largest: float, side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the legend of optical-flow maps: a colour wheel whose rim is the largest length."""
    radius = side // 2 - 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    wheel = to_colour(np.stack([x, y]), radius)
    inside = np.hypot(x, y) <= radius
    wheel[~inside] = 255
    cv2.circle(wheel, (radius, radius), radius, (150, 150, 150), 1, cv2.LINE_AA)
    for angle in range(0, 360, 45):
        tip = (
            round(radius + 0.8 * radius * np.cos(np.radians(angle))),
            round(radius + 0.8 * radius * np.sin(np.radians(angle))),
        )
        cv2.arrowedLine(wheel, (radius, radius), tip, INK, 1, cv2.LINE_AA, tipLength=0.12)
    width = wheel.shape[1]
    return below([wheel, words(f"direction of the\ndisplacement; rim:\n{largest:g} px or more", width, 60, size=13)], 4)
