"""Charts with axes, by matplotlib, which no other module needs."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ipoke.core.errors import InputError, printable
from ipoke.data.images import write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#888888"
"""Distinct for colour-blind readers too (Okabe and Ito 2008)."""
DPI = 160


def require_matplotlib() -> None:
    """Check, before long work, that its chart can be drawn.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError("figure: matplotlib is not installed; pip install 'ipoke[eval]'") from error


def blank_chart(width: float, height: float) -> "Figure":
    """Create an empty chart; sizes in inches."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def write_chart(path: Path, chart: "Figure") -> None:
    """Render a chart to a PNG file, written atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in chart.findobj():
        if isinstance(text, Text):
            # Names of models and folders are plain text, not formulas.
            text.set(parse_math=False, text="\n".join(map(printable, text.get_text().split("\n"))))
    canvas = FigureCanvasAgg(chart)
    canvas.draw()
    write_png(path, np.asarray(canvas.buffer_rgba())[..., :3].copy())
