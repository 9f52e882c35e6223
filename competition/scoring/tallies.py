"""Tallies of rows, labels and answers: what the diagnoses read beside the table of scores, counted once with it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from competition.scoring import evaluation
from competition.scoring.answers import answers
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.task import Task


def count_tallies(
    tasks: Iterable[Task],
    examples: pd.DataFrame,
    plans: Sequence[RunPlan],
    runs: Mapping[str, Run],
    folds: Mapping[str, pd.Series],
) -> dict[str, Any]:
    """Return counts for a JSON file.

    Args:
        tasks: of the contest.
        examples: all examples.
        plans: the runs.
        runs: by name.
        folds: scheme -> the fold of each training row.

    Returns:
        `rows`: split -> rows, queries, the median rows of a query, and the rows of each locale;
        `folds`: scheme -> the rows of each fold; `labels`: task whose answer is one of some words ->
        word -> labelled training rows; `answers`: task -> run -> word -> out-of-fold answers for
        these rows; `fold_scores`: task -> run -> the score of each fold, None where it has no
        labelled row.
    """
    train = examples[examples["split"] == "train"]
    labels: dict[str, Any] = {}
    given: dict[str, Any] = {}
    fold_scores: dict[str, Any] = {}

    for task in tasks:
        rows = evaluation.graded_rows(task, train)
        fold_scores[task.name] = {
            plan.name: _scores_of_folds(task, runs[plan.name], rows)
            for plan in plans
            if task.name in plan.tasks
        }
        if task.metric.reads not in ("class", "level") or rows.empty:
            continue

        is_class = task.kind == "classify"
        truth = task.truth(rows) if is_class else task.labels.codes(rows["label"])
        labels[task.name] = _by_word(task, truth)
        given[task.name] = {
            plan.name: _by_word(task, _answers(task, runs[plan.name], rows))
            for plan in plans
            if task.name in plan.tasks
        }

    return {
        "rows": {str(split): _count_rows(rows) for split, rows in examples.groupby("split")},
        "folds": {scheme: np.bincount(fold).tolist() for scheme, fold in folds.items()},
        "labels": labels,
        "answers": given,
        "fold_scores": fold_scores,
    }


def _scores_of_folds(task: Task, run: Run, rows: pd.DataFrame) -> list[float | None]:
    """Return the score of each fold of a run on its labelled rows; None where there are none, or none that counts."""
    scores: list[float | None] = []
    for fold in range(int(run.fold.max()) + 1):
        outputs = run.held_out[run.fold == fold]
        held_out = rows[rows["example_id"].isin(outputs["example_id"])]
        score = math.nan
        if len(held_out):
            counts = evaluation.count_outputs(task, run.kind, outputs, held_out)
            if len(counts.values):
                score = float(counts.statistic(counts.values.sum(0)))
        scores.append(score if math.isfinite(score) else None)
    return scores


def _answers(task: Task, run: Run, rows: pd.DataFrame) -> np.ndarray:
    """Return a run's out-of-fold answers as indices of words, `(rows,)`."""
    ids = rows[["example_id"]]
    outputs = ids.merge(run.held_out, on="example_id", how="left", validate="one_to_one")
    return answers(task, run.kind, outputs)


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
