"""The evidence of a report: the complete runs of a workspace against their labels, and the missing runs."""

from collections.abc import Sequence
from functools import cache, cached_property
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.analysis.report.query_groups import group_queries
from competition.analysis.report.run_answers import RunAnswers, summarise
from competition.core.commands import command_for
from competition.core.console import progress
from competition.core.errors import CompError
from competition.core.threads import cores, side_by_side
from competition.data.store import product_rows
from competition.pipeline.keys import PAIRED
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation
from competition.scoring.counted_runs import CountedRuns
from competition.scoring.evaluation import Counts, GradedRows
from competition.scoring.optimism import read_optimism
from competition.scoring.predictions import RunPlan
from competition.scoring.scoreboard import best_first, best_runs, scoreboard
from competition.scoring.task import Task


class Evidence:
    """Reads the complete runs, each once, several at a time; one that is not complete has the error of its reading."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.workspace = pipeline.workspace
        # Of the complete runs, in the order of competition.toml.
        self.plans: list[RunPlan] = []
        self.missing: dict[str, str] = {}  # other runs -> the reason
        self.counted = CountedRuns(pipeline.plan.contest.tasks.values(), self.examples)
        self._answers: dict[tuple[str, str], RunAnswers] = {}  # by task and run
        # By what is drawn, the ids of rows and the groups of their queries: tasks may have the same rows.
        self._grouped: list[tuple[str, NDArray[np.int64], dict[str, pd.Series]]] = []

        plans = pipeline.plan.runs()
        with progress("runs", len(plans), "runs") as work:
            # Threads would make several times what they share, so that the first run goes ahead.
            self.counted.lay_out()
            # One more than there are cores, since some wait for a file or for Python's lock.
            others = side_by_side(self._read, plans[1:], at_once=cores() + 1)
            read = chain(map(self._read, plans[:1]), others)
            for plan, error in zip(plans, read, strict=True):
                work.advance(1)
                if error is None:
                    self.plans.append(plan)
                else:
                    self.missing[plan.name] = self.relative(str(error))

    def _read(self, plan: RunPlan) -> CompError | None:
        """Count a run and keep what the page shows of its answers; return why it is not complete, if so."""
        try:
            run = self.pipeline.tables.read_run(plan)
            self._check_card(plan)
        except CompError as error:
            return error

        for name, answer in self.counted.add(plan, run).items():
            graded = self.graded(self.pipeline.plan.contest.tasks[name])
            self._answers[name, plan.name] = summarise(graded, plan.kind, run.held_out, answer)
        return None

    def _check_card(self, plan: RunPlan) -> None:
        """Raise CompError where an ensemble was cut off behind its outputs, before its card says what it learned."""
        is_ensemble = bool(self.pipeline.plan.contest.split_run(plan.name)[1])
        if is_ensemble and self.pipeline.complete_run(plan).state != "done":
            raise CompError(
                f"{plan.name} is not complete: `{command_for(plan.command)}` builds it."
            )

    @property
    def examples(self) -> pd.DataFrame:
        """All examples."""
        return self.pipeline.tables.examples

    @property
    def products(self) -> pd.DataFrame:
        """All products."""
        return self.pipeline.tables.products

    @cached_property
    def _position(self) -> NDArray[np.int64]:
        return product_rows(self.examples, self.products)

    def position(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Return the position in `products` of each row's product, `(rows,)`; -1 where it is not there."""
        # Examples are sorted by their ids.
        return self._position[np.searchsorted(self.examples["example_id"], rows["example_id"])]

    @cached_property
    def fold(self) -> pd.Series:
        """The fold of each training row, by example_id: of the scheme of ensembles, if a run has it."""
        schemes = [plan.scheme for plan in self.plans]
        return self.pipeline.tables.fold_of_training(PAIRED if PAIRED in schemes else schemes[0])

    @cached_property
    def floor(self) -> str | None:
        """The lexical baseline, if it is complete."""
        name = self.pipeline.recipes.lexical_baseline
        return name if any(plan.name == name for plan in self.plans) else None

    @cached_property
    def board(self) -> pd.DataFrame:
        """The lines of `reports/scores.csv` as `comp run` writes them, of the complete runs."""
        floors = dict.fromkeys(self.pipeline.plan.contest.tasks, self.floor) if self.floor else {}
        optimism = read_optimism(self.workspace, self.plans)
        return scoreboard(self.counted, self.plans, floors, optimism)

    @cached_property
    def best(self) -> dict[str, str]:
        """Task -> the run with the best out-of-fold score."""
        return best_runs(self.board)

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks that a complete run answers and whose out-of-fold rows have labels."""
        return [self.pipeline.plan.contest.tasks[name] for name in self.best]

    def graded(self, task: Task) -> GradedRows:
        """Return the labelled training rows of a task."""
        return self.counted.graded(task, "train")

    def rows(self, task: Task) -> pd.DataFrame:
        """Return these rows as a table."""
        return self.graded(task).examples

    @cache  # noqa: B019 - one Evidence per report
    def counts(self, task: Task) -> dict[str, Counts]:
        """Return the counts of each run's out-of-fold outputs against the labels of a task, best first."""
        runs = self.lines(task)["run"]
        return {run: self.counted.counts(task, "train", run) for run in runs}

    def answers(self, task: Task) -> dict[str, RunAnswers]:
        """Return what the page shows of each run's out-of-fold answers to a task, best first."""
        return {run: self._answers[task.name, run] for run in self.counts(task)}

    def baseline(self, task: Task) -> tuple[str, Counts]:
        """Return the name and the counts of the trivial baseline."""
        return self.counted.baseline(task, "train")

    @cache  # noqa: B019
    def query_groups(self, task: Task) -> dict[str, pd.Series]:
        """Return, for each grouping, the group of each query of a task, see `query_groups`."""
        rows = self.rows(task)
        ids = rows["example_id"].to_numpy()
        unit = "example_id" if task.by_rows else "query_id"
        for other_unit, other_ids, groups in self._grouped:
            if other_unit == unit and np.array_equal(other_ids, ids):
                return groups

        rows = rows.assign(fold=self.fold.loc[ids].to_numpy())
        contest, position = self.pipeline.plan.contest, self.position(rows)
        groups = group_queries(rows, unit, contest, self.products, position)
        self._grouped.append((unit, ids, groups))
        return groups

    @cached_property
    def submitted(self) -> dict[str, str]:
        """Task -> the complete run that a submission is made from; nothing where no test rows are to be answered."""
        if not self.pipeline.plan.card.has_test_rows:
            return {}

        plan, named = self.pipeline.plan, self.pipeline.recipes.submission()
        runs = {task: plan.run(run, task).name for task, run in named.items()}
        complete = {plan.name for plan in self.plans}
        return {task: run for task, run in runs.items() if run in complete}

    def answer(self, task: Task) -> str:
        """Return the run that answers a task: the submitted one, else the best."""
        submitted = self.submitted.get(task.name)
        return submitted if submitted in self.counts(task) else self.best[task.name]

    @cache  # noqa: B019
    def group(self, task: Task) -> str:
        """Return the group of queries on which runs are compared, see `evaluation.leading_group`."""
        return evaluation.leading_group(self.baseline(task)[1])

    def lines(
        self, task: Task, group: str | None = None, split: str = "out-of-fold"
    ) -> pd.DataFrame:
        """Return the lines of the board of a task, best first.

        Args:
            task: that is scored.
            group: of queries; None for that on which runs are compared, see `self.group`.
            split: of the rows, as the board names it.
        """
        board = self.board
        of_task = (board["task"] == task.name) & (board["split"] == split)
        wanted = group or self.group(task)
        lines = board[of_task & (board["group"] == wanted)]
        # Where every list of a split can move, these are all.
        if lines.empty and wanted == evaluation.MOVABLE:
            lines = board[of_task & (board["group"] == "all")]
        return best_first(lines)

    def outputs(self, task: Task, run: str, queries: Sequence[int] | None = None) -> pd.DataFrame:
        """Return the rows of a task, or of some queries, with a run's out-of-fold outputs, joined by example_id."""
        held_out = self.pipeline.tables.read_run(self.plan(run)).held_out
        outputs = self.graded(task).of_rows(held_out).drop(columns="example_id")
        # A task may be called as an output is.
        rows = self.rows(task).drop(columns=list(self.pipeline.plan.contest.tasks))
        if queries is not None:
            inside = rows["query_id"].isin(queries).to_numpy()
            rows, outputs = rows[inside], outputs[inside]
        return pd.concat([rows, outputs.set_axis(rows.index)], axis=1)

    def representatives(self, task: Task) -> list[str]:
        """Return at most three runs for a small figure: the answer, the best single model, the lexical baseline.

        Where two of them are the same run, the next best ones fill up.
        """
        ranked = list(self.lines(task)["run"])
        single = [name for name in ranked if not self.is_ensemble(name)]
        floor = [name for name in ranked if name == self.floor]
        return list(dict.fromkeys([self.answer(task), *single[:1], *floor, *ranked]))[:3]

    def is_ensemble(self, run: str) -> bool:
        """Return whether a run is an ensemble."""
        return self.plan(run).command.startswith("comp stack")

    def plan(self, run: str) -> RunPlan:
        """Return the plan of a complete run."""
        return next(plan for plan in self.plans if plan.name == run)

    def relative(self, sentence: str) -> str:
        """Return an error message without the path of the workspace."""
        return sentence.replace(f"{self.workspace.root}/", "")
