"""Scores of outputs against labels, with intervals over queries, overall and in groups, alone and paired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array, Codes, ascends
from competition.core.lazy import pd
from competition.scoring import intervals, metrics
from competition.scoring.answers import answers
from competition.scoring.intervals import Estimate
from competition.scoring.labels import PAPER
from competition.scoring.metric_table import Rows
from competition.scoring.metrics import ClassifiedRows, RankedLists, first_places, index_queries
from competition.scoring.resampling import MANY, Resampled, resample
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
    # By group of MANY queries, see `draw_together`.
    resampled: dict[str, Resampled] = field(default_factory=dict, repr=False, compare=False)

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

    @cached_property
    def terms(self) -> Array:
        """What the metric reads of `values`, `(queries, terms)`: often fewer columns."""
        fewer = self.task.metric.fewer
        return fewer[0](self.values) if fewer else self.values

    def terms_of(self, group: str) -> Array:
        """Return the terms of a group's queries, `(queries, terms)`."""
        members = self.groups[group]
        return self.terms if members.all() else self.terms[members]

    @property
    def of_terms(self) -> intervals.Statistic:
        """The task's metric, of sums of `terms`."""
        fewer = self.task.metric.fewer
        return fewer[1] if fewer else self.statistic


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


class GradedRows:
    """The rows of a task whose answer is known, with what all who answer them share, laid out once."""

    def __init__(self, task: Task, examples: pd.DataFrame) -> None:
        """Pick the rows, see `graded_rows`."""
        self.task = task
        self.examples = graded_rows(task, examples)

    @cached_property
    def truth(self) -> NDArray[Any]:
        """What is asked of each row, `(rows,)`: a gain, the index of a class or level, or a number."""
        task, labels = self.task, self.task.labels
        if task.ranks:
            return labels.gain(self.examples["label"])
        if task.kind == "classify":
            return task.truth(self.examples)
        if task.metric.reads == "level":
            return labels.codes(self.examples["label"])
        return labels.numbers(self.examples["label"])

    @cached_property
    def units(self) -> Codes:
        """What is drawn in a bootstrap: the query of each row, or the row itself, `(rows,)`."""
        name = "example_id" if self.task.by_rows else "query_id"
        return self.examples[name].to_numpy(np.int64)

    @cached_property
    def tie(self) -> Codes:
        """The order of equal scores, by product_id, `(rows,)`."""
        # Codes of sorted ids sort as the ids do, and faster.
        return np.asarray(pd.factorize(self.examples["product_id"], sort=True)[0], np.int64)

    @cached_property
    def lists(self) -> RankedLists:
        """The rows of each query, as a ranking task scores them."""
        return RankedLists(self.units, self.truth, self.tie)

    @cached_property
    def classified(self) -> ClassifiedRows:
        """The rows with their classes, as a classification task counts them."""
        return ClassifiedRows(self.units, self.truth, len(self.task.classes))

    @cached_property
    def _groups(self) -> dict[str, np.ndarray]:
        """Name -> which queries are in the group, `(queries,)`, queries ascending."""
        task = self.task
        queries, index = index_queries(self.units)
        locale = self.examples["locale"].iloc[first_places(index, len(queries))]
        groups = {"all": np.ones(len(queries), bool)}

        # What depends on all rows has no value over some of them.
        for name in () if task.metric.of_all_rows else task.locales:
            members = (locale == name).to_numpy(bool)
            if members.any():
                groups[name] = members

        if task.ranks:
            assert task.metric.movable is not None
            rows = replace(self._rows(self.truth), laid_out=self.lists)
            groups[MOVABLE] = task.metric.movable(rows)
            groups[DEEP] = np.bincount(index, minlength=len(queries)) >= FULL_DEPTH
        return groups

    def count(
        self, answer: Array, protocol: str = PAPER, ranked: np.ndarray | None = None
    ) -> Counts:
        """Compare answers with labels.

        Args:
            answer: a score, a class index, a number or probabilities for each row, see `answers`;
                ties go by product_id.
            protocol: one of the gains of the contest. All but the first score 0 for a query without
                any gain, as ESCI's published script does, which also swaps two gains.
            ranked: for ranking, rows that are False are missing from the answer.
        """
        metric = self.task.metric
        if not self.task.ranks:
            if metric.reads in ("class", "level"):
                answer = answer.astype(np.int64)
            rows = self._rows(answer)
            if metric.reads == "class":
                rows = replace(rows, laid_out=self.classified)
            return Counts(self.task, *metric.count(rows), self._groups)

        if protocol == PAPER:
            rows = replace(self._rows(answer), ranked=ranked, laid_out=self.lists)
            return self._of_lists(*metric.count(rows))

        assert metric.movable is not None
        gain = self.task.labels.gain(self.examples["label"], protocol)
        rows = replace(self._rows(answer), truth=gain, ranked=ranked)
        queries, values = metric.count(rows)
        groups = self._groups | {MOVABLE: metric.movable(rows)}
        ungraded = int(np.isnan(values[:, 0]).sum())
        return Counts(self.task, queries, np.nan_to_num(values, nan=0.0), groups, ungraded)

    def count_outputs(self, kind: Kind, outputs: pd.DataFrame) -> Counts:
        """Compare a run's outputs (example_id and the columns of `kind`), joined by id, with labels."""
        return self.count(self.answer(kind, outputs))

    def answer(self, kind: Kind, outputs: pd.DataFrame) -> Array:
        """Return a run's answer to each row, see `answers`, joined by id."""
        return answers(self.task, kind, self.of_rows(outputs))

    def of_rows(self, outputs: pd.DataFrame) -> pd.DataFrame:
        """Return the outputs of the rows in their order, joined by id."""
        ids = self.examples["example_id"]
        known, wanted = outputs["example_id"].to_numpy(), ids.to_numpy()
        if np.array_equal(known, wanted):
            return outputs
        # A run's outputs are in order, where a place is found faster than a table is joined.
        if ascends(known) and ascends(wanted):
            place = np.searchsorted(known, wanted)
            if len(known) and (known[np.minimum(place, len(known) - 1)] == wanted).all():
                return outputs.iloc[place]

        # A left join keeps the order of the rows.
        return ids.to_frame().merge(outputs, on="example_id", how="left", validate="one_to_one")

    def count_trivial_baseline(self) -> tuple[str, Counts]:
        """Score what takes no model: a random order, or the best answer that is the same for every row.

        That is the most frequent class or the shares of all; the mean where squares of errors count
        or levels are compared, the median where errors do.
        """
        task, truth, reads = self.task, self.truth, self.task.metric.reads
        if task.ranks:
            assert task.metric.random is not None
            rows = replace(self._rows(truth), laid_out=self.lists)
            return "random order", self._of_lists(*task.metric.random(rows))

        if task.kind == "rate":
            middle = np.median if task.metric.name == "mae" else np.mean
            number = float(middle(task.labels.numbers(self.examples["label"])))
            if reads == "level":
                code = int(task.labels.levels(np.array([number]))[0])
                return f"all {task.labels.names[code]}", self._count_one(code)
            return f"all {number:.3g}", self._count_one(number)

        share = np.bincount(truth, minlength=len(task.classes)) / max(len(truth), 1)  # (classes,)
        if reads == "probabilities":
            return "shares of classes", self.count(np.tile(share, (len(truth), 1)))
        code = int(share.argmax())
        return f"all {task.classes[code]}", self._count_one(code)

    def _count_one(self, answer: float) -> Counts:
        """Return the counts of an answer that is the same for every row."""
        return self.count(np.full(len(self.truth), float(answer)))

    def _rows(self, answer: NDArray[Any]) -> Rows:
        """Return the rows with an answer, as metrics take them."""
        task = self.task
        if not task.ranks:
            return Rows(self.units, self.truth, answer, len(task.classes or task.labels))
        return Rows(self.units, self.truth, answer, tie=self.tie, relevant_from=task.relevant_from)

    def _of_lists(self, queries: Codes, values: Array) -> Counts:
        """Return counts of lists `(queries, 2)`, a value and 1, without the queries that have no gain at all."""
        graded = ~np.isnan(values[:, 0])
        if graded.all():
            return Counts(self.task, queries, values, self._groups)
        groups = {name: members[graded] for name, members in self._groups.items()}
        ungraded = int((~graded).sum())
        return Counts(self.task, queries[graded], values[graded], groups, ungraded)


def count_outputs(task: Task, kind: Kind, outputs: pd.DataFrame, examples: pd.DataFrame) -> Counts:
    """Compare a run's outputs with the labels of a task's rows, once, see `GradedRows`."""
    return GradedRows(task, examples).count_outputs(kind, outputs)


def estimate_metrics(
    counts: Counts, groups: tuple[str, ...] | None = None
) -> dict[str, dict[str, Estimate]]:
    """Estimate metric -> group -> estimate; all groups that have a query unless some are named."""
    names = groups or tuple(name for name, members in counts.groups.items() if members.any())
    found: dict[str, dict[str, Estimate]] = {metric: {} for metric in counts.statistics}

    # Group by group: the metrics of one share its draws.
    for name in names:
        for metric, statistic in counts.statistics.items():
            if metric == counts.task.metric.label:
                found[metric][name] = estimate_score(counts, name)
            else:
                values = counts.values[counts.groups[name]]
                found[metric][name] = intervals.bootstrap(values, statistic, within=counts.within)
    return found


def draw_together(counts: Iterable[Counts], group: str = "all") -> None:
    """Draw the queries of a group once for several results, whose intervals then need no draws of their own.

    Results over other numbers of queries are drawn apart, few queries when they are asked for.
    """
    by_number: dict[int, list[Counts]] = {}
    for each in counts:
        members = each.groups[group]
        number = int(np.count_nonzero(members))
        if number < MANY or group in each.resampled:
            continue
        # Groups may be the same: where all queries can move, or have ten products.
        known = (
            name for name in list(each.resampled) if np.array_equal(each.groups[name], members)
        )
        if same := next(known, None):
            each.resampled[group] = each.resampled[same]
        else:
            by_number.setdefault(number, []).append(each)

    for alike in by_number.values():
        terms = [each.terms_of(group) for each in alike]
        drawn = resample(terms, 0, intervals.RESAMPLES)
        for each, result in zip(alike, drawn, strict=True):
            each.resampled[group] = result


def estimate_score(counts: Counts, group: str = "all") -> Estimate:
    """Estimate the task's metric over a group of queries."""
    draw_together([counts], group)
    if group in counts.resampled:
        result = counts.resampled[group]
        return intervals.estimate_resampled(result, counts.of_terms, counts.within)
    return intervals.bootstrap(counts.terms_of(group), counts.of_terms, within=counts.within)


def estimate_difference(counts: Counts, other: Counts, group: str = "all") -> Estimate:
    """Estimate the paired difference of the task's metric, `counts` minus `other`, over the same queries."""
    same = np.array_equal(counts.queries, other.queries)
    if not same or not np.array_equal(counts.groups[group], other.groups[group]):
        raise ValueError("paired results must have the same queries")

    draw_together([counts, other], group)
    if group in counts.resampled:
        one, another = counts.resampled[group], other.resampled[group]
        return intervals.difference_of_resampled(one, another, counts.of_terms)
    return intervals.paired_difference(
        counts.terms_of(group), other.terms_of(group), counts.of_terms
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
