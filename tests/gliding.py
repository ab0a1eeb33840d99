"""Small videos of a camera that glides over a texture, and what to make of them."""

from typing import Any

import cv2
import numpy as np

from ipoke.data.codec import encode_mp4

SMALL: dict[str, Any] = {"size": 32, "frames": 3, "stride": 2}
WINDOW = 6


def texture(seed, side=120):
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), np.empty_like(noise), 20, 235, cv2.NORM_MINMAX)


def moving(count, seed=0, height=48, width=64):
    """A camera that glides over a texture: a pixel to the right a frame, and half a pixel down."""
    image = texture(seed, side=max(height, width) + count)
    return np.stack([image[index // 2 : index // 2 + height, index : index + width] for index in range(count)])


def still(count, seed=0, height=48, width=64):
    return np.repeat(moving(1, seed, height, width), count, axis=0)


def save(path, frames, fps=25.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mp4(frames, fps, crf=4))
    return path


def index_rows(folder):
    return (folder / "index.jsonl").read_bytes().splitlines()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
