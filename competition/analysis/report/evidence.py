"""What a report is made from: the complete runs of a workspace against their labels, and what it still lacks."""

from functools import cache, cached_property

import pandas as pd

from competition.core.errors import CompError
from competition.pipeline.plans import PAIRED
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation
from competition.scoring.evaluation import Counts
from competition.scoring.optimism import read_optimism
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.scoreboard import best_runs, scoreboard
from competition.scoring.tasks import TASKS, Task


class Evidence:
    """Reads what is there, each file once; a run that is not complete is named with what its reading complained of."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.workspace = pipeline, pipeline.workspace
        self.plans: list[RunPlan] = []  # of the complete runs, in the order of competition.toml
        self.runs: dict[str, Run] = {}
        self.lacking: dict[str, str] = {}  # other runs -> why
        for plan in pipeline.runs():
            try:
                self.runs[plan.name] = pipeline.maker.read_run(plan)
            except CompError as error:
                self.lacking[plan.name] = self.relative(str(error))
            else:
                self.plans.append(plan)

    @property
    def examples(self) -> pd.DataFrame:
        """All examples."""
        return self.pipeline.maker.examples

    @property
    def products(self) -> pd.DataFrame:
        """All products."""
        return self.pipeline.maker.products

    @cached_property
    def fold(self) -> pd.Series:
        """The fold of each training row, by example_id: of the scheme that ensembles use, where a run has it."""
        schemes = [plan.scheme for plan in self.plans]
        return self.pipeline.maker.fold_of_training(PAIRED if PAIRED in schemes else schemes[0])

    @cached_property
    def floor(self) -> str | None:
        """The run that the others must beat, where it is complete."""
        return self.pipeline.floor if self.pipeline.floor in self.runs else None

    @cached_property
    def board(self) -> pd.DataFrame:
        """What `comp run` writes to `reports/scores.csv`, of the complete runs."""
        floors = dict.fromkeys(TASKS, self.floor) if self.floor else {}
        return scoreboard(
            self.examples, self.plans, self.runs, floors, read_optimism(self.workspace, self.plans)
        )

    @cached_property
    def best(self) -> dict[str, str]:
        """Task -> the run with the highest out-of-fold score."""
        return best_runs(self.board)

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks that a complete run answers and whose out-of-fold rows have labels."""
        return [TASKS[name] for name in self.best]

    @cache  # noqa: B019 - one Evidence per report
    def rows(self, task: Task) -> pd.DataFrame:
        """The training rows of a task whose answer is known."""
        return evaluation.graded_rows(task, self.examples[self.examples["split"] == "train"])

    @cache  # noqa: B019
    def counts(self, task: Task) -> dict[str, Counts]:
        """Run -> its out-of-fold outputs against the labels of a task, best first."""
        return {
            name: evaluation.count_outputs(
                task, self.runs[name].kind, self.runs[name].held_out, self.rows(task)
            )
            for name in self.lines(task)["run"]
        }

    @cache  # noqa: B019
    def baseline(self, task: Task) -> tuple[str, Counts]:
        """What costs nothing."""
        return evaluation.count_trivial_baseline(task, self.rows(task))

    @cache  # noqa: B019
    def group(self, task: Task) -> str:
        """The group of queries by which runs are told apart, see `evaluation.leading`."""
        return evaluation.leading_group(self.baseline(task)[1])

    def lines(
        self, task: Task, group: str | None = None, split: str = "out-of-fold"
    ) -> pd.DataFrame:
        """The lines of the board of a task, best first."""
        board = self.board
        chosen = (board["task"] == task.name) & (board["split"] == split)
        lines = board[chosen & (board["group"] == (group or self.group(task)))]
        return lines.sort_values("score", ascending=False, kind="stable", ignore_index=True)

    def outputs(self, task: Task, run: str) -> pd.DataFrame:
        """The rows of a task with a run's out-of-fold outputs, joined by example_id."""
        return self.rows(task).merge(
            self.runs[run].held_out, on="example_id", how="left", validate="one_to_one"
        )

    def shown(self, task: Task) -> list[str]:
        """The three that stand for all where there is room for few: the best, the best single model, the floor."""
        ranked = list(self.lines(task)["run"])
        single = [name for name in ranked if not self.is_ensemble(name)]
        floor = [name for name in ranked if name == self.floor]
        return list(dict.fromkeys([*ranked[:1], *single[:1], *floor, *ranked]))[:3]

    def is_ensemble(self, run: str) -> bool:
        """Whether a run combines others."""
        return next(plan for plan in self.plans if plan.name == run).command.startswith(
            "comp stack"
        )

    def relative(self, sentence: str) -> str:
        """What reading a file complained of, without where the workspace lies."""
        return sentence.replace(f"{self.workspace.root}/", "")
