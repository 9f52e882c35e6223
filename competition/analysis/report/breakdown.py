"""Scores over parts of the queries, see `query_groups`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from competition.analysis.report.evidence import Evidence
from competition.core.threads import side_by_side
from competition.scoring import evaluation
from competition.scoring.evaluation import Counts, GradedRows
from competition.scoring.intervals import Estimate
from competition.scoring.task import Task

COLUMNS = ("task", "run", "by", "group", "queries", "score", "low", "high", "baseline")


def breakdown(evidence: Evidence, tasks: Sequence[Task]) -> pd.DataFrame:
    """Return a line with COLUMNS per task, grouping, run and group that has a query; runs best first.

    Of a ranking task, the queries are those whose order changes their score. `baseline` is the
    score of the trivial baseline.
    """
    of_tasks = [_GroupedCounts(evidence, task) for task in tasks]

    # What is drawn of a group serves all runs, and all tasks over as many queries.
    groups = dict.fromkeys(group for each in of_tasks for group in each.drawn)
    for _ in side_by_side(lambda group: _draw(of_tasks, group), groups):
        pass
    lines = [line for each in of_tasks for line in each.lines()]
    return pd.DataFrame(lines, columns=list(COLUMNS))


class _GroupedCounts:
    """What all runs count on a task, with the groups of its queries."""

    def __init__(self, evidence: Evidence, task: Task) -> None:
        self.task = task
        self._evidence = evidence
        self.by = evidence.query_groups(task)
        _, trivial = evidence.baseline(task)
        self.baseline = self._with_groups(trivial)
        self.runs = {
            run: self._with_groups(counts) for run, counts in evidence.counts(task).items()
        }

    def _with_groups(self, counts: Counts) -> Counts:
        groups = dict(counts.groups)
        # Lists that cannot move score the same in any order.
        movable = groups.get(evaluation.MOVABLE, groups["all"])
        for by, group in self.by.items():
            # Counts are in the order of their own queries.
            of_query = group.reindex(counts.queries)
            for name in group.cat.categories:
                members = (of_query == name).to_numpy() & movable
                if members.any():
                    groups[_key(by, name)] = members
        return replace(counts, groups=groups, resampled=dict(counts.resampled))

    @property
    def drawn(self) -> list[str]:
        """The groups whose queries are drawn; what a metric such as AUC counts of a query depends on all others."""
        if self.task.metric.of_all_rows:
            return []
        keys = [_key(by, name) for by, group in self.by.items() for name in group.cat.categories]
        return [key for key in keys if key in self.baseline.groups]

    def lines(self) -> Iterator[tuple[object, ...]]:
        """Yield lines with COLUMNS."""
        for by, group in self.by.items():
            keys = {str(name): _key(by, name) for name in group.cat.categories}
            known = {name: key for name, key in keys.items() if key in self.baseline.groups}
            scores = {name: self._scores(key) for name, key in known.items()}
            for run in self.runs:
                for name, (baseline, of_runs) in scores.items():
                    score = of_runs[run]
                    values = (score.queries, score.value, score.low, score.high, baseline.value)
                    yield (self.task.name, run, by, name, *values)

    def _scores(self, group: str) -> tuple[Estimate, dict[str, Estimate]]:
        """Return the scores of the baseline and of the runs over a group."""
        if not self.task.metric.of_all_rows:
            estimate = evaluation.estimate_score
            of_runs = {run: estimate(counts, group) for run, counts in self.runs.items()}
            return estimate(self.baseline, group), of_runs

        # Its rows are counted again.
        rows = self._evidence.graded(self.task)
        inside = np.isin(rows.units, self.baseline.queries[self.baseline.groups[group]])
        some = GradedRows(self.task, rows.examples[inside])
        answers = self._evidence.answers(self.task)
        scores = {
            run: evaluation.estimate_score(some.count(each.whole[inside]))
            for run, each in answers.items()
            if each.whole is not None
        }
        return evaluation.estimate_score(some.count_trivial_baseline()[1]), scores


def _draw(of_tasks: Sequence[_GroupedCounts], group: str) -> None:
    counts = [each for of_task in of_tasks for each in (of_task.baseline, *of_task.runs.values())]
    evaluation.draw_together([each for each in counts if group in each.groups], group)


def _key(by: str, name: object) -> str:
    """Return the name of a group among those of counts."""
    return f"{by}: {name}"
