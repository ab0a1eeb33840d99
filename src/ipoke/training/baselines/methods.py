"""Which class a recipe's ``method`` means."""

from ipoke.core.recipe import Recipe
from ipoke.training.baselines.baseline import Baseline
from ipoke.training.baselines.conditional_vae import ConditionalVae
from ipoke.training.baselines.deterministic import DeterministicRollout
from ipoke.training.baselines.recurrent import StochasticRecurrent
from ipoke.training.baselines.sparse_warping import SparseWarping

METHODS: dict[str, type[Baseline]] = {
    "cvae": ConditionalVae,
    "sparse_warping": SparseWarping,
    "deterministic": DeterministicRollout,
    "recurrent": StochasticRecurrent,
}


def make_baseline(recipe: Recipe) -> Baseline:
    """Make the untrained baseline that a recipe names."""
    return METHODS[recipe.method](recipe)
