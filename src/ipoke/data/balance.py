"""The order of a training in which every object comes equally often, however many clips there are of it.

The objects take turns, in another order each round, and the clips of an object come in its own permutations. Like the
order without objects this depends on the seed and on the count of clips seen alone.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

Objects = Sequence[Int64[np.ndarray, " _"]]
"""The numbers of the clips of each object."""


def object_of_turn(n: int, count: int, seed: int) -> int:
    """Say which of ``count`` objects is seen n-th in a training: every one once per round."""
    turn, place = divmod(n, count)
    # The third and fourth number keep this stream apart from those of single clips and of permutations.
    return int(np.random.default_rng([seed, turn, 0, 1]).permutation(count)[place])


def balanced_clip_index(n: int, objects: Objects, seed: int) -> int:
    """Say which clip comes n-th in a training: that of the object's turn, every clip of an object once per its epoch.

    Differs from the original, which draws clips with replacement, each with a probability that makes objects equally
    likely: here they come equally often, and no clip comes again before its object's others came.
    """
    of_object = object_of_turn(n, len(objects), seed)
    clips = objects[of_object]
    epoch, place = divmod(n // len(objects), len(clips))
    return int(clips[_permutation(len(clips), epoch, of_object, seed)[place]])


@lru_cache(maxsize=256)
def _permutation(length: int, epoch: int, of_object: int, seed: int) -> Int64[np.ndarray, " length"]:
    return np.random.default_rng([seed, epoch, 1, 1 + of_object]).permutation(length)
