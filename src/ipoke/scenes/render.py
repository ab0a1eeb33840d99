"""Draw a figure in a given pose: parts, soft shadows, background, and which part is on top at each px."""

import math

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from ipoke.scenes.backgrounds import Background
from ipoke.scenes.parts import PAINT_SCALE, SIDE, Figure, Light

SAMPLES = 3
"""Samples per px and axis; odd, so that one of them is the centre of the px."""


class Renderer:
    """Draws one figure before one background at one size."""

    def __init__(self, figure: Figure, background: Background, light: Light, size: int) -> None:
        self.size = size
        self.light = light
        self.scale = SAMPLES * size / SIDE
        self.background = background
        self.wall = background.at_size(size)
        shrink = self.scale / PAINT_SCALE
        self.sprites = [
            cv2.resize(part.sprite.rgba, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            if shrink != 1
            else part.sprite.rgba
            for part in figure.parts
        ]
        self.origins = [part.sprite.origin for part in figure.parts]
        self.order = sorted(range(len(figure.parts)), key=lambda index: figure.parts[index].depth)
        rows = (np.arange(size, dtype=np.float32)[:, None] + 0.5) * SIDE / size
        self.on_wall = np.clip((background.floor - rows) / 1.5 + 0.5, 0, 1)

    def draw(self, poses: Float[np.ndarray, "n 3"]) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """Give the picture and, at the centre of each px, the number of the topmost part (0 for none)."""
        side = SAMPLES * self.size
        layer = np.zeros((side, side, 4), np.float32)
        owner = np.zeros((self.size, self.size), np.uint8)
        for index in self.order:
            self._place(index, poses[index], layer, owner)
        layer = cv2.resize(layer, (self.size, self.size), interpolation=cv2.INTER_AREA)
        coverage = layer[..., 3]
        lit = self.wall * (1 - self.light.shadow * self._shadow(coverage))[..., None]
        picture = lit * (1 - coverage)[..., None] + layer[..., :3]
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8), owner

    def _place(
        self,
        index: int,
        pose: Float[np.ndarray, "3"],
        layer: Float32[np.ndarray, "h2 w2 4"],
        owner: UInt8[np.ndarray, "h w"],
    ) -> None:
        """Lay one part over the layer, and put its number where it covers the centre of a px."""
        sprite, (x0, y0) = self.sprites[index], self.origins[index]
        cos, sin = math.cos(pose[2]), math.sin(pose[2])
        # The centre of sprite px (0, 0) in local units, then on the canvas; then the corners around all its px.
        x, y = 0.5 / self.scale - x0, 0.5 / self.scale - y0
        across = self.scale * (pose[0] + cos * x - sin * y) - 0.5
        down = self.scale * (pose[1] + sin * x + cos * y) - 0.5
        height, width = sprite.shape[:2]
        wide, high = (min(0, width * cos), max(0, width * cos)), (min(0, width * sin), max(0, width * sin))
        wide = wide[0] + min(0, -height * sin), wide[1] + max(0, -height * sin)
        high = high[0] + min(0, height * cos), high[1] + max(0, height * cos)
        side = layer.shape[0]
        # Windows start at whole px of the picture, so that px centres lie at the same place in each.
        left = max(0, math.floor((across + wide[0] - 1) / SAMPLES) * SAMPLES)
        top = max(0, math.floor((down + high[0] - 1) / SAMPLES) * SAMPLES)
        right = min(side, math.ceil((across + wide[1] + 1) / SAMPLES) * SAMPLES)
        bottom = min(side, math.ceil((down + high[1] + 1) / SAMPLES) * SAMPLES)
        if left >= right or top >= bottom:
            return
        matrix = np.array([[cos, -sin, across - left], [sin, cos, down - top]])
        warped = cv2.warpAffine(sprite, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        coverage = cv2.extractChannel(warped, 3)
        keep = np.float32(1) - coverage
        window = layer[top:bottom, left:right]
        cv2.multiply(window, cv2.merge([keep, keep, keep, keep]), dst=window)
        cv2.add(window, warped, dst=window)
        centre = SAMPLES // 2
        np.putmask(
            owner[top // SAMPLES : bottom // SAMPLES, left // SAMPLES : right // SAMPLES],
            coverage[centre::SAMPLES, centre::SAMPLES] > 0.5,
            index + 1,
        )

    def _shadow(self, coverage: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """Cast the figure's shadow on the wall behind it and on the floor."""
        unit = self.size / SIDE
        across, up, _ = self.light.direction
        size = (self.size, self.size)
        behind = np.array([[1, 0, -across * 9 * unit], [0, 1, -up * 5 * unit]])
        wall = cv2.GaussianBlur(cv2.warpAffine(coverage, behind, size), (0, 0), 1.6 * unit)
        ground = self.background.ground * unit - 0.5
        lean, flat = 0.9 * across, 0.22
        lying = np.array([[1, lean, -lean * ground], [0, flat, ground * (1 - flat)]])
        floor = cv2.GaussianBlur(cv2.warpAffine(coverage, lying, size), (0, 0), 0.9 * unit)
        return self.on_wall * wall * self.background.wall_shadow + (1 - self.on_wall) * floor
