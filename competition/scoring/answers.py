"""How outputs of a model answer a task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from competition.core.lazy import pd
from competition.scoring.labels import number_text
from competition.scoring.task import Kind, Task

POSITIVE_THRESHOLD = 0.5
SUM_TOLERANCE = 1e-3  # of the probabilities that an answer file gives a row


def answers(task: Task, kind: Kind, outputs: pd.DataFrame) -> NDArray[np.float64]:
    """Return a run's outputs as the metric of `task` takes them, `(rows,)`.

    Ranking: a score, higher is better (expected gain of class probabilities, or the score itself).
    Rating: a number (the expected one of class probabilities, or the rating itself), or the index
    of the nearest level. Classification: an index into `task.classes`, or the probabilities of
    all, `(rows, classes)`.

    Raises:
        ValueError: outputs of that kind do not answer the task.
    """
    if task.name not in kind.tasks:
        raise ValueError(f"outputs of kind {kind.name!r} do not answer {task.name}")

    values = kind.values(outputs)  # (rows, outputs)
    if task.ranks:
        return task.labels.expected_gain(values) if kind.is_classes else values[:, 0]
    if task.kind == "rate":
        numbers = task.labels.expected_number(values) if kind.is_classes else values[:, 0]
        reads_levels = task.metric.reads == "level"
        return task.labels.levels(numbers).astype(np.float64) if reads_levels else numbers

    if task.positive is not None:
        positive = outputs[f"p_{task.positive}"].to_numpy(np.float64)
        if task.metric.reads != "probabilities":
            return np.asarray(positive > POSITIVE_THRESHOLD, np.float64)
        return np.column_stack([1 - positive, positive])  # (rows, 2)
    if task.metric.reads == "probabilities":
        return values

    return _first_greatest(values)


def _first_greatest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the index of the first greatest column of each row, `(rows, columns)` -> `(rows,)`.

    Tables lie column by column, which `argmax` over the columns reads several times more slowly.
    """
    index, greatest = np.zeros(len(values), np.int32), values[:, 0].copy()
    for place, column in enumerate(values.T[1:], start=1):
        greater = column > greatest
        index *= ~greater
        index += greater * np.int32(place)
        np.maximum(greatest, column, out=greatest)
    return index.astype(np.float64)


def class_names(task: Task, codes: NDArray[np.float64]) -> list[str]:
    """Return indices of classes or levels as the words of the answer file."""
    return [task.words[int(code)] for code in codes]


def write_cells(task: Task, answer: NDArray[np.float64]) -> pd.DataFrame:
    """Return answers, from `answers`, as the columns of the answer file after its keys.

    Classes and levels are words; of two probabilities only that of the second class is written
    where there is one column for it.
    """
    if task.words and task.metric.reads != "probabilities":
        return pd.DataFrame({task.answers[0]: class_names(task, answer)})

    values = answer if answer.ndim == 2 else answer[:, None]  # (rows, 1 or classes)
    return pd.DataFrame(values[:, -len(task.answers) :], columns=list(task.answers))


def read_values(task: Task, cells: pd.DataFrame) -> NDArray[np.float64]:
    """Return the columns of an answer as the metric of `task` takes them, see `answers`; NaN for what is no answer."""
    if task.words and task.metric.reads != "probabilities":
        given = cells[task.answers[0]]
        codes = {word: code for code, word in enumerate(task.words)}
        found = given.map(codes)
        # A level may be written as `3` or `3.0`.
        if task.metric.reads == "level":
            numbers = pd.to_numeric(given, errors="coerce")
            found = found.fillna(numbers.dropna().map(number_text).map(codes))
        return np.asarray(found, np.float64)

    numbers = cells[list(task.answers)].apply(pd.to_numeric, errors="coerce")
    values: NDArray[np.float64] = np.array(numbers, np.float64)  # (rows, answers)
    values[~np.isfinite(values)] = np.nan
    if task.metric.reads != "probabilities":
        return np.asarray(values[:, 0])

    values[(values < 0) | (values > 1)] = np.nan
    if len(task.answers) == 1:
        values = np.hstack([1 - values, values])  # (rows, 2)
    # Programs that write fewer digits round.
    values[np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE] = np.nan
    return values
