"""The program that the commands belong to, and the types of their options."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter
from cyclopts.validators import Number

from ipoke.version import __version__

app = App(
    name="ipoke",
    version=__version__,
    help="Poke a still image and sample many plausible videos.",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
"""The commands; `main` runs one. PyTorch is imported inside them, so that help and mistakes answer at once."""
USE = Group.create_ordered("Use a model")
MAKE = Group.create_ordered("Make a model")
MEASURE = Group.create_ordered("Measure models")
app["--help"].group = app["--version"].group = Group.create_ordered("This program")

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Seed = Annotated[int, Parameter(validator=Number(gte=0, lt=2**63))]
OutFile = Annotated[Path, Parameter(name="--out")]
OutDir = Annotated[Path, Parameter(name="--out")]
Places = Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)]
