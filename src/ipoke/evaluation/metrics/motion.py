"""How well a displacement field follows pokes and pins."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ipoke.data.poke import Poke


class PokeResponse(NamedTuple):
    """Displacement at a poke, compared with the poke."""

    endpoint_error_px: float
    """Distance between the measured displacement and that of the poke, at least 0."""
    reach: float
    """Component of the measured displacement along the poke, over the length of the poke: 1 reaches the target, 0 does
    not move, any sign."""


def poke_response(optical_flow: Float32[np.ndarray, "2 h w"], poke: Poke) -> PokeResponse:
    """Compare the displacement of a poked point, from the still to the last frame, with the poke.

    Raises:
        ValueError: The poke is a pin, which has no direction.
    """
    if poke.is_pin:
        raise ValueError("poke_response: got a pin, expected a poke with a direction")
    dx, dy = optical_flow[:, round(poke.y), round(poke.x)]
    length = float(np.hypot(poke.dx, poke.dy))
    return PokeResponse(
        endpoint_error_px=float(np.hypot(dx - poke.dx, dy - poke.dy)),
        reach=float(dx * poke.dx + dy * poke.dy) / length**2,
    )


def pin_leakage_px(optical_flow: Float32[np.ndarray, "2 h w"], pin: Poke) -> float:
    """Return how far a pinned point has moved from the still to the last frame, at least 0, px.

    Raises:
        ValueError: The poke has a direction.
    """
    if not pin.is_pin:
        raise ValueError("pin_leakage_px: got a poke with a direction, expected a pin")
    return float(np.hypot(*optical_flow[:, round(pin.y), round(pin.x)]))
