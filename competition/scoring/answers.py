"""How outputs of a model answer a task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from competition.core.lazy_pandas import pd
from competition.scoring.contest import Kind, Task

POSITIVE_THRESHOLD = 0.5


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
        values = np.column_stack([1 - positive, positive])  # (rows, 2)
    if task.metric.reads == "probabilities":
        return values
    if task.positive is not None:
        return np.asarray(positive > POSITIVE_THRESHOLD, np.float64)

    return np.asarray(values.argmax(axis=1), np.float64)


def class_names(task: Task, codes: NDArray[np.float64]) -> list[str]:
    """Return class indices as the words of the answer file."""
    return [task.classes[int(code)] for code in codes]
