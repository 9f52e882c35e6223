"""What a stacker reads of each row: the members' outputs, how they stand within the query, how far members disagree.

Nothing here looks at a label. A list is the rows of one query in the task that is asked; rows
outside the task form a list of their own, so that no feature of a task's row says which other rows
another task has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.scoring.metrics import Array
from competition.scoring.tasks import KINDS, LOCALES, TASKS, Task, expected_gain

Signals = dict[str, Array]  # name -> (rows,)
_FLOOR = 0.01  # added to probabilities before their logarithm
_DECIMALS = 4  # of what trees read of a member: less is rounding, which ranks and standard scores would magnify


@dataclass(frozen=True)
class MemberOutputs:
    """What one member says of some rows: the columns of its kind, in the order of the rows."""

    name: str
    kind: str
    values: Array  # (rows, outputs)


class QueryLists:
    """The lists of some rows, and statistics within them."""

    def __init__(self, rows: pd.DataFrame, task: Task) -> None:
        key = pd.MultiIndex.from_arrays([rows["query_id"], rows[task.name].astype(bool)])
        self.list_of: NDArray[np.int64] = key.factorize(sort=True)[0].astype(np.int64)  # (rows,)
        self._order = np.argsort(self.list_of, kind="stable")
        ordered = self.list_of[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.sizes = np.diff(np.r_[self._starts, len(rows)])

    def statistics(self, value: Array) -> Signals:
        """Of each row's list the smallest, middle and largest value; of the row its rank among them (0..1, equal values
        share one), standard score and distance from the largest."""
        by_value = np.lexsort((value, self.list_of))
        ordered, sizes, starts = value[by_value], self.sizes, self._starts
        low, high = ordered[starts], ordered[starts + sizes - 1]
        median = (ordered[starts + (sizes - 1) // 2] + ordered[starts + sizes // 2]) / 2
        mean = np.add.reduceat(ordered, starts) / sizes
        centred = value - mean[self.list_of]
        variance = np.bincount(self.list_of, weights=centred**2) / sizes
        deviation = np.sqrt(variance)[self.list_of]
        scaled = np.divide(centred, deviation, out=np.zeros(len(value)), where=deviation > 1e-12)
        return {
            "min": low[self.list_of],
            "median": median[self.list_of],
            "max": high[self.list_of],
            "rank": self._rank(by_value, ordered),
            "z": scaled,
            "gap": high[self.list_of] - value,
        }

    def mean(self, value: Array) -> Array:
        """The mean of each row's list, `(rows,)`."""
        return (np.bincount(self.list_of, weights=value) / self.sizes)[self.list_of]

    def _rank(self, by_value: NDArray[np.int64], ordered: Array) -> Array:
        """The mean place of equal values in their list, over its size."""
        of_list = self.list_of[by_value]
        first = np.flatnonzero(
            np.r_[True, (of_list[1:] != of_list[:-1]) | (ordered[1:] != ordered[:-1])]
        )
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
    leaky: bool,
) -> tuple[list[str], NDArray[np.float32]]:
    """The features of rows of one split.

    Args:
        task: what is asked.
        members: their outputs; the order of members is that of the columns.
        rows: the examples.
        text: features of text by example_id, or None to leave them out.
        leaky: whether to say in which other tasks each row is, which no leaderboard means to give
            away.

    Returns:
        Names and values, `(rows, features)`.
    """
    lists = QueryLists(rows, task)
    signals: Signals = {}
    for member in members:
        signals |= {f"{member.name}_{name}": value for name, value in _signals(member).items()}
    shared, disagreement = _together(members)
    signals |= shared
    columns: Signals = {}
    for name, value in signals.items():
        columns[name] = value
        columns |= {f"{name}_{key}": of for key, of in lists.statistics(value).items()}
    columns |= disagreement
    columns["candidates"] = lists.sizes[lists.list_of].astype(np.float64)
    columns["locale"] = pd.Categorical(rows["locale"], categories=list(LOCALES)).codes.astype(
        np.float64
    )
    if leaky:
        columns |= _other_tasks(task, rows)
    more = [] if text is None else [f"text_{name}" for name in text]
    names = [*columns, *more]
    values = np.empty((len(rows), len(names)), np.float32)
    for i in range(len(names) - len(more)):
        values[:, i] = columns.pop(names[i])  # each is freed as soon as it is copied
    if text is not None:
        values[:, len(names) - len(more) :] = text.loc[rows["example_id"]].to_numpy()
    return names, values


def linear_features(
    task: Task, members: Sequence[MemberOutputs], rows: pd.DataFrame, leaky: bool
) -> tuple[dict[str, Array], Array]:
    """The features of a linear model, all of them continuous in what the members say.

    There are no ranks, and nothing is divided by a deviation that may be next to nothing: a member
    that moves by 1e-6 moves its features by less than 4e-4. Probabilities are read as log(p +
    0.01), less the mean over the classes. What a member says is split in two: the mean over the
    row's list, which tells queries apart, and the row's distance from it, which tells products
    apart. The mean is divided by the root of the list's size: members are surest of what they
    learned from the products of long lists together, and there it is right least often.

    Args:
        task: what is asked.
        members: their outputs.
        rows: the examples.
        leaky: as in `tree_features`.

    Returns:
        Member -> `(rows, 2 * outputs)`, and what no member is needed for: the size of the list and
        the locale, `(rows, 1 + locales)` and more where it is leaky.
    """
    lists = QueryLists(rows, task)
    root = np.sqrt(lists.sizes[lists.list_of])[:, None]
    blocks = {}
    for member in members:
        said = _log_odds(member)
        of_list = np.column_stack([lists.mean(each) for each in said.T])
        blocks[member.name] = np.hstack([said - of_list, of_list / root])
    size = np.log(lists.sizes[lists.list_of])
    locale = [(rows["locale"] == name).to_numpy(np.float64) for name in LOCALES]
    return blocks, np.column_stack(
        [size, *locale, *(_other_tasks(task, rows) if leaky else {}).values()]
    )


def _other_tasks(task: Task, rows: pd.DataFrame) -> Signals:
    """In which other tasks each row is."""
    return {
        f"in_{other}": rows[other].to_numpy(np.float64) for other in TASKS if other != task.name
    }


def _log_odds(member: MemberOutputs) -> Array:
    """Probabilities on a logarithmic scale, `(rows, outputs)`; gains and scores as they are."""
    values = member.values
    if member.kind == "substitute":
        return np.log(values + _FLOOR) - np.log(1 - values + _FLOOR)
    if member.kind == "classes":
        logs = np.log(values + _FLOOR)
        return logs - logs.mean(axis=1, keepdims=True)
    return values


def _signals(member: MemberOutputs) -> Signals:
    """A member's outputs, rounded, and the expected gain of class probabilities."""
    values = np.round(member.values, _DECIMALS)
    signals = {name: values[:, i] for i, name in enumerate(KINDS[member.kind].outputs)}
    return signals | ({"gain": expected_gain(values)} if member.kind == "classes" else {})


def _together(members: Sequence[MemberOutputs]) -> tuple[Signals, Signals]:
    """The mean of what several members say of the same thing, and how far they are apart: deviation and range."""
    said: dict[str, list[Array]] = {}
    for member in members:
        for name, value in _signals(member).items():
            said.setdefault(name, []).append(value)
    mean, apart = {}, {}
    for name, values in said.items():
        if len(values) > 1:
            stack = np.stack(values)
            mean[f"mean_{name}"] = stack.mean(axis=0)
            apart[f"deviation_{name}"] = stack.std(axis=0)
            apart[f"range_{name}"] = np.ptp(stack, axis=0)
    return mean, apart
