"""Scores over parts of the queries: by locale, fold, length of the query and number of its products."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from competition.analysis.report.evidence import Evidence
from competition.scoring import evaluation
from competition.scoring.contest import Task
from competition.scoring.evaluation import Counts
from competition.scoring.metrics import Codes, Estimate

# The least value of each range; the last range is open.
LENGTHS = (1, 11, 21, 31, 41)  # characters, since not every language puts spaces between words
DEPTHS = (1, 2, 5, 10, 20)  # judged products of the query
COLUMNS = ("task", "run", "by", "group", "queries", "score", "low", "high")


def group_queries(evidence: Evidence, task: Task) -> dict[str, pd.Series]:
    """Return, for each grouping, the group of each query of a task: an ordered category by query_id.

    Where folds are of rows, it is that of each row, by example_id, as the task counts them.
    """
    rows = evidence.rows(task)
    rows = rows.assign(
        fold=evidence.fold.loc[rows["example_id"]].to_numpy(),
        products=rows.groupby("query_id")["query_id"].transform("size"),
    )
    units = rows.groupby("example_id" if task.by_rows else "query_id", sort=True)
    first = units[["locale", "fold", "query", "products"]].first()

    groups: dict[str, pd.Series] = {}
    if task.locales:
        known = [name for name in task.locales if (first["locale"] == name).any()]
        groups["locale"] = _ordered(first["locale"], known)
    folds = [f"fold {fold}" for fold in sorted(first["fold"].unique())]
    groups["fold"] = _ordered(first["fold"].map("fold {}".format), folds)
    groups["characters of the query"] = _ranges(first["query"].str.len(), LENGTHS)
    groups["products of the query"] = _ranges(first["products"], DEPTHS)
    return groups


def breakdown(evidence: Evidence, task: Task) -> pd.DataFrame:
    """Return a line with COLUMNS per run, grouping and group that has a query; runs best first."""
    lines = [
        (task.name, run, by, name, score.queries, score.value, score.low, score.high)
        for by, group in group_queries(evidence, task).items()
        for run, counts in evidence.counts(task).items()
        for name, score in _scores(counts, group, partial(_count_run, evidence, task, run))
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def baseline_breakdown(evidence: Evidence, task: Task) -> dict[tuple[str, str], float]:
    """Return the score of the trivial baseline by grouping and group."""
    _, counts = evidence.baseline(task)
    return {
        (by, name): score.value
        for by, group in group_queries(evidence, task).items()
        for name, score in _scores(counts, group, partial(_count_baseline, evidence, task))
    }


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
    # Counts are in the order of their own queries.
    group = group.reindex(counts.queries)
    masks = {str(name): (group == name).to_numpy() for name in group.cat.categories}
    grouped = replace(counts, groups=masks)

    for name, mask in masks.items():
        if mask.any() and counts.task.metric.of_all_rows:
            yield name, evaluation.estimate_score(recount(counts.queries[mask]))
        elif mask.any():
            yield name, evaluation.estimate_score(grouped, name)


def _ordered(values: pd.Series, names: list[str]) -> pd.Series:
    return values.where(values.isin(names)).astype(pd.CategoricalDtype(names, ordered=True))


def _ranges(values: pd.Series, edges: tuple[int, ...]) -> pd.Series:
    """Return the names of the ranges in which numbers lie, such as 2–4."""
    names = []
    for edge, following in zip(edges, (*edges[1:], None), strict=True):
        if following is None:
            names.append(f"{edge}+")
        else:
            names.append(str(edge) if following == edge + 1 else f"{edge}–{following - 1}")

    # The last range that begins at or before the number.
    place = np.searchsorted(edges, values.to_numpy(), side="right") - 1
    named = np.array(names)[np.maximum(place, 0)]
    return _ordered(pd.Series(named, values.index), names)
