"""Scores over parts of the queries: by locale, fold, length of the query and number of its products."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from competition.analysis.report.evidence import Evidence
from competition.scoring import evaluation
from competition.scoring.contest import Task
from competition.scoring.evaluation import Counts
from competition.scoring.metrics import Estimate

# The least value of each range; the last range is open.
LENGTHS = (1, 11, 21, 31, 41)  # characters, since not every language puts spaces between words
DEPTHS = (1, 2, 5, 10, 20)  # judged products of the query
COLUMNS = ("task", "run", "by", "group", "queries", "score", "low", "high")


def group_queries(evidence: Evidence, task: Task) -> dict[str, pd.Series]:
    """Return, for each grouping, the group of each query of a task: an ordered category by query_id."""
    rows = evidence.rows(task)
    rows = rows.assign(fold=evidence.fold.loc[rows["example_id"]].to_numpy())
    by_query = rows.groupby("query_id", sort=True)
    first = by_query[["locale", "fold", "query"]].first()

    locales = [name for name in task.locales if (first["locale"] == name).any()]
    folds = [f"fold {fold}" for fold in sorted(first["fold"].unique())]
    return {
        "locale": _ordered(first["locale"], locales),
        "fold": _ordered(first["fold"].map("fold {}".format), folds),
        "characters of the query": _ranges(first["query"].str.len(), LENGTHS),
        "products of the query": _ranges(by_query.size(), DEPTHS),
    }


def breakdown(evidence: Evidence, task: Task) -> pd.DataFrame:
    """Return a line with COLUMNS per run, grouping and group that has a query; runs best first."""
    lines = [
        (task.name, run, by, name, score.queries, score.value, score.low, score.high)
        for by, group in group_queries(evidence, task).items()
        for run, counts in evidence.counts(task).items()
        for name, score in _scores(counts, _of_units(evidence, task, group))
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def baseline_breakdown(evidence: Evidence, task: Task) -> dict[tuple[str, str], float]:
    """Return the score of the trivial baseline by grouping and group."""
    _, counts = evidence.baseline(task)
    return {
        (by, name): score.value
        for by, group in group_queries(evidence, task).items()
        for name, score in _scores(counts, _of_units(evidence, task, group))
    }


def _of_units(evidence: Evidence, task: Task, group: pd.Series) -> pd.Series:
    """Return the group of each query as that of each unit of the task's counts, which may be rows."""
    if not task.by_rows:
        return group
    rows = evidence.rows(task)
    return group.reindex(rows["query_id"]).set_axis(rows["example_id"])


def _scores(counts: Counts, group: pd.Series) -> Iterator[tuple[str, Estimate]]:
    """Yield each group that has a query, with its score."""
    # Counts are in the order of their own queries.
    group = group.reindex(counts.queries)
    masks = {str(name): (group == name).to_numpy() for name in group.cat.categories}
    grouped = replace(counts, groups=masks)

    for name, mask in masks.items():
        if mask.any():
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
