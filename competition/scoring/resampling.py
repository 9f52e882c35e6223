"""Sums over resampled queries, of many results at a time: all who draw the same queries share the draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array, Codes

# Drawn query indices at a time: bounds the memory over 100,000 queries.
CHUNK = 8_000_000
_IN_CACHE = 1 << 17  # those whose counts stay in a processor's cache
# Queries from which draws are kept: fewer are drawn faster than they are found again.
MANY = 2_000

# Queries from which they are drawn in blocks, and how many blocks there are, see `resample`.
HUGE = 20_000
BLOCKS = 4_000

_KEPT_DRAWS = 8  # sets of queries, such as all and those of a locale; each takes at most 20 MB
_DIGITS = 53  # bits of a float


def draw(rng: np.random.Generator, queries: int, size: int) -> Codes:
    """Draw all queries with replacement `size` times; return how often each is drawn, `(size, queries)`."""
    # Counts of codes that no two resamples share.
    drawn = rng.integers(0, queries, (size, queries))
    drawn += np.arange(size)[:, None] * queries
    times: Codes = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
    return times


@dataclass(frozen=True)
class Resampled:
    """A result over many queries, summed over all of them and over those of each resample."""

    queries: int
    total: Array  # (m,)
    sums: Array  # (resamples, m)


def resample(counts: Sequence[Array], seed: int, resamples: int) -> list[Resampled]:
    """Sum results over the same number of queries, which are all drawn alike.

    Values are rounded to a unit of 1e-16 of what all queries could add up to, so that sums are
    exact: one result's are the same bits beside whichever others, and however many threads add up.

    From HUGE queries on, they are dealt at random into BLOCKS blocks, which are drawn instead of
    them: the random groups of survey sampling (Wolter 2007, chapter 2). Sums of blocks vary as sums
    of queries do. That there are no more of them makes a standard error wrong by 1 / sqrt(2 *
    BLOCKS), which is 1 %; that there are no more than 1,000 resamples makes it wrong by 2 %. To draw
    130,000 queries takes a hundred times as long.

    Args:
        counts: what each query adds, `(queries, m)` of each result.
        seed: of the draws.
        resamples: how often all queries are drawn.
    """
    # Many results count the same rows: such columns are summed once.
    columns = _Columns()
    places = [[columns.place(column) for column in np.ascontiguousarray(each.T)] for each in counts]
    drawn_columns, queries = columns.distinct, len(counts[0])
    if queries >= HUGE:
        block = _blocks(queries, seed)
        drawn_columns = [np.bincount(block, each, BLOCKS).astype(float) for each in drawn_columns]
    exact = np.column_stack([_exact(column) for column in drawn_columns])  # (drawn, columns)

    sums = np.empty((resamples, exact.shape[1]))
    drawn = _draws(len(exact), seed, resamples)
    step = max(1, CHUNK // len(exact))
    times = np.empty((min(step, resamples), len(exact)))  # as the product takes them
    for first in range(0, resamples, step):
        part = drawn[first : first + step]
        np.copyto(times[: len(part)], part)
        sums[first : first + step] = times[: len(part)] @ exact
    return [
        Resampled(queries, each.sum(axis=0), sums[:, place])
        for each, place in zip(counts, places, strict=True)
    ]


class _Columns:
    """Columns, `(queries,)` each, of which equal ones are held once."""

    def __init__(self) -> None:
        self.distinct: list[Array] = []
        # Of columns that begin and add up alike.
        self._places: dict[tuple[float, float], list[int]] = {}

    def place(self, column: Array) -> int:
        """Return the place of a column, which is added if it is not there."""
        places = self._places.setdefault((float(column[0]), float(column.sum())), [])
        for place in places:
            if np.array_equal(self.distinct[place], column):
                return place
        places.append(len(self.distinct))
        self.distinct.append(column)
        return places[-1]


def _exact(column: Array) -> Array:
    """Return values, `(queries,)`, as multiples of a power of two of which all sums of as many values are floats."""
    greatest = float(np.abs(column).max(initial=0.0)) * len(column)
    if not np.isfinite(greatest):
        return column
    unit = np.ldexp(1.0, int(np.frexp(greatest)[1]) - _DIGITS)
    rounded: Array = np.rint(column / unit) * unit
    return rounded


@lru_cache(_KEPT_DRAWS)
def _blocks(queries: int, seed: int) -> Codes:
    """Return the block of each query, `(queries,)`; their sizes differ by 1 at most."""
    # At random: ids are often in an order, such as that of locales.
    return np.random.default_rng(seed).permutation(queries) % BLOCKS


@lru_cache(_KEPT_DRAWS)
def _draws(queries: int, seed: int, resamples: int) -> NDArray[np.unsignedinteger]:
    """Return how often each query is drawn in each resample, `(resamples, queries)`, as `draw` draws."""
    rng = np.random.default_rng(seed)
    step = max(1, _IN_CACHE // queries)
    sizes = (min(step, resamples - first) for first in range(0, resamples, step))
    times = np.concatenate([draw(rng, queries, size).astype(np.uint16) for size in sizes])
    return times.astype(np.min_scalar_type(times.max()))
