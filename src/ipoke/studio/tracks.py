"""Tracks of points of a picture, in the form that track-conditioned video models read."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from ipoke.data.poke import Poke
from ipoke.studio.problem import Problem
from ipoke.studio.sessions import StudioSession
from ipoke.studio.writing import written

EVERY_PX = 4
"""Distance between followed points, px of the model; poked points come first."""


def tracks_of(
    motion: Float32[np.ndarray, "t 2 s s"] | None,
    size: tuple[int, int],
    px_per_model_px: float,
    session: StudioSession,
    pokes: Sequence[Poke],
) -> bytes:
    """Write tracks of poked points and of a grid as JSON, with the session in it.

    Args:
        motion: Predicted displacement of the pixels of the model's still in every frame after it, px of the model.
        size: Height and width of the picture, px.
        px_per_model_px: Length of one of the model's in px of the picture.
        session: What is embedded.
        pokes: Their points come first.

    Raises:
        Problem: The model does not predict motion.
    """
    if motion is None:
        raise Problem(400, "tracks: this model does not predict where pixels go; keep frames instead")
    height, width = size
    side = motion.shape[-1]
    offset = np.array([(max(height, width) - width) // 2, (max(height, width) - height) // 2])
    starts = [((np.array([p.x, p.y]) + offset) / px_per_model_px).round().astype(int) for p in pokes]
    middle = EVERY_PX // 2
    starts += [np.array([x, y]) for y in range(middle, side, EVERY_PX) for x in range(middle, side, EVERY_PX)]
    tracks = []
    for start in starts:
        x, y = start.clip(0, side - 1)
        path = np.concatenate([np.zeros((1, 2)), motion[:, :, y, x]])
        points = (np.array([x, y]) + path) * px_per_model_px - offset
        seen = (points >= -0.5).all(1) & (points < [width - 0.5, height - 0.5]).all(1)
        tracks.append(
            [[round(float(px), 2), round(float(py), 2), int(v)] for (px, py), v in zip(points, seen, strict=True)]
        )
    table = {"format": "ipoke-tracks-1", "width": width, "height": height, "frames": 1 + len(motion), "tracks": tracks}
    return written({**table, "session": session.model_dump(mode="json")})
