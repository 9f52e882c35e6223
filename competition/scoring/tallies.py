"""Tallies of rows, labels and answers: what the diagnoses read beside the table of scores, counted once with it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from competition.core.arrays import Array
from competition.scoring import evaluation
from competition.scoring.counted_runs import CountedRuns
from competition.scoring.evaluation import Counts, GradedRows
from competition.scoring.metrics import index_queries
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.task import Task


class Tallies:
    """Counts of rows, labels, folds and answers for a JSON file."""

    def __init__(self, counted: CountedRuns, folds: Mapping[str, pd.Series]) -> None:
        """Count what needs no run.

        Args:
            counted: the tasks and the examples.
            folds: scheme -> the fold of each training row.
        """
        self.counted = counted
        self._folds = folds
        # The tasks whose answer is one of some words and that have labelled training rows.
        self._with_words = [
            task
            for task in counted.tasks
            if task.metric.reads in ("class", "level")
            and len(counted.graded(task, "train").examples)
        ]
        self._answers: dict[str, Any] = {task.name: {} for task in self._with_words}
        self._fold_scores: dict[str, Any] = {task.name: {} for task in counted.tasks}

    def add(self, plan: RunPlan, run: Run, given: Mapping[str, Array]) -> None:
        """Count the answers of a run that was counted, and its score in each fold.

        Args:
            plan: of the run.
            run: with its outputs.
            given: what `CountedRuns.add` returned.
        """
        for task in self.counted.tasks:
            if task.name in given:
                graded = self.counted.graded(task, "train")
                counts = self.counted.counts(task, "train", plan.name)
                self._fold_scores[task.name][plan.name] = _scores_of_folds(graded, counts, run)
        for task in self._with_words:
            if task.name in given:
                self._answers[task.name][plan.name] = _by_word(task, given[task.name])

    def as_json(self) -> dict[str, Any]:
        """Return what was counted.

        Returns:
            `rows`: split -> rows, queries, the median rows of a query, and the rows of each locale;
            `folds`: scheme -> the rows of each fold; `labels`: task whose answer is one of some
            words -> word -> labelled training rows; `answers`: task -> run -> word -> out-of-fold
            answers for these rows; `fold_scores`: task -> run -> the score of each fold, None where
            it has no labelled row.
        """
        examples = self.counted.examples
        return {
            "rows": {str(split): _count_rows(rows) for split, rows in examples.groupby("split")},
            "folds": {scheme: np.bincount(fold).tolist() for scheme, fold in self._folds.items()},
            "labels": {
                task.name: _by_word(task, self.counted.graded(task, "train").truth)
                for task in self._with_words
            },
            "answers": self._answers,
            "fold_scores": self._fold_scores,
        }


def _scores_of_folds(graded: GradedRows, counts: Counts, run: Run) -> list[float | None]:
    """Return the score of each fold of a run on its labelled rows; None where there are none, or none that counts."""
    place = np.searchsorted(run.held_out["example_id"], graded.examples["example_id"])
    fold = run.fold[place]  # (rows,)
    queries, index = index_queries(graded.units)
    of_query = np.zeros(len(queries), np.int64)
    of_query[index] = fold

    scores: list[float | None] = []
    is_whole = not graded.task.metric.of_all_rows and bool((of_query[index] == fold).all())
    for k in range(int(run.fold.max()) + 1):
        if is_whole:
            values = counts.values[of_query[np.searchsorted(queries, counts.queries)] == k]
        else:
            # Rows of a query are in several folds, or what a row counts depends on all others.
            rows = graded.examples[fold == k]
            values = evaluation.count_outputs(graded.task, run.kind, run.held_out, rows).values
        score = float(counts.statistic(values.sum(0))) if len(values) else math.nan
        scores.append(score if math.isfinite(score) else None)
    return scores


def _by_word(task: Task, codes: np.ndarray) -> dict[str, int]:
    counts = np.bincount(codes.astype(np.int64), minlength=len(task.words))
    return dict(zip(task.words, counts.tolist(), strict=True))


def _count_rows(rows: pd.DataFrame) -> dict[str, Any]:
    depth = rows.groupby("query_id").size()
    return {
        "rows": len(rows),
        "queries": len(depth),
        "depth": float(depth.median()),
        "locales": {str(name): int(count) for name, count in rows.groupby("locale").size().items()},
    }
