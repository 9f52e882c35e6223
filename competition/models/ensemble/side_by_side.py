"""Fits of an ensemble that need nothing of each other, several at a time, in threads of one process.

What takes time is done by NumPy and LightGBM, which let other threads run meanwhile.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 4  # each holds a copy of what it learns from


def cores() -> int:
    """Return how many cores there are to use."""
    return min(os.cpu_count() or 1, int(os.environ.get("OMP_NUM_THREADS") or 1024))


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield the results of `work` in the order of the items, however many are done at a time."""
    with ThreadPoolExecutor(min(AT_ONCE, cores())) as pool:
        yield from pool.map(work, items)
