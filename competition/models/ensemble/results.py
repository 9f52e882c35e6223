"""What an ensemble learned for a fold, and the rows that it answers with it."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import pandas as pd

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.models.ensemble.members import EnsembleRows, Member, MemberOutputs
from competition.scoring.task import Kind, Task

T = TypeVar("T")


@dataclass(frozen=True)
class Answered:
    """Rows that an ensemble answers once it is fitted, and all that it reads of them.

    Attributes:
        task: what the ensemble answers.
        kind: of what it says.
        recipe: how it combines its members.
        members: sorted by name; `test` holds their outputs for the rows.
        examples: the rows, sorted by example_id.
        text: features of text by example_id, None where none are read.
        other_tasks: in which of them each row is, as far as the recipe may know; else none.
    """

    task: Task
    kind: Kind
    recipe: EnsembleRecipe
    members: Sequence[Member]
    examples: pd.DataFrame
    text: pd.DataFrame | None
    other_tasks: Sequence[str] = ()
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def tests(cls, rows: EnsembleRows, text: pd.DataFrame | None) -> "Answered":
        """Return the test rows; `text` holds features by example_id."""
        members = rows.members
        return cls(rows.task, rows.kind, rows.recipe, members, rows.test, text, rows.other_tasks)

    @property
    def outputs(self) -> list[MemberOutputs]:
        """Each member's outputs."""
        return [
            MemberOutputs(member.name, member.kind, member.kind.values(member.test))
            for member in self.members
        ]

    @cached_property
    def without_members(self) -> "Answered":
        """The same rows without any member."""
        return replace(self, members=())

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` gives, which is called once for a key: folds share what they read."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made


class Combination(Protocol):
    """How a fold combines its members, once that is learned."""

    def answer(self, rows: Answered) -> Array:
        """Return what it says of rows that it was not fitted on, `(rows, outputs)`."""
        ...


@dataclass(frozen=True)
class FoldResult:
    """The ensemble of one fold: its outputs, and what it learned from the rows of the other folds."""

    # Outputs of the rows that it was learned from; of trees and regressions, by models that left
    # the row out. Decisions (CAN, thresholds, cut-points) are learned from them.
    training: Array  # (graded rows outside the fold, outputs)
    held_out: Array  # (rows of the fold, outputs)
    test: Array  # (test rows, outputs)
    fitted: Combination  # what said this of the test rows, and says as much of others

    # What was learned, for reports; empty where the method has no such thing.
    weights: dict[str, dict[str, float]] = field(default_factory=dict)  # locale -> member -> weight
    importance: dict[str, float] = field(default_factory=dict)  # feature -> share of splits' gain
    rounds: list[int] = field(default_factory=list)  # number of trees of each model
    factors: list[float] = field(default_factory=list)  # of the classes, see `thresholds.py`
    cuts: list[float] = field(default_factory=list)  # between the levels, see `cut_points.py`
