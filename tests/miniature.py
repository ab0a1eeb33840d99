"""Trees of tiny videos, no two alike, laid out as data sets are."""

import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ipoke.data.codec import encode_mp4

HEIGHT, WIDTH = 32, 48


def glide(name: str, count: int, px: float = 1.0) -> np.ndarray:
    """A camera that glides over a texture that is this name's own, by ``px`` to the right a frame."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, (HEIGHT, WIDTH + 100, 3), dtype=np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), np.empty_like(noise), 20, 235, cv2.NORM_MINMAX)
    return np.stack([image[:, round(px * k) : round(px * k) + WIDTH] for k in range(count)])


def film(root: Path, name: str, count: int = 20, fps: float = 25.0, px: float = 1.0) -> np.ndarray:
    """Write a film into a tree and give its frames; a name without an ending becomes a folder of frames."""
    frames, path = glide(name, count, px), root / name
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mp4(frames, fps, crf=4))
    else:
        path.mkdir(parents=True)
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"frame_{number}.png")
    return frames


def squeezed(frames: np.ndarray, side: int) -> np.ndarray:
    return np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames])
