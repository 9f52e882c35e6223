"""The rows of an ensemble in the order of their ids, and which of them each fold may learn from."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.recipe import EnsembleRecipe
from competition.core.errors import CompError
from competition.core.fingerprint import derive_seed
from competition.data.folds import first_queries
from competition.scoring.evaluation import graded_rows
from competition.scoring.metrics import Array
from competition.scoring.tasks import KINDS, LABELS, Task, expected_gain, label_codes, truth

Positions = NDArray[np.int64]
MAX_ROWS = 100_000  # that one fit looks at: weights and trees need no more, and time and memory stay bounded
PARTS = 5  # of the queries: what is chosen on all parts but one is judged on that one


@dataclass(frozen=True)
class Member:
    """A complete run as an ensemble reads it; all frames are sorted by example_id.

    `seen` holds, for each fold, the outputs of all training rows as the ensemble of that fold may
    see them: the same for all folds unless the ensemble is nested. `lexical` is whether it is made
    of text features alone.
    """

    name: str
    kind: str
    seen: Mapping[int, pd.DataFrame]
    test: pd.DataFrame
    lexical: bool = False


@dataclass(frozen=True)
class FoldResult:
    """What one fold's combination says of the rows that it was learned on, holds out and tests, `(rows, outputs)`.

    `training` is what decisions are learned on: of trees, by models that left the row out.
    """

    training: Array
    held_out: Array
    test: Array
    weights: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # locale or "all" -> member or "text" -> weight
    importance: dict[str, float] = field(
        default_factory=dict
    )  # feature -> share of the gain of all splits
    rounds: list[int] = field(default_factory=list)  # how many trees each model predicts with
    factors: list[float] = field(default_factory=list)  # of the classes


class EnsembleRows:
    """Members and examples of one task."""

    def __init__(
        self,
        task: Task,
        members: list[Member],
        examples: pd.DataFrame,
        fold: pd.Series,
        recipe: EnsembleRecipe,
    ) -> None:
        """`fold` has the index of `examples`; the order of examples and of members changes nothing.

        Raises:
            CompError: a member covers other rows, or a fold leaves nothing to learn from.
        """
        self.task, self.recipe = task, recipe
        self.members = sorted(members, key=lambda member: member.name)
        ordered = examples.assign(_fold=fold).sort_values("example_id", ignore_index=True)
        parts = [
            ordered[ordered["split"] == split].reset_index(drop=True) for split in ("train", "test")
        ]
        self.train, self.test = parts
        self._of_row = self.train["_fold"].to_numpy(np.int64)
        self.folds: list[int] = sorted(set(self._of_row.tolist()))
        self._graded = np.isin(
            self.train["example_id"], graded_rows(task, self.train)["example_id"]
        )
        if recipe.train_queries:
            self._graded &= first_queries(self.train, recipe.train_queries)
        self._check()

    def _check(self) -> None:
        for member in self.members:
            for rows, outputs in [
                (self.test, member.test),
                *((self.train, seen) for seen in member.seen.values()),
            ]:
                if not np.array_equal(rows["example_id"], outputs["example_id"]):
                    stray = np.setxor1d(rows["example_id"], outputs["example_id"])
                    raise CompError(
                        f"The member {member.name!r} does not cover the same rows as the others: "
                        f"{len(stray)} ids differ."
                    )
        for k in self.folds if self.recipe.method != "paper" else ():
            if not len(self.graded_outside(k)):
                raise CompError(
                    f"{self.task.name}: without fold {k} there is no labelled row to learn an ensemble from."
                )

    def held_out(self, fold: int) -> Positions:
        """Positions in `train` of all rows of a fold."""
        return np.flatnonzero(self._of_row == fold)

    def graded_outside(self, *without: int) -> Positions:
        """Positions in `train` of the graded rows outside some folds, as far as they may be learned from."""
        return np.flatnonzero(self._graded & ~np.isin(self._of_row, without))

    def graded_in(self, fold: int) -> Positions:
        """Positions in `train` of the graded rows of a fold, as far as they may be learned from."""
        return np.flatnonzero(self._graded & (self._of_row == fold))

    def without_members(self) -> "EnsembleRows":
        """The same rows and folds without any member."""
        rows = copy(self)
        rows.members, rows.recipe = [], self.recipe.model_copy(update={"nested": False})
        return rows

    def seed(self, *folds: int) -> int:
        """Of what is drawn where these folds are left out."""
        return derive_seed(self.recipe.seed, self.task.name, *folds)


def output_values(kind: str, outputs: pd.DataFrame) -> Array:
    """The columns of a kind, `(rows, outputs)`."""
    return outputs[list(KINDS[kind].outputs)].to_numpy(np.float64)


def sample_queries(query: NDArray[np.int64], rows: int, seed: int) -> NDArray[np.bool_]:
    """Which rows belong to whole queries, drawn at random, of at most `rows` rows together; at least one query."""
    queries, index, counts = np.unique(query, return_inverse=True, return_counts=True)
    if len(query) <= rows:
        return np.ones(len(query), bool)
    order = np.random.default_rng(derive_seed(seed, "rows")).permutation(len(queries))
    taken = np.zeros(len(queries), bool)
    taken[order[: max(1, int(np.searchsorted(counts[order].cumsum(), rows, side="right")))]] = True
    return np.asarray(taken[index], bool)


def split_queries(query: NDArray[np.int64], parts: int, seed: int) -> NDArray[np.int64]:
    """Deal whole queries out at random; returns the part of each row, `(rows,)`, which no order of rows changes."""
    queries, index = np.unique(query, return_inverse=True)
    dealt = np.random.default_rng(derive_seed(seed, "parts")).permutation(len(queries)) % parts
    return np.asarray(dealt[index], np.int64)


def stacker_targets(task: Task, rows: pd.DataFrame) -> tuple[NDArray[np.int64], int]:
    """Return the class that a stacker learns for each row, `(rows,)`, -1 where it is unknown, and how many there are.

    The four labels, which tell more than whether a product is a substitute; for task 3 the two
    answers where a row has an answer but no label.
    """
    codes = label_codes(rows["label"])
    if task.name == "task3" and ((codes < 0) & (truth(task, rows) >= 0)).any():
        return truth(task, rows), len(task.classes)
    return codes, len(LABELS)


def task_outputs(task: Task, values: Array) -> Array:
    """Return what answers a task, `(rows, outputs)`, from probabilities of a stacker's classes, `(rows, classes)`."""
    if task.metric == "nDCG":
        return expected_gain(values)[:, None]
    return (
        values[:, [1]] if task.name == "task3" else values
    )  # of two classes and of four, the second is substitute


def row_weights(task: Task, rows: pd.DataFrame) -> Array:
    """Return how much each row counts in a fit, `(rows,)`, with a mean of 1.

    Rows of one query share what is special about it, so that n of them say less than rows of n
    queries: under an intraclass correlation r their variance is 1 + (n - 1) r times as large (Kish
    1965), and 1 / (1 + (n - 1) r) is the weight of a row in generalised least squares. n ** -1/2
    lies between equal rows and equal queries. What is special about a query does not change the
    order of its products, so for ranking all rows count alike.
    """
    if task.metric == "nDCG":
        return np.ones(len(rows))
    _, index, sizes = np.unique(
        rows["query_id"].to_numpy(np.int64), return_inverse=True, return_counts=True
    )
    weight = sizes[index] ** -0.5
    return np.asarray(weight / weight.mean(), np.float64)
