"""Runs against the labels of a competition: each is counted once, for every task, and then let go."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from competition.core.arrays import Array
from competition.core.lazy import pd
from competition.core.threads import side_by_side
from competition.scoring.evaluation import Counts, GradedRows
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.task import Task

SPLITS = ("train", "test")


class CountedRuns:
    """What runs count on each task and split; their outputs, of many rows, need not be kept."""

    def __init__(self, tasks: Iterable[Task], examples: pd.DataFrame) -> None:
        """Count nothing yet."""
        self.tasks = tuple(tasks)
        self.examples = examples
        self._counts: dict[tuple[str, str, str], Counts] = {}  # by task, split and run
        # Kept no longer than this object, as decorated methods would be.
        self._rows = cache(self._of_split)
        self._graded = cache(self._grade)
        self._baseline = cache(self._count_baseline)

    def graded(self, task: Task, split: str) -> GradedRows:
        """Return the rows of a task and split whose answer is known, laid out once."""
        return self._graded(task, split)

    def baseline(self, task: Task, split: str) -> tuple[str, Counts]:
        """Return the name and the counts of the trivial baseline, counted once."""
        return self._baseline(task, split)

    def _of_split(self, split: str) -> pd.DataFrame:
        return self.examples[self.examples["split"] == split]

    def _grade(self, task: Task, split: str) -> GradedRows:
        return GradedRows(task, self._rows(split))

    def _count_baseline(self, task: Task, split: str) -> tuple[str, Counts]:
        return self.graded(task, split).count_trivial_baseline()

    def lay_out(self) -> None:
        """Lay out what all runs share, which is otherwise done when the first of them is counted."""
        graded = [(t, s) for s in SPLITS for t in self.tasks if len(self.graded(t, s).examples)]
        for _ in side_by_side(lambda of: self.baseline(*of), graded):
            pass

    def counts(self, task: Task, split: str, run: str) -> Counts:
        """Return what a run that was added counts on a task that it answers."""
        return self._counts[task.name, split, run]

    def add(self, plan: RunPlan, run: Run) -> dict[str, Array]:
        """Count a run on every task that it answers and that has graded rows.

        Returns:
            Task -> the out-of-fold answers to its graded rows, see `answers`.
        """
        given = {}
        for task in self.tasks:
            for split, outputs in zip(SPLITS, (run.held_out, run.test), strict=True):
                graded = self.graded(task, split)
                if task.name in plan.tasks and len(graded.examples):
                    answer = graded.answer(plan.kind, outputs)
                    self._counts[task.name, split, plan.name] = graded.count(answer)
                    if split == "train":
                        given[task.name] = answer
        return given
