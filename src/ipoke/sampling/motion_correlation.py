"""Motion correlation: which places of a still move together in the model's clips. Paper: Sec. 4.2 and Fig. 7.

One place is dragged in random directions; for each drag one clip is sampled, and the displacement of every pixel up to
the last frame taken. It has two sources:

- `measured_displacements`: optical flow of decoded frames, as in the paper. It works with every decoder, and judges
  what is seen. `PokeModel.motion_correlation` and ``ipoke correlation`` use it.
- `predicted_displacements`: the motion that a decoder predicts. It takes no decoding and no optical flow, a tenth of
  the time, so the studio uses it where the decoder predicts motion.

`correlation_map` turns either into the map.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from ipoke.core.pixels import frames_from_clip
from ipoke.data.optical_flow import estimate_with_dis
from ipoke.data.poke import Poke
from ipoke.engine.ranges import in_ranges
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Residual

DRAGS = 128
"""Drags of a map: 2 s on one core with the bundled model. On the bundled still the map then differs from an
independent one of 1,000 drags by 0.01 on average, and two of 1,000 drags from each other by 0.003."""
BATCH = 32
"""Clips that are sampled in one call."""
SHORTEST, LONGEST = 0.1, 0.2
"""Lengths of drags, in parts of the side."""
LEAST_VARIANCE_PX2 = 0.01
"""A dragged place that varies less did not follow; then nothing correlates with it."""


def random_drags(count: int, size: int, seed: int) -> Float32[np.ndarray, "n 2"]:
    """Draw drags in all directions, of 0.1 to 0.2 of the side, px; the first ones do not depend on ``count``."""
    rng = np.random.default_rng(seed)
    angle, length = (rng.random((count, 2)) * [2 * math.pi, LONGEST - SHORTEST] + [0, SHORTEST]).T
    return (np.stack([np.cos(angle), np.sin(angle)], 1) * length[:, None] * size).astype(np.float32)


def drag_requests(
    picture: OpenPicture, at: tuple[float, float], drags: Float32[np.ndarray, "n 2"], residuals: Sequence[Residual]
) -> list[SampleRequest]:
    """Request one clip per drag of a place, unguided.

    Args:
        picture: What is dragged.
        at: The place (x, y), px of the model.
        drags: (dx, dy) each, px of the model.
        residuals: One per drag.
    """
    return [
        SampleRequest((picture.still.from_model(Poke(*at, *map(float, drag))),), (residual,), guidance=False)
        for drag, residual in zip(drags, residuals, strict=True)
    ]


def measured_displacements(picture: OpenPicture, requests: Sequence[SampleRequest]) -> Float32[np.ndarray, "n 2 s s"]:
    """Measure the optical flow from the still to the last frame of each clip, px of the model."""
    still = frames_from_clip(picture.still.source)[0]
    fields = np.empty((len(requests), 2, *still.shape[:2]), np.float32)
    for start in range(0, len(requests), BATCH):
        lasts = frames_from_clip(picture.last_frames(requests[start : start + BATCH]).clamp(-1, 1))

        def measure(first: int, count: int, start: int = start, lasts: np.ndarray = lasts) -> None:
            for index in range(first, first + count):
                fields[start + index] = estimate_with_dis(still, lasts[index])

        in_ranges(len(lasts), measure)
    return fields


def predicted_displacements(picture: OpenPicture, requests: Sequence[SampleRequest]) -> Float32[np.ndarray, "n 2 s s"]:
    """Predict the motion from the still to the last frame of each clip, px of the model.

    Raises:
        ValueError: The decoder does not predict motion.
    """
    return np.concatenate([picture.predict_motion(picture.draw(request)).cpu().numpy() for request in requests])


def correlation_map(
    displacements: Float32[np.ndarray, "n 2 s s"], at: tuple[float, float]
) -> Float32[np.ndarray, "s s"]:
    """Map how closely the motion of each place follows that of one.

    The map is 1 - V(p) / V, where V(p) is the variance over drags of the displacement at p relative to that at the
    dragged place l, and V that of a place that never moves, which is the variance of the displacement at l: 1 is a
    place that moves exactly as l does, 0 one whose motion does not depend on l, or where l itself does not follow.

    The reference is the displacement that l had, not the one that was asked: the map tells which parts belong together
    in the model's clips, and a drag that is followed by half does not darken all of it. The paper leaves open how a
    variance of [magnitude, angle] is taken; the variance of a vector needs no special care where an angle wraps.

    Args:
        displacements: One field per drag, px.
        at: The dragged place (x, y), px.
    """
    here = displacements[:, :, round(at[1]), round(at[0])]
    at_rest = float(_variance(here[..., None, None])[0, 0])
    if at_rest < LEAST_VARIANCE_PX2:
        return np.zeros(displacements.shape[2:], np.float32)
    relative = displacements - here[..., None, None]
    return np.clip(1 - _variance(relative) / at_rest, 0, 1).astype(np.float32)


def _variance(displacements: Float32[np.ndarray, "n 2 h w"]) -> Float64[np.ndarray, "h w"]:
    """Return the mean squared distance from the mean displacement, px^2."""
    return displacements.var(0, dtype=np.float64).sum(0)
