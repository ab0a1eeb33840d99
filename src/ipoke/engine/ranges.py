"""Work on many frames, shared among as many threads as tensor arithmetic takes."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def in_ranges(count: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, count)`` for ranges that together are all of ``count``, one per thread.

    Compiled functions let other threads run meanwhile.
    """
    threads = max(1, min(torch.get_num_threads(), count))
    if threads == 1:
        work(0, count)
        return
    edges = [count * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, first, last - first) for first, last in itertools.pairwise(edges)]:
            done.result()
