"""Scores over parts of the queries, see `query_groups`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from competition.analysis.report.evidence import Evidence
from competition.core.arrays import Codes
from competition.scoring import evaluation
from competition.scoring.evaluation import Counts
from competition.scoring.intervals import Estimate
from competition.scoring.task import Task

COLUMNS = ("task", "run", "by", "group", "queries", "score", "low", "high", "baseline")


def breakdown(evidence: Evidence, task: Task) -> pd.DataFrame:
    """Return a line with COLUMNS per run, grouping and group that has a query; runs best first.

    Of a ranking task, the queries are those whose order changes their score. `baseline` is the
    score of the trivial baseline.
    """
    lines = []
    _, trivial = evidence.baseline(task)
    for by, group in evidence.query_groups(task).items():
        count_trivial = partial(_count_baseline, evidence, task)
        baseline = {name: score.value for name, score in _scores(trivial, group, count_trivial)}
        for run, counts in evidence.counts(task).items():
            for name, score in _scores(counts, group, partial(_count_run, evidence, task, run)):
                values = (score.queries, score.value, score.low, score.high, baseline[name])
                lines.append((task.name, run, by, name, *values))
    return pd.DataFrame(lines, columns=list(COLUMNS))


# Counts of some of a task's queries, or rows where these are counted.
_Recount = Callable[[Codes], Counts]


def _count_run(evidence: Evidence, task: Task, run: str, units: Codes) -> Counts:
    rows = _rows_of(evidence, task, units)
    return evaluation.count_outputs(
        task, evidence.runs[run].kind, evidence.runs[run].held_out, rows
    )


def _count_baseline(evidence: Evidence, task: Task, units: Codes) -> Counts:
    return evaluation.count_trivial_baseline(task, _rows_of(evidence, task, units))[1]


def _rows_of(evidence: Evidence, task: Task, units: Codes) -> pd.DataFrame:
    rows = evidence.rows(task)
    return rows[rows["example_id" if task.by_rows else "query_id"].isin(units)]


def _scores(counts: Counts, group: pd.Series, recount: _Recount) -> Iterator[tuple[str, Estimate]]:
    """Yield each group that has a query, with its score.

    What a metric such as AUC counts of a query depends on all others: its groups are counted again.
    """
    # Counts are in the order of their own queries; lists that cannot move score the same in any order.
    group = group.reindex(counts.queries)
    movable = counts.groups.get(evaluation.MOVABLE, np.ones(len(group), bool))
    masks = {str(name): (group == name).to_numpy() & movable for name in group.cat.categories}
    grouped = replace(counts, groups=masks)

    for name, mask in masks.items():
        if mask.any() and counts.task.metric.of_all_rows:
            yield name, evaluation.estimate_score(recount(counts.queries[mask]))
        elif mask.any():
            yield name, evaluation.estimate_score(grouped, name)
