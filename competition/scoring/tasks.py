"""The competition: labels, gains, tasks, and how a model's outputs become answers. Written here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from competition.core.lazy_pandas import pd

LOCALES = ("us", "es", "jp")
LANGUAGES = {"us": "en", "es": "es", "jp": "ja"}  # of queries and products, as HTML names them
LABELS = ("exact", "substitute", "complement", "irrelevant")
LABEL_MEANINGS = {  # as the data set's authors put it, shortened
    "exact": "meets everything that the query asks for",
    "substitute": "misses something that the query asks for, but would do instead",
    "complement": "is not what the query asks for, but goes together with it",
    "irrelevant": "has nothing to do with the query, or misses its main point",
}
LABEL_LETTERS = {"E": "exact", "S": "substitute", "C": "complement", "I": "irrelevant"}

# `official_script` is what the organisers' published script computes: S and C swapped, see
# `metrics.ndcg_per_query`.
GAINS: dict[str, dict[str, float]] = {
    "paper": {"exact": 1.0, "substitute": 0.1, "complement": 0.01, "irrelevant": 0.0},
    "official_script": {"exact": 1.0, "substitute": 0.01, "complement": 0.1, "irrelevant": 0.0},
}
FULL_DEPTH = 10  # judged products from which a query says something about ranking


@dataclass(frozen=True)
class Task:
    """One question of the competition and the file that answers it."""

    name: str
    metric: Literal["nDCG", "micro-F1"]
    # The answers of a classification task, most frequent first; empty for ranking.
    classes: tuple[str, ...]
    keys: tuple[str, ...]  # what identifies a row of the answer file
    answer: str | None  # the column of the answer; None where the order is the answer

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the answer file, in the order in which they are written."""
        return (*self.keys, self.answer) if self.answer else self.keys

    @property
    def file(self) -> str:
        """The name of the answer file."""
        return f"{self.name}.csv"


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("task1", "nDCG", (), ("query_id", "product_id"), None),
        Task("task2", "micro-F1", LABELS, ("example_id",), "esci_label"),
        Task(
            "task3",
            "micro-F1",
            ("no_substitute", "substitute"),
            ("example_id",),
            "substitute_label",
        ),
    )
}


@dataclass(frozen=True)
class Kind:
    """A kind of prediction: the columns it writes, the tasks that they answer, and the one that it is made for."""

    outputs: tuple[str, ...]
    tasks: tuple[str, ...]
    primary: str

    @property
    def probabilities(self) -> bool:
        """True where the outputs of a row are probabilities that sum to 1."""
        return len(self.outputs) == len(LABELS)


KINDS: dict[str, Kind] = {
    "classes": Kind(tuple(f"p_{label}" for label in LABELS), ("task1", "task2", "task3"), "task2"),
    "gain": Kind(("gain",), ("task1",), "task1"),
    "substitute": Kind(("p_substitute",), ("task3",), "task3"),
    "score": Kind(("score",), ("task1",), "task1"),
}
# The kind that answers just this task.
ANSWER_KIND = {"task1": "score", "task2": "classes", "task3": "substitute"}
SUBSTITUTE_THRESHOLD = 0.5


def gains(labels: pd.Series, protocol: str = "paper") -> NDArray[np.float64]:
    """Return the gain of each label, `(rows,)`; NaN where the label is unknown."""
    return np.asarray(labels.map(GAINS[protocol]), np.float64)


def truth(task: Task, examples: pd.DataFrame) -> NDArray[np.int64]:
    """Return the class of each example as an index into `task.classes`, `(rows,)`; -1 where it is unknown."""
    if task.name == "task3":
        codes = examples["substitute"].astype("boolean").astype("Int64").fillna(-1)
        return np.asarray(codes, dtype=np.int64)

    return label_codes(examples["label"])


def label_codes(labels: pd.Series) -> NDArray[np.int64]:
    """Return labels as indices into LABELS, `(rows,)`; -1 where a label is unknown."""
    codes = {label: code for code, label in enumerate(LABELS)}
    return np.array([codes.get(label, -1) for label in labels], np.int64)


def numeric_target(kind: str, examples: pd.DataFrame) -> NDArray[np.float64]:
    """Return the target of each example for `kind`, `(rows,)`: a class index or a gain; NaN if unknown."""
    if kind == "gain":
        return gains(examples["label"])

    task = TASKS["task3" if kind == "substitute" else "task2"]
    codes = truth(task, examples)
    return np.where(codes < 0, np.nan, codes.astype(np.float64))


def hard_target(kind: str, examples: pd.DataFrame) -> NDArray[np.float64]:
    """Return the target of examples whose label is known, as a distribution or a gain, `(rows, outputs)`."""
    if kind == "gain":
        return numeric_target(kind, examples)[:, None]

    task = TASKS["task3" if kind == "substitute" else "task2"]
    codes = numeric_target(kind, examples).astype(np.int64)  # (rows,)
    return np.eye(len(task.classes))[codes]


def targets_from_classes(kind: str, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities `(rows, 4)` as targets of `kind`: a distribution or a gain, `(rows, outputs)`."""
    if kind == "gain":
        return expected_gain(probabilities)[:, None]

    # The classes of task 3: anything else, substitute.
    if kind == "substitute":
        substitute = probabilities[:, [LABELS.index("substitute")]]
        return np.hstack([1 - substitute, substitute])

    return probabilities


def expected_gain(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected gain of class probabilities `(rows, 4)` in the order of LABELS, `(rows,)`."""
    gain_of_class = np.array([GAINS["paper"][label] for label in LABELS])  # (4,)
    expected: NDArray[np.float64] = probabilities @ gain_of_class
    return expected


def answers(task: Task, kind: str, outputs: pd.DataFrame) -> NDArray[np.float64]:
    """Return a run's outputs as the metric of `task` takes them, `(rows,)`.

    Ranking: a score, higher is better (expected gain of class probabilities, or the score itself).
    Classification: an index into `task.classes`.
    """
    if task.name not in KINDS[kind].tasks:
        raise ValueError(f"outputs of kind {kind!r} do not answer {task.name}")

    values = outputs[list(KINDS[kind].outputs)].to_numpy(np.float64)  # (rows, outputs)
    if task.metric == "nDCG":
        return expected_gain(values) if kind == "classes" else values[:, 0]

    if task.name == "task3":
        substitute = outputs["p_substitute"].to_numpy(np.float64) > SUBSTITUTE_THRESHOLD
        return np.asarray(substitute, np.float64)

    return np.asarray(values.argmax(axis=1), np.float64)


def majority_baseline(task: Task) -> tuple[str, int]:
    """Return the name and the class index of the constant answer that a classifier must beat."""
    return f"all {task.classes[0]}", 0


def class_names(task: Task, codes: NDArray[np.float64]) -> list[str]:
    """Return class indices as the words of the answer file."""
    return [task.classes[int(code)] for code in codes]


def class_indices(task: Task) -> Mapping[str, int]:
    """Return the class index of each word of the answer file."""
    return {name: index for index, name in enumerate(task.classes)}
