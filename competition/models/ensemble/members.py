"""What an ensemble is made from: its members, and the rows that each fold may learn from.

A member is a complete run: outputs of every training row, by the model that held the row out, and
of every test row. An ensemble is cross-fitted over folds of its own: what answers the rows of a
fold is learned from graded rows of the other folds, so that an ensemble has an out-of-fold score as
a member has.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.errors import CompError
from competition.core.fingerprint import derive_seed
from competition.data.folds import first_queries
from competition.scoring.evaluation import graded_rows
from competition.scoring.task import Kind, Task

Positions = NDArray[np.int64]  # of rows in `EnsembleRows.train` or `.test`

# Rows that one fit reads: weights and trees need no more, and time and memory stay bounded.
MAX_ROWS = 100_000

# Parts of the queries for decisions within a fold: what is learned on four is judged on the fifth.
PARTS = 5

# Names in the weights of a result: of rows of any locale, and of what is read beside the members.
ALL_LOCALES = "all"
TEXT = "text"


@dataclass(frozen=True)
class Member:
    """A complete run as an ensemble reads it; all frames are sorted by example_id."""

    name: str
    kind: Kind

    # Fold -> the outputs of all training rows as the ensemble of that fold may see them: the same
    # for all folds unless the ensemble is nested.
    seen: Mapping[int, pd.DataFrame]
    test: pd.DataFrame

    # Whether it is made of text features alone.
    lexical: bool = False


@dataclass(frozen=True)
class MemberOutputs:
    """The outputs of one member for some rows, in their order."""

    name: str
    kind: Kind
    values: Array  # (rows, outputs)


class EnsembleRows:
    """The members and examples of one task, and which rows a fold learns from and holds out.

    Attributes:
        task: what the ensemble answers.
        kind: of what it says.
        recipe: how it combines its members.
        other_tasks: in which of them each row is, as far as the recipe may know; else none.
        members: sorted by name, so that their order changes nothing.
        train: training examples, sorted by example_id; all positions count its rows.
        test: test examples, sorted by example_id.
        folds: that there are, sorted.
        graded: which training rows may be learned from, `(training rows,)`.
    """

    def __init__(
        self,
        task: Task,
        kind: Kind,
        members: list[Member],
        examples: pd.DataFrame,
        fold: pd.Series,
        recipe: EnsembleRecipe,
        tasks: Sequence[str] = (),
    ) -> None:
        """Sort members and examples, and find the rows that are graded.

        Args:
            task: what the ensemble answers.
            kind: of what it says, that which answers just this task.
            members: complete runs.
            examples: all examples, in any order.
            fold: the fold of each example, with the index of `examples`.
            recipe: how the members are combined.
            tasks: the names of all tasks, for recipes that are leaky.

        Raises:
            CompError: a member covers other rows, or a fold leaves nothing to learn from.
        """
        self.task = task
        self.kind = kind
        self.recipe = recipe
        self.other_tasks = [name for name in tasks if name != task.name] if recipe.leaky else []
        self.members = sorted(members, key=lambda member: member.name)

        ordered = examples.assign(_fold=fold).sort_values("example_id", ignore_index=True)
        self.train, self.test = (
            ordered[ordered["split"] == split].reset_index(drop=True) for split in ("train", "test")
        )
        self._fold_of_row = self.train["_fold"].to_numpy(np.int64)  # (training rows,)
        self.folds: list[int] = sorted(set(self._fold_of_row.tolist()))

        graded_ids = graded_rows(task, self.train)["example_id"]
        self.graded = np.isin(self.train["example_id"], graded_ids)  # (training rows,)
        if recipe.train_queries:
            self.graded &= first_queries(self.train, recipe.train_queries)

        self._check_coverage()
        # The paper's method learns nothing.
        if recipe.method != "paper":
            self._check_folds()

    def _check_coverage(self) -> None:
        """Raise where a member has outputs of other rows than the examples."""
        for member in self.members:
            frames = [(self.test, member.test)]
            frames += [(self.train, outputs) for outputs in member.seen.values()]
            for rows, outputs in frames:
                if not np.array_equal(rows["example_id"], outputs["example_id"]):
                    stray = np.setxor1d(rows["example_id"], outputs["example_id"])
                    raise CompError(
                        f"The member {member.name!r} does not cover the same rows as the others: "
                        f"{len(stray)} ids differ."
                    )

    def _check_folds(self) -> None:
        """Raise where all graded rows are in one fold."""
        for k in self.folds:
            if not len(self.graded_outside(k)):
                raise CompError(
                    f"{self.task.name}: without fold {k} there is no labelled row to learn an ensemble from."
                )

    def held_out(self, fold: int) -> Positions:
        """Return the positions of all rows of a fold, graded or not."""
        return np.flatnonzero(self._fold_of_row == fold)

    def graded_outside(self, *folds: int) -> Positions:
        """Return the positions of the graded rows outside some folds: what may be learned from."""
        return np.flatnonzero(self.graded & ~np.isin(self._fold_of_row, folds))

    def graded_in(self, fold: int) -> Positions:
        """Return the positions of the graded rows of a fold."""
        return np.flatnonzero(self.graded & (self._fold_of_row == fold))

    def train_outputs(self, fold: int) -> list[MemberOutputs]:
        """Return each member's outputs of the training rows, as `fold` may see them."""
        return [
            MemberOutputs(member.name, member.kind, member.kind.values(member.seen[fold]))
            for member in self.members
        ]

    def without_members(self) -> "EnsembleRows":
        """Return the same rows and folds without any member."""
        rows = copy(self)
        rows.members = []
        # No member's outputs are left that could differ from fold to fold.
        rows.recipe = self.recipe.model_copy(update={"nested": False})
        return rows

    def seed(self, *folds: int) -> int:
        """Return the seed of what is drawn where these folds are left out."""
        return derive_seed(self.recipe.seed, self.task.name, *folds)


def answer_values(task: Task, kind: Kind, member: Kind, outputs: pd.DataFrame) -> Array:
    """Return what a member's outputs say to a task: probabilities to classify, else one number.

    Args:
        task: that the member answers.
        kind: that which answers just this task.
        member: the kind of the outputs.
        outputs: example_id and the member's columns.

    Returns:
        `(rows, outputs of the kind)`.
    """
    # Probabilities have the same columns in every kind that classifies.
    if task.kind == "classify":
        return kind.values(outputs)

    # Not `answers`: where the metric reads levels, what is combined are still numbers.
    values = member.values(outputs)
    if member.is_classes:
        labels = task.labels
        expected = labels.expected_gain if task.ranks else labels.expected_number
        values = expected(values)[:, None]
    return values


def sample_queries(query: NDArray[np.int64], rows: int, seed: int) -> NDArray[np.bool_]:
    """Return a mask of whole queries, drawn at random, that have at most `rows` rows together.

    Args:
        query: the query of each row.
        rows: at most so many, unless the only query that is drawn has more.
        seed: of what is drawn; the order of rows changes nothing.
    """
    if len(query) <= rows:
        return np.ones(len(query), bool)

    queries, index, counts = np.unique(query, return_inverse=True, return_counts=True)
    order = np.random.default_rng(derive_seed(seed, "rows")).permutation(len(queries))
    fitting = int(np.searchsorted(counts[order].cumsum(), rows, side="right"))

    taken = np.zeros(len(queries), bool)
    taken[order[: max(1, fitting)]] = True
    return np.asarray(taken[index], bool)


def split_queries(query: NDArray[np.int64], parts: int, seed: int) -> NDArray[np.int64]:
    """Deal whole queries out at random and return the part of each row, `(rows,)`.

    The order of rows changes nothing.
    """
    queries, index = np.unique(query, return_inverse=True)
    part = np.random.default_rng(derive_seed(seed, "parts")).permutation(len(queries)) % parts
    return np.asarray(part[index], np.int64)


def stacker_targets(task: Task, rows: pd.DataFrame) -> tuple[NDArray[np.int64], int]:
    """Return the class that a stacker learns for each row, and the number of classes.

    The classes are the labels, which hold more than whether a label is the one that is asked for;
    they are the two answers where there are no more labels, or a row has an answer but no label.

    Returns:
        `(rows,)`, -1 where the class is unknown, and the number of labels, or 2.
    """
    codes = task.labels.codes(rows["label"])
    if task.positive is not None:
        truth = task.truth(rows)
        if len(task.labels) == 2 or ((codes < 0) & (truth >= 0)).any():
            return truth, 2
    return codes, len(task.labels)


def number_targets(task: Task, rows: pd.DataFrame) -> Array:
    """Return the number that a stacker learns for each row, `(rows,)`: a gain to rank by, or a rating."""
    return task.labels.gain(rows["label"]) if task.ranks else task.labels.numbers(rows["label"])


def task_outputs(task: Task, probabilities: Array) -> Array:
    """Return the outputs that answer a task from probabilities of a stacker's classes.

    Args:
        task: what is answered.
        probabilities: `(rows, classes)`, see `stacker_targets`.

    Returns:
        `(rows, outputs)`.
    """
    if task.ranks:
        return task.labels.expected_gain(probabilities)[:, None]
    if task.kind == "rate":
        return task.labels.expected_number(probabilities)[:, None]
    if task.positive is None:
        return probabilities

    # Of two classes, the second is the positive one.
    two = probabilities.shape[1] == 2
    return probabilities[:, [1 if two else task.labels.names.index(task.positive)]]


def number_outputs(task: Task, numbers: Array) -> Array:
    """Return the outputs that answer a task from numbers that were learned, `(rows,)` -> `(rows, 1)`.

    Ratings stay in their range, which sums of trees or features may leave.
    """
    if not task.ranks:
        numbers = np.clip(numbers, task.labels.lowest, task.labels.highest)
    return numbers[:, None]


def row_weights(task: Task, rows: pd.DataFrame) -> Array:
    """Return how much each row counts in a fit, `(rows,)`, with a mean of 1.

    Rows of one query share what is special about it, so that n of them hold less information than
    rows of n queries: under an intraclass correlation r their variance is 1 + (n - 1) r times as
    large (Kish 1965), and 1 / (1 + (n - 1) r) is the weight of a row in generalised least squares.
    n ** -1/2 lies between equal rows and equal queries. What is special about a query does not
    change the order of its products, so for ranking all rows count alike.
    """
    if task.ranks:
        return np.ones(len(rows))

    query = rows["query_id"].to_numpy(np.int64)
    _, index, sizes = np.unique(query, return_inverse=True, return_counts=True)
    weight = sizes[index] ** -0.5
    return np.asarray(weight / weight.mean(), np.float64)
