"""The paper's four data sets in the layouts in which they are distributed, one file each."""

from collections.abc import Mapping
from typing import Literal

from ipoke.data.datasets.human36m import HUMAN36M
from ipoke.data.datasets.iper import IPER
from ipoke.data.datasets.layout import Layout
from ipoke.data.datasets.plants import PLANTS
from ipoke.data.datasets.taichi import TAICHI

DatasetName = Literal["plants", "iper", "taichi", "human36m"]
LAYOUTS: Mapping[DatasetName, Layout] = {"plants": PLANTS, "iper": IPER, "taichi": TAICHI, "human36m": HUMAN36M}
