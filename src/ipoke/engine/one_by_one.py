"""One item at a time, each by one thread: neither the number of items nor that of threads changes a bit.

Matrix products and convolutions add up in an order that depends on the size of the batch and on the number of threads.
Alone and by one thread, a sample is always computed in the same order.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def one_thread() -> Generator[int]:
    """Let tensor arithmetic of this thread take one thread; give the number that it may take outside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def one_by_one(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Do the work for each item by one thread, with as many items at once as there are threads."""
    with one_thread() as threads:
        if min(threads, len(items)) < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
