"""Scores of outputs against labels, with intervals over queries, overall and in groups, alone and paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from competition.core.lazy_pandas import pd
from competition.scoring import metrics
from competition.scoring.answers import answers, majority_baseline
from competition.scoring.contest import PAPER, Kind, Task
from competition.scoring.metrics import Array, Codes, Estimate

FULL_DEPTH = 10  # judged products from which on a query says something about ranking
DEEP = f"{FULL_DEPTH}+ products"  # the group of queries that say most about ranking
MOVABLE = "can move"  # the group of queries whose order changes their score
MIN_DEEP_QUERIES = 20  # of them, from which they and not all queries tell runs apart
_SHARES = (0.0, 1.0)  # between which every metric lies


@dataclass(frozen=True)
class Counts:
    """The contribution of each query to a task's metrics, queries ascending, before they are summed."""

    task: Task
    queries: Codes  # (queries,)
    values: Array  # (queries, 2) nDCG and 1, or (queries, 3 * classes) for F1
    groups: dict[str, np.ndarray]  # name -> which queries, (queries,) bool
    ungraded: int = 0  # queries that are left out since they have no gain at all

    @property
    def statistics(self) -> dict[str, metrics.Statistic]:
        """The task's metric first."""
        return _RANKING if self.task.ranks else _CLASSIFICATION

    @property
    def statistic(self) -> metrics.Statistic:
        """The task's metric."""
        return self.statistics[self.task.metric]


_RANKING: dict[str, metrics.Statistic] = {"nDCG": metrics.mean}
_CLASSIFICATION: dict[str, metrics.Statistic] = {
    "micro-F1": metrics.micro_f1,
    "macro-F1": metrics.macro_f1,
}


def graded_rows(task: Task, examples: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a task whose answer is known, sorted by example_id so that no order of the input matters."""
    if task.ranks:
        known = examples["label"].notna()
    else:
        known = pd.Series(task.truth(examples) >= 0, examples.index)

    return examples[examples[task.name] & known].sort_values("example_id")


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
        answer: a score or a class index for each of these rows, see `tasks.answers`; ties go by
            product_id.
        protocol: one of the gains of the contest. All but the first score 0 for a query without
            any gain, as ESCI's published script does, which also swaps two gains.
        ranked: for ranking, rows that are False are missing from the answer.
    """
    query = examples["query_id"].to_numpy(np.int64)
    if task.ranks:
        gain = task.labels.gain(examples["label"], protocol)
        # Codes of sorted ids sort as the ids do, and faster.
        tie = pd.factorize(examples["product_id"], sort=True)[0]
        queries, values = metrics.ndcg_per_query(query, gain, answer, tie, ranked)
        return _ranking_counts(task, examples, queries, values, gain, protocol)

    codes = task.truth(examples)
    queries, counts = metrics.confusion_per_query(
        query, codes, answer.astype(np.int64), len(task.classes)
    )
    return Counts(task, queries, counts, _groups(task, examples))


def count_trivial_baseline(task: Task, examples: pd.DataFrame) -> tuple[str, Counts]:
    """Score the trivial baseline: the expected nDCG of a random order, or one constant answer for every row."""
    if task.ranks:
        query = examples["query_id"].to_numpy(np.int64)
        gain = task.labels.gain(examples["label"])
        queries, values = metrics.random_ndcg_per_query(query, gain)
        return "random order", _ranking_counts(task, examples, queries, values, gain, PAPER)

    name, code = majority_baseline(task)
    constant = np.full(len(examples), float(code))
    return name, count_answers(task, examples, constant)


def _ranking_counts(
    task: Task, examples: pd.DataFrame, queries: Codes, values: Array, gain: Array, protocol: str
) -> Counts:
    groups = _groups(task, examples)
    groups[MOVABLE] = metrics.movable(examples["query_id"].to_numpy(np.int64), gain)
    depth = examples.groupby("query_id").size().to_numpy()  # (queries,) ascending, as all groups
    groups[DEEP] = depth >= FULL_DEPTH

    # A query without any gain is left out, but by ESCI's published script.
    graded = ~np.isnan(values)
    if protocol != PAPER:
        values = np.nan_to_num(values, nan=0.0)
    else:
        queries, values = queries[graded], values[graded]
        groups = {name: members[graded] for name, members in groups.items()}

    totals = np.column_stack([values, np.ones(len(values))])  # (queries, 2)
    return Counts(task, queries, totals, groups, int((~graded).sum()))


def _groups(task: Task, examples: pd.DataFrame) -> dict[str, np.ndarray]:
    locale = examples.groupby("query_id", sort=True)["locale"].first()
    groups = {"all": np.ones(len(locale), bool)}

    for name in task.locales:
        members = (locale == name).to_numpy()
        if members.any():
            groups[name] = members
    return groups


def count_outputs(task: Task, kind: Kind, outputs: pd.DataFrame, examples: pd.DataFrame) -> Counts:
    """Compare a run's outputs (example_id and the columns of `kind`) with the labels of a task's rows, joined by id."""
    rows = graded_rows(task, examples)

    # A left join keeps the order of the rows.
    joined = rows[["example_id"]].merge(outputs, on="example_id", how="left", validate="one_to_one")
    return count_answers(task, rows, answers(task, kind, joined))


def estimate_metrics(
    counts: Counts, groups: tuple[str, ...] | None = None
) -> dict[str, dict[str, Estimate]]:
    """Estimate metric -> group -> estimate; all groups that have a query unless some are named."""
    names = groups or tuple(name for name, members in counts.groups.items() if members.any())

    return {
        metric: {
            name: metrics.bootstrap(counts.values[counts.groups[name]], statistic, within=_SHARES)
            for name in names
        }
        for metric, statistic in counts.statistics.items()
    }


def estimate_score(counts: Counts, group: str = "all") -> Estimate:
    """Estimate the task's metric over a group of queries."""
    return metrics.bootstrap(counts.values[counts.groups[group]], counts.statistic, within=_SHARES)


def estimate_difference(counts: Counts, other: Counts, group: str = "all") -> Estimate:
    """Estimate the paired difference of the task's metric, `counts` minus `other`, over the same queries."""
    if not np.array_equal(counts.queries, other.queries):
        raise ValueError("paired results must have the same queries")

    members = counts.groups[group]
    return metrics.paired_difference(
        counts.values[members], other.values[members], counts.statistic
    )


def leading_group(counts: Counts) -> str:
    """Return the group of queries by which runs are told apart: those of full depth if there are enough, else all."""
    deep = counts.groups.get(DEEP)
    return DEEP if deep is not None and deep.sum() >= MIN_DEEP_QUERIES else "all"
