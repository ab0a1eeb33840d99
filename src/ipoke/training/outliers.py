"""Updates that are left out because their gradient is far larger than usual.

One clip whose residual is astronomic has a gradient that is as large. Clipping makes it no longer than others, yet it
points where the rest never does, and Adam then takes several of its largest steps that way: condition features of a
few units became thousands within one training, and the latent flow was deaf to pokes from then on.
"""

import math

import torch
from torch import Tensor

RISE = 0.1
"""Share by which the logarithm of the usual norm follows that of each step."""
FIRST_STEPS = 20
"""Steps that are taken whatever their gradients, while nothing is usual yet."""


class Outliers:
    """The usual gradient norm of a player, and how many of its updates were left out.

    What is left out counts with the largest norm that is not, so that norms which stay large become usual.

    Differs from the original, which takes every step. After the skipping of updates by Child, "Very Deep VAEs
    Generalize Autoregressive Models and Can Outperform Them on Images", ICLR 2021, whose bound is fixed.

    >>> outliers = Outliers(bound=10.0)
    >>> sum(outliers.has(torch.tensor(2.0)) for _ in range(100))
    0
    >>> outliers.has(torch.tensor(19.0)), outliers.has(torch.tensor(1e9)), outliers.left_out
    (False, True, 1)
    """

    def __init__(self, bound: float) -> None:
        """Begin without knowing what is usual.

        Args:
            bound: Times the usual norm beyond which an update is left out; 0 leaves none out.
        """
        self.bound = bound
        self._log_usual, self._steps, self.left_out = 0.0, 0, 0

    def has(self, norm: Tensor) -> bool:
        """Tell whether a gradient of this norm, which is finite, is to be left out, and remember it."""
        if not self.bound:
            return False
        log_norm = math.log(max(float(norm), 1e-30))
        largest = self._log_usual + math.log(self.bound)
        is_outlier = self._steps >= FIRST_STEPS and log_norm > largest
        rise = max(RISE, 1 / (self._steps + 1))
        self._log_usual += rise * ((largest if is_outlier else log_norm) - self._log_usual)
        self._steps += 1
        self.left_out += is_outlier
        return is_outlier

    def state(self) -> Tensor:
        """Give all that is remembered, for a checkpoint."""
        return torch.tensor([self._log_usual, self._steps, self.left_out], dtype=torch.float64)

    def restore(self, state: Tensor) -> None:
        """Undo `state`."""
        self._log_usual, steps, left_out = state.tolist()
        self._steps, self.left_out = int(steps), int(left_out)
