"""Training augmentation: one draw per clip, the same for every frame, with the optical flow following the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from ipoke.core.sections import AugmentSettings


@dataclass(frozen=True)
class Colour:
    """Factors of brightness, contrast and saturation (1 changes nothing) and the hue shift in turns."""

    brightness: float
    contrast: float
    hue: float
    saturation: float


@dataclass(frozen=True)
class Geometry:
    """Mirror, zoom and rotate about the centre of a square of ``size`` px, then shift; borders are reflected.

    ``rotates_vectors`` off leaves the vectors of the optical flow as the original did: neither rotated with the image
    nor mirrored in its reflected border.
    """

    size: int
    flipped: bool
    scale: float
    angle_deg: float
    shift: tuple[int, int]
    nearest: bool
    rotates_vectors: bool

    def linear(self, angle_deg: float) -> Float64[np.ndarray, "2 2"]:
        """Give the matrix that takes offsets from the centre to where they go, with this angle (clockwise)."""
        cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
        turned = self.scale * np.array([[cosine, -sine], [sine, cosine]])
        return turned * (-1, 1) if self.flipped else turned

    @property
    def matrix(self) -> Float64[np.ndarray, "2 3"]:
        """The affine map from old to new pixel coordinates."""
        centre = np.full(2, (self.size - 1) / 2)
        linear = self.linear(self.angle_deg)
        return np.column_stack((linear, centre + self.shift - linear @ centre))


@dataclass(frozen=True)
class Augmentation:
    """What happens to one clip; a part that is None leaves it alone."""

    colour: Colour | None
    geometry: Geometry | None


def draw(settings: AugmentSettings, rng: np.random.Generator, size: int) -> Augmentation:
    """Draw an augmentation for a clip of ``size`` px.

    Colour and geometry (zoom, rotation, whole-pixel shift) each happen as a block with their probability; mirroring has
    its own. Numbers are drawn uniformly from the ranges of the settings.
    """
    colour = geometry = None
    if rng.random() < settings.colour_probability:
        colour = Colour(
            brightness=1 + rng.uniform(-settings.brightness, settings.brightness),
            contrast=1 + rng.uniform(-settings.contrast, settings.contrast),
            hue=rng.uniform(*settings.hue),
            saturation=1 + rng.uniform(-settings.saturation, settings.saturation),
        )
    moves = rng.random() < settings.geometry_probability
    flipped = bool(rng.random() < settings.flip_probability)
    if moves or flipped:
        reach = int(settings.translate * size)
        x, y = rng.integers(-reach, reach, size=2, endpoint=True)
        angle_deg = rng.uniform(-settings.rotate_deg, settings.rotate_deg)
        scale = rng.uniform(*settings.scale)
        geometry = Geometry(
            size=size,
            flipped=flipped,
            scale=float(scale) if moves else 1.0,
            angle_deg=float(angle_deg) if moves else 0.0,
            shift=(int(x), int(y)) if moves else (0, 0),
            nearest=settings.interpolation == "nearest",
            rotates_vectors=settings.rotate_vectors,
        )
    return Augmentation(colour, geometry)


def apply(
    augmentation: Augmentation, frames: UInt8[np.ndarray, "t h w 3"], optical_flow: Float32[np.ndarray, "2 h w"]
) -> tuple[UInt8[np.ndarray, "t h w 3"], Float32[np.ndarray, "2 h w"]]:
    """Augment the frames of a clip and the optical flow that belongs to them."""
    if augmentation.colour is not None:
        frames = adjust_colour(augmentation.colour, frames)
    if augmentation.geometry is not None:
        frames = move_frames(augmentation.geometry, frames)
        optical_flow = move_optical_flow(augmentation.geometry, optical_flow)
    return frames, optical_flow


def adjust_colour(colour: Colour, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Change brightness, contrast, hue and saturation, in this order.

    The contrast pivots on the mean grey of the first frame, so that a thing keeps its colour as it moves. Differs from
    the original, whose pivot was the mean of each frame.
    """
    count, height, width, _ = frames.shape
    levels = np.arange(256, dtype=np.float32)
    bright = np.clip(levels * colour.brightness, 0, 255)
    pivot = float(cv2.cvtColor(cv2.LUT(frames[0], bright.astype(np.uint8)), cv2.COLOR_RGB2GRAY).mean())
    table = np.clip(np.round(pivot + colour.contrast * (bright - pivot)), 0, 255).astype(np.uint8)
    pixels = cv2.LUT(frames.reshape(count * height, width, 3), table)
    turn = round(colour.hue * 256) % 256
    if turn:
        hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(turn)
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    luma = np.array([0.299, 0.587, 0.114])
    mix = colour.saturation * np.eye(3) + (1 - colour.saturation) * luma
    return cv2.transform(pixels, mix).reshape(frames.shape)


def move_frames(geometry: Geometry, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Mirror, zoom, rotate and shift every frame in one resampling."""
    moved = np.empty_like(frames)
    matrix = geometry.matrix
    for frame, target in zip(frames, moved, strict=True):
        _resample(frame, matrix, geometry.nearest, target)
    return moved


def move_optical_flow(geometry: Geometry, optical_flow: Float32[np.ndarray, "2 h w"]) -> Float32[np.ndarray, "2 h w"]:
    """Resample the field with the image and turn its vectors with it.

    A border that mirrors the image mirrors what moves in it, so vectors are mirrored there as well.
    """
    moved = np.empty((*optical_flow.shape[1:], 2), np.float32)
    field = np.ascontiguousarray(optical_flow.transpose(1, 2, 0))
    _resample(field, geometry.matrix, geometry.nearest, moved)
    if geometry.rotates_vectors:
        moved[_mirrored(geometry)] *= -1
        linear = geometry.linear(geometry.angle_deg)
    else:
        linear = geometry.linear(0.0)
    return np.ascontiguousarray((moved @ linear.T.astype(np.float32)).transpose(2, 0, 1))


def _resample(image: np.ndarray, matrix: Float64[np.ndarray, "2 3"], nearest: bool, target: np.ndarray) -> None:
    """Move an image into ``target`` in place; numpy arrays of any number of channels up to four."""
    cv2.warpAffine(
        image,
        matrix,
        target.shape[1::-1],
        dst=target,
        flags=cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _mirrored(geometry: Geometry) -> Bool[np.ndarray, "h w 2"]:
    """Tell per pixel and axis whether it shows a mirror image: an odd number of reflections from the old image."""
    rows, columns = np.mgrid[: geometry.size, : geometry.size]
    matrix = geometry.matrix
    old = (np.stack((columns, rows), axis=-1) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    # Pixels that fall exactly on the border are the border itself.
    return np.floor(old / (geometry.size - 1) - 1e-9).astype(np.int64) % 2 == 1
