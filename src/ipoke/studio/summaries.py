"""The last line of an answer: numbers and maps of all its clips."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ipoke.data.poke import Poke
from ipoke.sampling.guidance import motion_at
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.sampler import Samples, places_of

MOVES_PX = 0.5
"""Places with a larger displacement count as moving, px of the model."""


def reached_by(
    opened: OpenPicture,
    drawn: Samples,
    pokes: Sequence[Poke],
    motion: Float[torch.Tensor, "n 2 s s"] | None = None,
) -> list[list[dict[str, float]]]:
    """Locate each poked point at the end of each clip, and measure its distance from its target, px of the picture.

    ``motion`` is that up to the last frame, if it is known already.
    """
    if not opened.networks.predicts_motion or not pokes:
        return []
    places = places_of([opened.still.to_model(poke) for poke in pokes])
    motion = opened.predict_motion(drawn) if motion is None else motion
    moved = motion_at(motion, places.expand(len(motion), -1, -1)).unflatten(1, (-1, 2)) * opened.still.px_per_model_px
    return [
        [
            {
                "x": round(poke.x + float(dx), 2),
                "y": round(poke.y + float(dy), 2),
                "error": round(math.hypot(float(dx) - poke.dx, float(dy) - poke.dy), 2),
            }
            for poke, (dx, dy) in zip(pokes, of_clip, strict=True)
        ]
        for of_clip in moved
    ]


@torch.no_grad()
def summary(opened: OpenPicture, parts: Sequence[Samples], pokes: Sequence[Poke]) -> dict[str, Any]:
    """Summarise the clips of an answer."""
    networks = opened.networks
    dimensions = parts[0].z[0].numel()
    nats = torch.cat([networks.latent_flow.log_prob(d.z, d.cond.expand(len(d.z), -1, -1, -1)) for d in parts])
    order = nats.argsort(descending=True).tolist()
    draws = [count for drawn in parts for count in drawn.draws]
    reached = [one for drawn in parts for one in reached_by(opened, drawn, pokes)]
    motion = diversity = ambiguity = unit = None
    if networks.predicts_motion:
        fields = (
            torch.cat([opened.predict_motion(drawn) for drawn in parts]).cpu().numpy() * opened.still.px_per_model_px
        )
        unit = max(float(np.abs(fields).max()), 1e-6) / 127
        motion = [_base64(np.round(field.transpose(1, 2, 0) / unit).astype(np.int8)) for field in fields]
        apart = np.sqrt(fields.var(0).sum(0))
        moving = np.hypot(fields[:, 0], fields[:, 1]).max(0) > MOVES_PX * opened.still.px_per_model_px
        ambiguity = float(apart[moving].mean()) if moving.any() else 0.0
        diversity = _base64(np.round(255 * apart / max(float(apart.max()), 1e-6)).astype(np.uint8))
    return {
        "kind": "end",
        "samples": [
            {
                "bits_per_dim": round(-float(nats[i]) / (dimensions * math.log(2)), 4),
                "rank": order.index(i),
                "draws": draws[i],
                "reached": reached[i] if reached else [],
                "motion": motion[i] if motion else None,
            }
            for i in range(len(nats))
        ],
        "side": networks.size,
        "motion_unit": unit,
        "spread": diversity,
        "ambiguity": ambiguity,
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
