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
    Rating: a number (the expected one of class probabilities, or the rating itself).
    Classification: an index into `task.classes`.

    Raises:
        ValueError: outputs of that kind do not answer the task.
    """
    if task.name not in kind.tasks:
        raise ValueError(f"outputs of kind {kind.name!r} do not answer {task.name}")

    values = kind.values(outputs)  # (rows, outputs)
    if task.ranks:
        return task.labels.expected_gain(values) if kind.is_classes else values[:, 0]
    if task.kind == "rate":
        return task.labels.expected_number(values) if kind.is_classes else values[:, 0]

    if task.positive is not None:
        positive = outputs[f"p_{task.positive}"].to_numpy(np.float64) > POSITIVE_THRESHOLD
        return np.asarray(positive, np.float64)

    return np.asarray(values.argmax(axis=1), np.float64)


def majority_baseline(task: Task) -> tuple[str, int]:
    """Return the name and the class index of the constant answer that a classifier must beat."""
    return f"all {task.classes[0]}", 0


def class_names(task: Task, codes: NDArray[np.float64]) -> list[str]:
    """Return class indices as the words of the answer file."""
    return [task.classes[int(code)] for code in codes]
