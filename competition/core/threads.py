"""Work whose parts need nothing of each other, several at a time, in threads of one process.

It is for parts that NumPy, Arrow or LightGBM do, which let other threads run meanwhile.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 4  # each holds a copy of what it works on


def cores() -> int:
    """Return how many cores there are to use."""
    return min(os.cpu_count() or 1, int(os.environ.get("OMP_NUM_THREADS") or 1024))


def side_by_side(
    work: Callable[[T], R], items: Iterable[T], at_once: int | None = None
) -> Iterator[R]:
    """Yield the results of `work` in the order of the items, however many are done at a time.

    Args:
        work: on an item.
        items: that need nothing of each other.
        at_once: how many are done at a time; a core each and at most AT_ONCE unless given.
    """
    with ThreadPoolExecutor(at_once or min(AT_ONCE, cores())) as pool:
        yield from pool.map(work, items)
