"""A part: a rigid piece of a figure with a painted cut-out, a mass and a springy joint to its parent.

Lengths are in scene units: the picture is 64 units wide and high, x right, y down, whatever its size in px. A part has
local coordinates with the origin at its joint and x along its length; angles turn x towards y.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, Float32

from ipoke.scenes.palette import Colour
from ipoke.scenes.textures import Texture

Outline = Float[np.ndarray, "_ 2"]
Point = tuple[float, float]

SIDE = 64.0
"""Width and height of a scene, units."""
PAINT_SCALE = 6
"""Resolution at which cut-outs are painted, px per unit; enough for three samples per px at 128 px."""
BLOCK = 12
"""Cut-outs are padded to multiples of this, so that they shrink without a remainder for sizes in steps of 32 px."""


@dataclass(frozen=True)
class Light:
    """Where light comes from and how warm it is; ``direction`` points from the scene to the lamp, unit length."""

    direction: tuple[float, float, float]
    gains: Float[np.ndarray, "3"]
    shadow: float
    """Darkness of cast shadows in [0, 1]."""


@dataclass(frozen=True)
class Sprite:
    """A painted cut-out: colour times coverage in 0..255, then coverage in [0, 1]; ``origin`` is the joint, units."""

    rgba: Float32[np.ndarray, "h w 4"]
    origin: Point


@dataclass(frozen=True)
class Part:
    """A rigid piece at rest; see the module for its coordinates."""

    name: str
    parent: int | None
    """Index of the part that it hangs on; none if it stands in the world."""
    base: Point
    """Place of its joint at rest, units."""
    angle: float
    """Direction at rest, radians."""
    length: float
    mass: float
    sprite: Sprite
    depth: float
    """Parts of larger depth are drawn later, nearer to the eye."""
    swing: float = 0.0
    """How far the joint turns easily, radians; 0 for what never moves."""
    frequency: float = 2.0
    """Natural frequency of the joint's spring under all that hangs on it, Hz."""
    damping: float = 0.4
    """Share of critical damping."""
    limits: tuple[float, float] | None = None
    """Least and largest turn of the joint from rest, radians."""
    limb: str = ""
    """Parts of one limb are bent together by hidden forces."""
    grip: float = 0.0
    """Largest force with which the part's tip sticks to the floor, as a multiple of the figure's weight."""

    @property
    def is_fixed(self) -> bool:
        """Whether nothing can move the part."""
        return self.parent is None and self.swing == 0

    def place(self, local: Point) -> Point:
        """Give the place of a local point at rest, units."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = local
        return float(self.base[0] + cos * x - sin * y), float(self.base[1] + sin * x + cos * y)


@dataclass
class Figure:
    """A plant or a puppet: its parts, parents before children, and named points on them."""

    kind: str
    parts: list[Part] = field(default_factory=list)
    keypoints: list[tuple[str, int, Point]] = field(default_factory=list)
    """Name, part and local place of each keypoint."""

    def add(self, part: Part) -> int:
        """Append a part and give its index."""
        self.parts.append(part)
        return len(self.parts) - 1

    def mark(self, name: str, part: int, local: Point) -> None:
        """Name a point of a part."""
        self.keypoints.append((name, part, local))

    def mean_colour(self) -> Colour:
        """Average the colour of all that is painted, sRGB in [0, 1]."""
        total = np.sum([part.sprite.rgba.sum((0, 1)) for part in self.parts], 0)
        return (total[:3] / (255 * total[3])).astype(np.float32)

    def rest_poses(self) -> Float[np.ndarray, "n 3"]:
        """Give x, y (units) and angle of every part at rest."""
        return np.array([(*part.base, part.angle) for part in self.parts], np.float64)


@dataclass(frozen=True)
class Cutout:
    """The coverage of a shape and the local place of each of its px, units."""

    coverage: Float32[np.ndarray, "h w"]
    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]
    origin: Point

    def pixels(self, outline: Outline) -> np.ndarray:
        """Turn local places into px with 4 fractional bits, as OpenCV draws them."""
        return np.round(((np.asarray(outline) + self.origin) * PAINT_SCALE - 0.5) * 16).astype(np.int32)

    def fill(self, outline: Outline) -> Float32[np.ndarray, "h w"]:
        """Give the coverage of another shape on the same grid, in [0, 1]."""
        canvas = np.zeros(self.coverage.shape, np.uint8)
        cv2.fillPoly(canvas, [self.pixels(outline)], 255, cv2.LINE_AA, 4)
        return canvas.astype(np.float32) / 255

    def stroke(self, lines: Sequence[Outline], width: float) -> Float32[np.ndarray, "h w"]:
        """Give the coverage of open lines, ``width`` in units."""
        canvas = np.zeros(self.coverage.shape, np.uint8)
        pixels = [self.pixels(line) for line in lines]
        cv2.polylines(canvas, pixels, False, 255, max(1, round(width * PAINT_SCALE)), cv2.LINE_AA, 4)
        return canvas.astype(np.float32) / 255


def cut_out(*outlines: Outline) -> Cutout:
    """Cut shapes out of a sheet; the shapes may overlap."""
    points = np.concatenate(outlines)
    low = np.floor(points.min(0) * PAINT_SCALE) - 2
    span = np.ceil(points.max(0) * PAINT_SCALE) + 2 - low
    width, height = (int(np.ceil(side / BLOCK)) * BLOCK for side in span)
    origin = (-low[0] / PAINT_SCALE, -low[1] / PAINT_SCALE)
    columns = (np.arange(width, dtype=np.float32) + 0.5) / PAINT_SCALE - np.float32(origin[0])
    rows = (np.arange(height, dtype=np.float32) + 0.5) / PAINT_SCALE - np.float32(origin[1])
    x, y = np.meshgrid(columns, rows)
    empty = Cutout(np.zeros((height, width), np.float32), x, y, origin)
    coverage = np.maximum.reduce([empty.fill(outline) for outline in outlines])
    return Cutout(coverage, x, y, origin)


def shade(shape: Cutout, light: Light, angle: float, roundness: float) -> Float[np.ndarray, "h w"]:
    """Light a cut-out as if it were puffed up; 1 is unshaded.

    Args:
        shape: What to light.
        light: The lamp.
        angle: Direction of the part at rest; light is painted on once and then moves with the part.
        roundness: How much it bulges: 0 flat, 1 like a sausage.
    """
    inside = (shape.coverage > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    reach = max(float(depth.max()), 1.0)
    height = np.sqrt(np.maximum(1 - (1 - depth / reach) ** 2, 0)) * reach * roundness
    height = cv2.GaussianBlur(height, (0, 0), max(1.0, reach * 0.18))
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    cos, sin = np.cos(angle), np.sin(angle)
    along = cos * light.direction[0] + sin * light.direction[1]
    across = -sin * light.direction[0] + cos * light.direction[1]
    facing = (light.direction[2] - slope_x * along - slope_y * across) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return 0.5 + 0.62 * np.maximum(facing, 0)


def paint(
    shape: Cutout,
    texture: Texture,
    light: Light,
    angle: float,
    roundness: float = 0.8,
    details: Callable[[Float[np.ndarray, "h w 3"], Cutout], Float[np.ndarray, "h w 3"]] | None = None,
) -> Sprite:
    """Paint a cut-out: texture, details drawn on it, then light."""
    rgb = np.ascontiguousarray(texture(shape.x, shape.y), dtype=np.float32)
    if details is not None:
        rgb = details(rgb, shape)
    rgb = np.clip(rgb * shade(shape, light, angle, roundness)[..., None] * light.gains, 0, 1)
    rgba = np.dstack([rgb * shape.coverage[..., None] * 255, shape.coverage]).astype(np.float32)
    return Sprite(rgba, shape.origin)


def over(
    rgb: Float[np.ndarray, "h w 3"], colour: Float[np.ndarray, "3"], coverage: Float32[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Lay a colour over a picture where it covers."""
    return rgb + coverage[..., None] * (colour - rgb)


def ellipse(centre: Point, radii: Point, turn: float = 0.0) -> Outline:
    """Outline an ellipse."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x, y = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y], 1)


def disc(centre: Point, radius: float) -> Outline:
    """Outline a disc."""
    return ellipse(centre, (radius, radius))


def capsule(length: float, start: float, end: float) -> Outline:
    """Outline a limb along x with round ends; ``start`` and ``end`` are its widths."""
    half = np.linspace(-np.pi / 2, np.pi / 2, 12)
    tip = np.stack([length + end / 2 * np.cos(half), end / 2 * np.sin(half)], 1)
    root = np.stack([-start / 2 * np.cos(half), -start / 2 * np.sin(half)], 1)
    return np.concatenate([tip, root])


def mirrored(along: Float[np.ndarray, " n"], half: Float[np.ndarray, " n"]) -> Float[np.ndarray, "2*n 2"]:
    """Outline a shape that is symmetric about x from its half-widths."""
    upper = np.stack([along, -half], 1)
    return np.concatenate([upper, np.stack([along, half], 1)[::-1]])
