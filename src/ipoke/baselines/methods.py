"""Which class a recipe's ``method`` means."""

from ipoke.baselines.baseline import Baseline
from ipoke.baselines.conditional_vae import ConditionalVae
from ipoke.baselines.deterministic import DeterministicRollout
from ipoke.baselines.recurrent import StochasticRecurrent
from ipoke.baselines.sparse_warping import SparseWarping
from ipoke.settings import Recipe

METHODS: dict[str, type[Baseline]] = {
    "cvae": ConditionalVae,
    "sparse_warping": SparseWarping,
    "deterministic": DeterministicRollout,
    "recurrent": StochasticRecurrent,
}


def make_baseline(recipe: Recipe) -> Baseline:
    """Make the untrained baseline that a recipe names."""
    return METHODS[recipe.method](recipe)
