"""Scores of outputs against labels, with intervals over queries, overall and in groups, alone and paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array, Codes
from competition.core.lazy import pd
from competition.scoring import intervals, metrics
from competition.scoring.answers import answers
from competition.scoring.intervals import Estimate
from competition.scoring.labels import PAPER
from competition.scoring.metric_table import Rows
from competition.scoring.task import Kind, Task

FULL_DEPTH = 10  # judged products from which on a query says something about ranking
DEEP = f"{FULL_DEPTH}+ products"  # the group of queries that say most about ranking
MOVABLE = "can move"  # the group of queries whose order changes their score
MIN_DEEP_QUERIES = 20  # of them, from which they and not all queries tell runs apart


@dataclass(frozen=True)
class Counts:
    """The contribution of each query to a task's metrics, queries ascending, before they are summed.

    Where folds are of rows, each row of a task that is no ranking stands for itself: `queries` are
    then the ids of rows.
    """

    task: Task
    queries: Codes  # (queries,)
    values: Array  # (queries, m): what `task.metric` counts, such as nDCG and 1
    groups: dict[str, np.ndarray]  # name -> which queries, (queries,) bool
    ungraded: int = 0  # queries that are left out since they have no gain at all

    @property
    def statistics(self) -> dict[str, intervals.Statistic]:
        """The task's metric first, then others that its counts hold."""
        own = {self.task.metric.label: self.task.metric.statistic}
        return own | _F1 if self.task.metric.label in _F1 else own

    @property
    def statistic(self) -> intervals.Statistic:
        """The task's metric."""
        return self.task.metric.statistic

    @property
    def within(self) -> tuple[float, float]:
        """The least and the greatest value of the metric."""
        return self.task.metric.within


# Both are counted alike.
_F1: dict[str, intervals.Statistic] = {
    "micro-F1": metrics.micro_f1,
    "macro-F1": metrics.macro_f1,
}


def graded_rows(task: Task, examples: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a task whose answer is known, sorted by example_id so that no order of the input matters."""
    if task.kind == "classify":
        known = pd.Series(task.truth(examples) >= 0, examples.index)
    else:
        known = examples["label"].notna()

    graded = (examples[task.name] & known).to_numpy(bool)
    # Whoever counts many runs passes what came from here; to copy all text each time takes longer than to count.
    if graded.all() and examples["example_id"].is_monotonic_increasing:
        return examples
    return examples[graded].sort_values("example_id")


def count_answers(
    task: Task,
    examples: pd.DataFrame,
    answer: Array,
    protocol: str = PAPER,
    ranked: np.ndarray | None = None,
) -> Counts:
    """Compare answers with labels.

    Args:
        task: that is answered.
        examples: rows of `graded_rows`.
        answer: a score, a class index, a number or probabilities for each of these rows, see
            `answers`; ties go by product_id.
        protocol: one of the gains of the contest. All but the first score 0 for a query without
            any gain, as ESCI's published script does, which also swaps two gains.
        ranked: for ranking, rows that are False are missing from the answer.
    """
    if task.ranks:
        gain = task.labels.gain(examples["label"], protocol)
        # Codes of sorted ids sort as the ids do, and faster.
        tie = pd.factorize(examples["product_id"], sort=True)[0]
        rows = Rows(_units(task, examples), gain, answer, 0, None, tie, ranked, task.relevant_from)
        return _ranking_counts(task, examples, rows, task.metric.count(rows), protocol)

    if task.metric.reads in ("class", "level"):
        answer = answer.astype(np.int64)
    classes = len(task.classes or task.labels)
    rows = Rows(_units(task, examples), _truth(task, examples), answer, classes)
    return Counts(task, *task.metric.count(rows), _groups(task, examples))


def count_trivial_baseline(task: Task, examples: pd.DataFrame) -> tuple[str, Counts]:
    """Score what takes no model: a random order, or the best answer that is the same for every row.

    That is the most frequent class or the shares of all; the mean where squares of errors count or
    levels are compared, the median where errors do.
    """
    if task.ranks:
        gain = task.labels.gain(examples["label"])
        rows = Rows(_units(task, examples), gain, gain, relevant_from=task.relevant_from)
        assert task.metric.random is not None
        return "random order", _ranking_counts(
            task, examples, rows, task.metric.random(rows), PAPER
        )

    truth = _truth(task, examples)
    reads = task.metric.reads
    if task.kind == "rate":
        middle = np.median if task.metric.name == "mae" else np.mean
        number = float(middle(task.labels.numbers(examples["label"])))
        if reads == "level":
            code = int(task.labels.levels(np.array([number]))[0])
            name, answer = f"all {task.labels.names[code]}", np.full(len(truth), float(code))
        else:
            name, answer = f"all {number:.3g}", np.full(len(truth), number)
        return name, count_answers(task, examples, answer)

    share = np.bincount(truth, minlength=len(task.classes)) / max(len(truth), 1)  # (classes,)
    if reads == "probabilities":
        return "shares of classes", count_answers(task, examples, np.tile(share, (len(truth), 1)))

    code = int(share.argmax())
    return f"all {task.classes[code]}", count_answers(
        task, examples, np.full(len(truth), float(code))
    )


def _truth(task: Task, examples: pd.DataFrame) -> NDArray[Any]:
    """Return what a task asks of each row, `(rows,)`: the index of a class or level, or a number."""
    if task.kind == "classify":
        return task.truth(examples)
    if task.metric.reads == "level":
        return task.labels.codes(examples["label"])
    return task.labels.numbers(examples["label"])


def _units(task: Task, examples: pd.DataFrame) -> Codes:
    """Return what is drawn in a bootstrap: the query of each row, or the row itself."""
    return examples["example_id" if task.by_rows else "query_id"].to_numpy(np.int64)


def _ranking_counts(
    task: Task, examples: pd.DataFrame, rows: Rows, counted: tuple[Codes, Array], protocol: str
) -> Counts:
    """Return counts of lists `(queries, 2)`, a value and 1, without the queries that have no value."""
    queries, values = counted
    groups = _groups(task, examples)
    assert task.metric.movable is not None
    groups[MOVABLE] = task.metric.movable(rows)
    depth = examples.groupby("query_id").size().to_numpy()  # (queries,) ascending, as all groups
    groups[DEEP] = depth >= FULL_DEPTH

    # A query without any gain is left out, but by ESCI's published script.
    graded = ~np.isnan(values[:, 0])
    if protocol != PAPER:
        values = np.nan_to_num(values, nan=0.0)
    else:
        queries, values = queries[graded], values[graded]
        groups = {name: members[graded] for name, members in groups.items()}

    return Counts(task, queries, values, groups, int((~graded).sum()))


def _groups(task: Task, examples: pd.DataFrame) -> dict[str, np.ndarray]:
    locale = (
        examples.assign(unit=_units(task, examples)).groupby("unit", sort=True)["locale"].first()
    )
    groups = {"all": np.ones(len(locale), bool)}

    # What depends on all rows has no value over some of them.
    for name in () if task.metric.of_all_rows else task.locales:
        members = (locale == name).to_numpy()
        if members.any():
            groups[name] = members
    return groups


def count_outputs(task: Task, kind: Kind, outputs: pd.DataFrame, examples: pd.DataFrame) -> Counts:
    """Compare a run's outputs (example_id and the columns of `kind`) with the labels of a task's rows, joined by id."""
    rows = graded_rows(task, examples)

    return count_answers(task, rows, answers(task, kind, _of_rows(outputs, rows["example_id"])))


def _of_rows(outputs: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
    """Return the outputs of some rows in their order, joined by id."""
    known = outputs["example_id"].to_numpy()
    wanted = ids.to_numpy()
    # A run's outputs are in order, where a place is found faster than a table is joined.
    if (known[1:] > known[:-1]).all() and (wanted[1:] > wanted[:-1]).all():
        place = np.searchsorted(known, wanted)
        if len(known) and (known[np.minimum(place, len(known) - 1)] == wanted).all():
            return outputs.iloc[place]

    # A left join keeps the order of the rows.
    return ids.to_frame().merge(outputs, on="example_id", how="left", validate="one_to_one")


def estimate_metrics(
    counts: Counts, groups: tuple[str, ...] | None = None
) -> dict[str, dict[str, Estimate]]:
    """Estimate metric -> group -> estimate; all groups that have a query unless some are named."""
    names = groups or tuple(name for name, members in counts.groups.items() if members.any())

    return {
        metric: {
            name: intervals.bootstrap(
                counts.values[counts.groups[name]], statistic, within=counts.within
            )
            for name in names
        }
        for metric, statistic in counts.statistics.items()
    }


def estimate_score(counts: Counts, group: str = "all") -> Estimate:
    """Estimate the task's metric over a group of queries."""
    return intervals.bootstrap(
        counts.values[counts.groups[group]], counts.statistic, within=counts.within
    )


def estimate_difference(counts: Counts, other: Counts, group: str = "all") -> Estimate:
    """Estimate the paired difference of the task's metric, `counts` minus `other`, over the same queries."""
    if not np.array_equal(counts.queries, other.queries):
        raise ValueError("paired results must have the same queries")

    members = counts.groups[group]
    return intervals.paired_difference(
        counts.values[members], other.values[members], counts.statistic
    )


def over_group(units: str, group: str) -> str:
    """Return over which queries a score is, such as `80 queries with 10+ products`."""
    if group == "all":
        return units
    return f"{units} that {group}" if group == MOVABLE else f"{units} with {group}"


def leading_group(counts: Counts) -> str:
    """Return the group of queries by which runs are told apart.

    Those of full depth if there are enough, else those whose order changes their score, where there
    are others.
    """
    sizes = {name: int(members.sum()) for name, members in counts.groups.items()}
    return leading_name(sizes)


def leading_name(queries: Mapping[str, int]) -> str:
    """Return the group by which runs are told apart, see `leading_group`, from group -> its queries."""
    if queries.get(DEEP, 0) >= MIN_DEEP_QUERIES:
        return DEEP
    return MOVABLE if 0 < queries.get(MOVABLE, 0) < queries["all"] else "all"
