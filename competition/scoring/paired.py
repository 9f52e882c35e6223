"""Rows of an ablation compared in pairs, over the same queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from competition.core.arrays import Array, Codes
from competition.scoring import intervals
from competition.scoring.evaluation import Counts
from competition.scoring.intervals import Estimate, Statistic


@dataclass(frozen=True)
class PairedRow:
    """One row's result by one metric."""

    name: str
    metric: str
    score: Estimate  # the mean over the seeds
    of_seeds: tuple[float, ...]  # empty for the baseline
    difference: Estimate | None  # to the line before it; None for the first
    to_first: Estimate | None  # to the first row of the table, not to the baseline; None for these
    paper: float | None
    paper_minus: float | None  # the published difference, to the line that the table compares with

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the seeds' scores; None for fewer than two."""
        return float(np.std(self.of_seeds, ddof=1)) if len(self.of_seeds) > 1 else None


@dataclass(frozen=True)
class FlawedRow:
    """One row's result when the rows that the audit would drop are dropped from the evaluation, too: a flawed protocol.

    It is how the paper came by its figures: what a model finds hard is left out of its exam.
    """

    name: str
    metric: str
    score: Estimate  # on what is left
    flatters: Estimate  # minus the same row's score on all rows
    claim: Estimate  # minus the first row's score on all rows: what would be claimed


def align_counts(counts: Counts, queries: Codes) -> Array:
    """Return what each of `queries` adds, 0 for those that have no row left."""
    values = np.zeros((len(queries), counts.values.shape[1]))
    values[np.searchsorted(queries, counts.queries)] = counts.values
    return values


def compare_rows(
    metric: str,
    statistic: Statistic,
    rows: Sequence[tuple[str, list[Array], float | None, float | None]],
    baseline: tuple[str, Array] | None = None,
) -> list[PairedRow]:
    """Compare each row with the line before it and with the first row.

    Args:
        metric: its name.
        statistic: from sums `(…, m)` to values.
        rows: in order, a name, what each query (or title) adds in each seed, `(queries, m)`, the
            published figure and the published difference.
        baseline: a name and what each query adds; the first line where it is given.
    """
    lines: list[PairedRow] = []
    before = first = None  # the values of the line before, and of the first row

    if baseline is not None:
        name, before = baseline
        score = intervals.bootstrap(before, statistic)
        lines.append(PairedRow(name, metric, score, (), None, None, None, None))

    for name, of_seeds, paper, minus in rows:
        # Sums over the seeds: the statistic of a sum is then the mean of the seeds' statistics.
        values = np.sum(of_seeds, axis=0)
        scores = tuple(float(statistic(one.sum(0))) for one in of_seeds)
        to_before, to_first = (
            None if other is None else intervals.paired_difference(values, other, statistic)
            for other in (before, first)
        )

        # The published difference is to the line before, unless the table says otherwise.
        if minus is None and lines and paper and lines[-1].paper:
            minus = paper - lines[-1].paper

        score = intervals.bootstrap(values, statistic)
        lines.append(PairedRow(name, metric, score, scores, to_before, to_first, paper, minus))

        before = values
        first = values if first is None else first
    return lines
