"""What the page shows of a run's out-of-fold answers to a task, so that its outputs need not be kept."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.analysis.report.reliability import Reliability, reliability
from competition.core.arrays import Array, Codes
from competition.scoring.evaluation import GradedRows
from competition.scoring.task import Kind


@dataclass(frozen=True)
class RunAnswers:
    """A run's answers to the graded rows of a task, in small.

    Attributes:
        codes: the class or level of each row, `(rows,)`; None where the answer is an order or a
            number.
        first: the product that is ranked first in each query, as a code, `(queries,)`; None where
            nothing is ranked.
        reliability: expected against observed values; None where the run is not made for the task,
            or gives bare scores, which have no scale.
        whole: the answer itself, where what a row counts depends on all others; else None.
    """

    codes: NDArray[np.unsignedinteger] | None
    first: Codes | None
    reliability: Reliability | None
    whole: Array | None


def summarise(graded: GradedRows, kind: Kind, outputs: pd.DataFrame, answer: Array) -> RunAnswers:
    """Return what the page shows of a run.

    Args:
        graded: the rows of a task.
        kind: of the outputs.
        outputs: of the run, joined by id.
        answer: that they are to the task, see `answers`.
    """
    task = graded.task
    codes = first = bins = None
    if task.ranks:
        first = graded.tie[graded.lists.first_rows(answer)]
    elif task.metric.reads != "number":
        codes = most_probable(answer).astype(np.min_scalar_type(len(task.words)))
    if kind.primary == task.name and kind.role != "score":
        bins = reliability(*expectation(graded, kind, graded.of_rows(outputs), answer))
    return RunAnswers(codes, first, bins, answer if task.metric.of_all_rows else None)


def most_probable(answer: Array) -> Array:
    """Return classes or levels as they are, `(rows,)`; of probabilities the most probable class."""
    return np.asarray(answer.argmax(axis=1), np.float64) if answer.ndim == 2 else answer


def expectation(
    graded: GradedRows, kind: Kind, outputs: pd.DataFrame, answer: Array
) -> tuple[Array, Array]:
    """Return the expected and the observed value of each row, both `(rows,)`, with the meaning of `axes`.

    Args:
        graded: the rows of a task.
        kind: of the outputs.
        outputs: of these rows.
        answer: that they are to the task, see `answers`.
    """
    task, labels = graded.task, graded.examples["label"]
    values = kind.values(outputs)  # (rows, outputs)
    if task.kind == "rate":
        # Before they become levels.
        ratings = task.labels.expected_number(values) if kind.is_classes else values[:, 0]
        return ratings, task.labels.numbers(labels)
    if task.ranks:
        return answer, graded.truth
    if task.positive is not None:
        return values[:, 0], graded.truth.astype(np.float64)

    # The probability of the answer, and whether it is right.
    is_right = most_probable(answer) == graded.truth
    return values.max(axis=1), is_right.astype(np.float64)
