"""The data sets by the names that commands and recipes use."""

from ipoke.data.datasets.human36m import HUMAN36M
from ipoke.data.datasets.iper import IPER
from ipoke.data.datasets.layout import Layout
from ipoke.data.datasets.plants import PLANTS
from ipoke.data.datasets.taichi import TAICHI
from ipoke.errors import InputError
from ipoke.settings import suggestion

LAYOUTS: dict[str, Layout] = {"plants": PLANTS, "iper": IPER, "taichi": TAICHI, "human36m": HUMAN36M}


def layout_of(name: str) -> Layout:
    """Give the layout of a data set.

    Raises:
        InputError: There is none of this name.
    """
    if name not in LAYOUTS:
        raise InputError(
            f"--dataset: got {name!r}, expected one of {', '.join(LAYOUTS)}{suggestion(name, list(LAYOUTS))}"
        )
    return LAYOUTS[name]
