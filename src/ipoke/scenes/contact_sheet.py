"""Many scenes on one sheet."""

import numpy as np
from jaxtyping import UInt8

from ipoke.scenes.scene import draw_scene

GAP = 6


def contact_sheet(seed: int, rows: int, columns: int, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Lay out stills of ``rows * columns`` scenes, plants and puppets in turn, with white gaps of 6 px."""
    step = size + GAP
    sheet = np.full((rows * step + GAP, columns * step + GAP, 3), 255, np.uint8)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        kind = "plant" if (row + column) % 2 == 0 else "puppet"
        top, left = GAP + row * step, GAP + column * step
        sheet[top : top + size, left : left + size] = draw_scene(seed + index, size=size, kind=kind).still
    return sheet
