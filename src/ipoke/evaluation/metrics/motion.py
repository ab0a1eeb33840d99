"""Whether the poked point goes where it was asked to go, and a pinned one stays."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ipoke.data.poke import Poke


class PokeResponse(NamedTuple):
    """What optical flow sees at a poke."""

    endpoint_error_px: float
    """Distance between the measured and the asked displacement."""
    reach: float
    """Component of the measured displacement along the asked one, over the asked length; 1 is a full response."""


def poke_response(optical_flow: Float32[np.ndarray, "2 h w"], poke: Poke) -> PokeResponse:
    """Compare the measured displacement of a poked point, from the picture to the last frame, with the asked one.

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
    """Give how far a place that was asked to stay has moved from the picture to the last frame, px.

    Raises:
        ValueError: The poke has a direction.
    """
    if not pin.is_pin:
        raise ValueError("pin_leakage_px: got a poke with a direction, expected a pin")
    return float(np.hypot(*optical_flow[:, round(pin.y), round(pin.x)]))
