"""Features of a stacker: the members' outputs, how they stand within the query, how far members disagree.

Nothing here looks at a label. A list is the rows of one query in the task that is answered; rows
outside the task form a list of their own, so that no feature of a task's row tells which other rows
another task has.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.arrays import Array
from competition.core.parquet import row_slices
from competition.core.threads import side_by_side
from competition.models.ensemble.members import MemberOutputs
from competition.scoring.metrics import index_queries
from competition.scoring.task import Task

Signals = dict[str, Array]  # name -> (rows,)
_STATISTICS = ("min", "median", "max", "rank", "z", "gap")  # within a list
_FLOOR = 0.01  # added to probabilities before their logarithm

# Of what trees read of a member: less is rounding, which ranks and standard scores would magnify.
_DECIMALS = 4


class QueryLists:
    """The lists of some rows, and statistics within them."""

    def __init__(self, rows: pd.DataFrame, task: Task) -> None:
        """Group rows by their query, those of the task apart from those outside it."""
        _, query = index_queries(rows["query_id"].to_numpy(np.int64))  # (rows,)
        key = 2 * query + rows[task.name].to_numpy(bool)
        self.list_of: NDArray[np.int64] = index_queries(key)[1]  # (rows,)

        ordered = np.sort(self.list_of)
        # Without rows, there is no list: a contest may have no test rows.
        is_first = np.r_[True, ordered[1:] != ordered[:-1]][: len(rows)]  # (rows,)
        self._starts = np.flatnonzero(is_first)  # (lists,)
        self.sizes = np.diff(np.r_[self._starts, len(rows)])  # (lists,)

    def statistics(self, value: Array) -> Signals:
        """Return how each row stands in its list, `(rows,)` each.

        Returns:
            `min`, `median`, `max` of the list; of the row its `rank` (0..1, equal values share one),
            standard score `z` and distance from the largest value, `gap`.
        """
        by_value = np.lexsort((value, self.list_of))  # (rows,) list after list, each ascending
        ordered = value[by_value]
        sizes, starts = self.sizes, self._starts

        low = ordered[starts]  # (lists,)
        high = ordered[starts + sizes - 1]
        median = (ordered[starts + (sizes - 1) // 2] + ordered[starts + sizes // 2]) / 2

        mean = np.add.reduceat(ordered, starts) / sizes
        centred = value - mean[self.list_of]  # (rows,)
        variance = np.bincount(self.list_of, weights=centred**2) / sizes
        deviation = np.sqrt(variance)[self.list_of]
        z = np.divide(centred, deviation, out=np.zeros(len(value)), where=deviation > 1e-12)

        statistics = (
            low[self.list_of],
            median[self.list_of],
            high[self.list_of],
            self._rank(by_value, ordered),
            z,
            high[self.list_of] - value,
        )
        return dict(zip(_STATISTICS, statistics, strict=True))

    def mean(self, value: Array) -> Array:
        """Return the mean of each row's list, `(rows,)`."""
        mean: Array = np.bincount(self.list_of, weights=value) / self.sizes  # (lists,)
        return mean[self.list_of]

    def _rank(self, by_value: NDArray[np.int64], ordered: Array) -> Array:
        """Return the mean place of equal values in their list, over its size, `(rows,)`."""
        of_list = self.list_of[by_value]
        new_list = of_list[1:] != of_list[:-1]
        new_value = ordered[1:] != ordered[:-1]
        # Of each run of equal values.
        first = np.flatnonzero(np.r_[True, new_list | new_value])
        equal = np.diff(np.r_[first, len(ordered)])

        place = np.repeat(first + (equal + 1) / 2, equal) - self._starts[of_list]
        rank = np.empty(len(ordered))
        rank[by_value] = place / self.sizes[of_list]
        return rank


def tree_features(
    task: Task,
    members: Sequence[MemberOutputs],
    rows: pd.DataFrame,
    text: pd.DataFrame | None,
    other_tasks: Sequence[str] = (),
) -> tuple[list[str], NDArray[np.float32]]:
    """Return what trees read of the rows of one split.

    Args:
        task: what is answered.
        members: their outputs; the order of members is that of the columns.
        rows: the examples.
        text: features of text by example_id, or None to leave them out.
        other_tasks: tasks of which to tell whether each row is in them, which no leaderboard means
            to give away.

    Returns:
        Names and values, `(rows, features)`.
    """
    lists = QueryLists(rows, task)
    signals: Signals = {}
    for member in members:
        signals |= {f"{member.name}_{name}": value for name, value in _signals(member).items()}
    mean, disagreement = _agreement(members)
    signals |= mean

    apart = disagreement | {"candidates": lists.sizes[lists.list_of].astype(np.float64)}
    locale = pd.Index(task.locales, dtype=object).get_indexer(
        pd.Index(rows["locale"])
    )  # -1: none of them
    apart |= {"locale": locale.astype(np.float64)} | _other_tasks(other_tasks, rows)

    text_names = [] if text is None else [f"text_{name}" for name in text]
    of_signal = 1 + len(_STATISTICS)  # columns
    width = len(signals) * of_signal + len(apart)
    values = np.empty((len(rows), width + len(text_names)), np.float32)

    def fill(place: tuple[int, Array]) -> None:
        i, signal = place
        _fill(values, i * of_signal, [signal, *lists.statistics(signal).values()])

    # A signal at a time on each core: as numbers of 64 bits, all of them would be twice what comes back.
    for _ in side_by_side(fill, enumerate(signals.values())):
        pass
    _fill(values, width - len(apart), list(apart.values()))
    if text is not None:
        ids = rows["example_id"].to_numpy()
        for part in row_slices(len(rows)):
            values[part, width:] = text.loc[ids[part]].to_numpy()

    names = [
        f"{name}{end}" for name in signals for end in ("", *(f"_{key}" for key in _STATISTICS))
    ]
    return [*names, *apart, *text_names], values


def _fill(values: NDArray[np.float32], first: int, columns: Sequence[Array]) -> None:
    """Write columns side by side, some rows at a time: each is in memory a few times then, and not once per column."""
    for part in row_slices(len(values)):
        block = np.column_stack([column[part] for column in columns])
        values[part, first : first + len(columns)] = block


def linear_features(
    task: Task,
    members: Sequence[MemberOutputs],
    rows: pd.DataFrame,
    other_tasks: Sequence[str] = (),
) -> tuple[dict[str, Array], Array]:
    """Return what a linear model reads, all of it continuous in the members' outputs.

    There are no ranks, and nothing is divided by a deviation that may be next to nothing: a member
    that moves by 1e-6 moves its features by less than 4e-4. Probabilities are read as log(p +
    0.01), less the mean over the classes. A member's output is split in two: the mean over the
    row's list, which tells queries apart, and the row's distance from it, which tells products
    apart. The mean is divided by the root of the list's size: members are surest of what they
    learned from the products of long lists together, and there it is right least often.

    Args:
        task: what is answered.
        members: their outputs.
        rows: the examples.
        other_tasks: as in `tree_features`.

    Returns:
        Member -> `(rows, 2 * outputs)`, and what no member is needed for: the size of the list and
        the locale, `(rows, 1 + locales + other tasks)`.
    """
    lists = QueryLists(rows, task)
    size = lists.sizes[lists.list_of]  # (rows,)
    root = np.sqrt(size)[:, None]

    blocks = {}
    for member in members:
        log_odds = _log_odds(member)  # (rows, outputs)
        of_list = np.column_stack([lists.mean(column) for column in log_odds.T])
        blocks[member.name] = np.hstack([log_odds - of_list, of_list / root])

    columns = [np.log(size)]
    columns += [(rows["locale"] == name).to_numpy(np.float64) for name in task.locales]
    columns += _other_tasks(other_tasks, rows).values()
    return blocks, np.column_stack(columns)


def _other_tasks(names: Sequence[str], rows: pd.DataFrame) -> Signals:
    """Return in which other tasks each row is."""
    return {f"in_{name}": rows[name].to_numpy(np.float64) for name in names}


def _log_odds(member: MemberOutputs) -> Array:
    """Return probabilities on a logarithmic scale, `(rows, outputs)`; gains, and ratings in 0..1, as they are."""
    values = member.values
    if member.kind.role == "rating":
        values = member.kind.to_unit(values)
    if member.kind.role == "positive":
        values = np.log(values + _FLOOR) - np.log(1 - values + _FLOOR)
    if member.kind.is_classes:
        logs = np.log(values + _FLOOR)
        values = logs - logs.mean(axis=1, keepdims=True)
    return values


def _signals(member: MemberOutputs) -> Signals:
    """Return a member's outputs, rounded, and the expected gain or number of class probabilities."""
    kind = member.kind
    values = np.round(member.values, _DECIMALS)
    signals = {name: values[:, i] for i, name in enumerate(kind.outputs)}
    if kind.is_classes:
        signals["gain"] = kind.labels.expected_gain(values)
        if kind.labels.values:
            signals["rating"] = kind.labels.expected_number(values)
    return signals


def _agreement(members: Sequence[MemberOutputs]) -> tuple[Signals, Signals]:
    """Return the mean of a signal that several members have, and how far they are apart: deviation and range."""
    by_signal: dict[str, list[Array]] = {}
    for member in members:
        for name, value in _signals(member).items():
            by_signal.setdefault(name, []).append(value)

    mean: Signals = {}
    apart: Signals = {}
    for name, values in by_signal.items():
        if len(values) > 1:
            stacked = np.stack(values)  # (members, rows)
            mean[f"mean_{name}"] = stacked.mean(axis=0)
            apart[f"deviation_{name}"] = stacked.std(axis=0)
            apart[f"range_{name}"] = np.ptp(stacked, axis=0)
    return mean, apart
