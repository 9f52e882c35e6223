"""Where scores come from: a task's metric by locale, fold, length of the query and number of its products."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from competition.analysis.report.evidence import Evidence
from competition.scoring import evaluation
from competition.scoring.evaluation import Counts
from competition.scoring.tasks import LOCALES, Task

# The least of each range; the last is open.
LENGTHS = (1, 11, 21, 31, 41)  # characters, since not every language puts spaces between words
DEPTHS = (1, 2, 5, 10, 20)  # judged products of the query
COLUMNS = ("task", "run", "by", "group", "queries", "score", "low", "high")


def group_queries(evidence: Evidence, task: Task) -> dict[str, pd.Series]:
    """What queries are told apart by -> the part that each query of a task is in, an ordered category by query_id."""
    rows = evidence.rows(task)
    by_query = rows.assign(fold=evidence.fold.loc[rows["example_id"]].to_numpy()).groupby(
        "query_id", sort=True
    )
    first = by_query[["locale", "fold", "query"]].first()
    folds = sorted(first["fold"].unique())
    return {
        "locale": _named(
            first["locale"], [name for name in LOCALES if (first["locale"] == name).any()]
        ),
        "fold": _named(first["fold"].map("fold {}".format), [f"fold {fold}" for fold in folds]),
        "characters of the query": _ranges(first["query"].str.len(), LENGTHS),
        "products of the query": _ranges(by_query.size(), DEPTHS),
    }


def breakdown(evidence: Evidence, task: Task) -> pd.DataFrame:
    """A line with COLUMNS per run, way of telling queries apart, and part that has a query; runs best first."""
    lines = []
    for by, part in group_queries(evidence, task).items():
        for run, counts in evidence.counts(task).items():
            for name, score in _scores(counts, part):
                lines.append(
                    (task.name, run, by, name, score.queries, score.value, score.low, score.high)
                )
    return pd.DataFrame(lines, columns=list(COLUMNS))


def baseline_breakdown(evidence: Evidence, task: Task) -> dict[tuple[str, str], float]:
    """What costs nothing, by way of telling queries apart and part."""
    counts = evidence.baseline(task)[1]
    return {
        (by, name): score.value
        for by, part in group_queries(evidence, task).items()
        for name, score in _scores(counts, part)
    }


def _scores(counts: Counts, part: pd.Series) -> Iterator[tuple[str, evaluation.Estimate]]:
    of_query = part.reindex(counts.queries)
    members = {str(name): (of_query == name).to_numpy() for name in part.cat.categories}
    grouped = replace(counts, groups=members)
    for name, chosen in members.items():
        if chosen.any():
            yield name, evaluation.estimate_score(grouped, name)


def _named(values: pd.Series, names: list[str]) -> pd.Series:
    return values.astype(pd.CategoricalDtype(names, ordered=True))


def _ranges(values: pd.Series, edges: tuple[int, ...]) -> pd.Series:
    """Numbers as the names of their ranges."""
    lasts = [*(after - 1 for after in edges[1:]), None]
    names = [
        f"{edge}+" if last is None else str(edge) if edge == last else f"{edge}–{last}"
        for edge, last in zip(edges, lasts, strict=True)
    ]
    place = np.searchsorted(edges, values.to_numpy(), side="right") - 1
    return _named(pd.Series(np.array(names)[np.maximum(place, 0)], values.index), names)
