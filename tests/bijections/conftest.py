"""Make ``tests`` a place to import the laws from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
