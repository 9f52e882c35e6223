"""Sums over resampled queries, shared by all who draw the same queries."""

import hashlib
from collections import OrderedDict
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array, Codes

# Drawn query indices at a time: bounds the memory over 100,000 queries.
CHUNK = 8_000_000
# Queries from which draws and sums are kept: fewer are drawn faster than they are found again.
MANY = 2_000

_KEPT_DRAWS = 8  # sets of queries, such as all and those of a locale; of 130,000, each takes 130 MB
_KEPT_SUMS = 1_024  # of runs and sets of queries; each takes 16 to 100 kB

_sums: OrderedDict[tuple[object, ...], Array] = OrderedDict()  # the last one used at the end


def draw(rng: np.random.Generator, queries: int, size: int) -> Codes:
    """Draw all queries with replacement `size` times; return how often each is drawn, `(size, queries)`."""
    # Counts of codes that no two resamples share.
    drawn = rng.integers(0, queries, (size, queries))
    drawn += np.arange(size)[:, None] * queries
    times: Codes = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
    return times


def resampled_sums(counts: Array, seed: int, resamples: int) -> Array:
    """Return the sums over the queries of each resample, `(resamples, m)`, of MANY queries or more.

    They are kept, so that a run that is compared with others is summed once.

    Args:
        counts: what each query adds, `(queries, m)`.
        seed: of the draws.
        resamples: how often all queries are drawn.
    """
    counts = np.ascontiguousarray(counts, np.float64)
    key = (hashlib.blake2b(counts.data).digest(), counts.shape, seed, resamples)
    if key in _sums:
        _sums.move_to_end(key)
        return _sums[key]

    queries = len(counts)
    sums = np.empty((resamples, counts.shape[1]))
    times = np.empty(
        (min(resamples, max(1, CHUNK // queries)), queries)
    )  # as the product takes them
    first = 0
    for drawn in _draws(queries, seed, resamples):
        part = times[: len(drawn)]
        np.copyto(part, drawn)
        sums[first : first + len(drawn)] = part @ counts
        first += len(drawn)

    sums.setflags(write=False)
    _sums[key] = sums
    if len(_sums) > _KEPT_SUMS:
        _sums.popitem(last=False)
    return sums


@lru_cache(_KEPT_DRAWS)
def _draws(queries: int, seed: int, resamples: int) -> tuple[NDArray[np.unsignedinteger], ...]:
    """Return how often each query is drawn in each resample, in chunks `(size, queries)`."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // queries)
    chunks = []
    for first in range(0, resamples, step):
        times = draw(rng, queries, min(step, resamples - first))
        chunks.append(times.astype(np.min_scalar_type(times.max())))
    return tuple(chunks)
