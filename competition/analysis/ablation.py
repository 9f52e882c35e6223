"""Ablations: tables of recipes that differ in one key at a time, over the same folds, orders and seeds.

A row of a table is a recipe like any other, with its own run in `oof/`, so an interrupted ablation
resumes. Each row is compared with the one before it over the same queries. Intervals are over
queries; the variation between seeds shows only with several `seeds`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from competition.analysis.ablation_rows import (
    ablation_run_name,
    base_recipe,
    row_pretraining,
    row_recipe,
)
from competition.config.ablation_tables import ROLES, AblationTable, NamedTable, load_table
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.keys import RUN_SEPARATOR
from competition.config.recipe import AnyRecipe
from competition.core.arrays import Array
from competition.core.atomic import write_text
from competition.core.errors import InputError
from competition.core.parquet import read_table
from competition.core.workspace import Workspace
from competition.models.encoder.pretraining_card import best_epoch, read_epochs, read_losses
from competition.noise.actions import dropped_ids
from competition.pipeline.execute import Step, in_order
from competition.pipeline.plan import Plan
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation, intervals, metrics
from competition.scoring.evaluation import Counts, GradedRows
from competition.scoring.paired import FlawedRow, PairedRow, align_counts, compare_rows
from competition.scoring.task import Task

TITLES = "held-out titles"  # the measure of pre-training beside the tasks; a lower loss is better


@dataclass(frozen=True)
class Ablation:
    """A table on one workspace."""

    named: NamedTable
    pipeline: Pipeline
    recipe: str  # that the rows differ from
    runs: dict[str, list[str]]  # row -> its runs, one per seed
    fold: int | None  # the only fold; None for all
    nested: bool  # what rows learn from has not seen the scored fold

    @property
    def name(self) -> str:
        """The name of the table."""
        return self.named.name

    @property
    def table(self) -> AblationTable:
        """The rows with their published figures."""
        return self.named.table

    @property
    def path(self) -> Path:
        """The file that `write` writes."""
        recipe = "" if self.recipe == self.table.recipe else f"-{self.recipe}"
        nested = "-nested" if self.nested else ""
        return self.pipeline.workspace.ablation(self.name + recipe + nested, self.fold)

    @classmethod
    def plan(
        cls,
        workspace: Workspace,
        name: str,
        seeds: int,
        fold: int | None,
        recipe: str | None = None,
        nested: bool = False,
    ) -> "Ablation":
        """Return a table with its runs, `seeds` for each row, over all folds or one.

        Args:
            workspace: whose rows.
            name: of the table.
            seeds: their number, from the recipe's own seed upwards.
            fold: the one that is trained and scored; None for all.
            recipe: that rows differ from, if not the table's own.
            nested: let rows learn from models that have not seen the scored fold.

        Raises:
            InputError: there is no such table, the data have no labelled training row of its task,
                or the recipe that it starts from does not answer it in this workspace.
        """
        named = load_table(name)
        table = named.table
        plan = Plan.open(workspace)
        known = plan.recipes
        base = base_recipe(known, named, recipe or table.recipe)
        if nested and not table.learns:
            raise InputError(
                f"The table {named.name!r} learns from no other run, so there is nothing to nest."
            )
        first_run = ablation_run_name(named, base, table.rows[0].name, base.seed)
        if table.audits and RUN_SEPARATOR in first_run:
            raise InputError(
                f"{named.source}: rows follow the audit of {first_run!r}, whose {RUN_SEPARATOR!r} would name two runs: "
                "rename the first row, or the file."
            )
        pretrains = any(row.pretraining is not None for row in table.rows)
        if pretrains and not isinstance(base, EncoderRecipe):
            raise InputError(
                f"{named.source} changes the pre-training of an encoder, and {base.name!r} has none: name another "
                "recipe."
            )
        start = known.pretraining("pretrained") if pretrains else None

        recipes: dict[str, AnyRecipe] = {}
        runs: dict[str, list[str]] = {row.name: [] for row in table.rows}
        for row in table.rows:
            for seed in range(base.seed, base.seed + seeds):
                encoder = start.encoder if start is not None else None
                if start is not None and row.pretraining is not None:
                    pretraining = row_pretraining(start, named, row, seed)
                    recipes[pretraining.name] = pretraining
                    encoder = pretraining.name
                member = row_recipe(plan, named, row, base, seed, nested, encoder)
                recipes[member.name] = member
                runs[row.name].append(member.name)

        ablation = cls(named, Pipeline(workspace, recipes), base.name, runs, fold, nested)
        ablation._check(fold)
        return ablation

    def _check(self, fold: int | None) -> None:
        """Refuse rows that cannot be compared: of other folds, or where a task has no answer or no label."""
        recipes = [self.pipeline.recipes.member(runs[0]) for runs in self.runs.values()]
        if fold is not None and len({recipe.scheme for recipe in recipes}) > 1:
            raise InputError(
                f"The rows of {self.name!r} differ in `scheme`, so that fold {fold} is not the same rows: "
                "compare them over all folds."
            )
        if not self.tasks:
            raise InputError(
                f"The rows of {self.name!r} answer no task that they could be compared on."
            )
        for task in self.tasks.values():
            for recipe in recipes:
                if task.name not in self.pipeline.recipes.kind_of(recipe).tasks:
                    raise InputError(
                        f"The table {self.name!r} compares on {task.name}, which {recipe.kind!r} of "
                        f"{recipe.name!r} does not answer: name other `tasks`."
                    )

        examples = self.pipeline.tables.examples
        first = next(iter(self.tasks.values()))
        if evaluation.graded_rows(first, examples[examples["split"] == "train"]).empty:
            raise InputError(
                f"The table {self.name!r} is about {first.name}, of which the data have no labelled training row."
            )

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks that the table is about, by role or name, as far as the contest has them."""
        contest = self.pipeline.plan.contest
        named = self.table.tasks
        if not named:
            # Those of the data that every row answers.
            recipes = [self.pipeline.recipes.member(runs[0]) for runs in self.runs.values()]
            answered = [set(self.pipeline.recipes.tasks_of(recipe)) for recipe in recipes]
            named = tuple(name for name in contest.tasks if name in set.intersection(*answered))

        tasks = {
            name: contest.representative(name) if name in ROLES else contest.task(name)
            for name in named
        }
        return {name: task for name, task in tasks.items() if task is not None}

    def steps(self) -> list[Step]:
        """Return what the table needs, in order."""
        own = [run for runs in self.runs.values() for run in runs]
        steps: list[Step] = []
        for name in self.pipeline.recipes.order(own):
            # A row is scored out-of-fold only, so new test rows need no new predictions; a run that
            # others learn from is complete, test rows included.
            if name in own and name not in self._sources:
                steps += self.pipeline.training_steps(name, self.fold)
            else:
                steps += self.pipeline.run_steps(name)
        if self.table.audits:
            steps += [self.pipeline.noise_step(run) for run in self._sources]
        return in_order(steps)

    @property
    def _sources(self) -> list[str]:
        """The runs that other rows learn from."""
        return self.runs[self.table.rows[0].name] if self.table.learns else []

    def lines(self) -> dict[str, list[PairedRow]]:
        """Return, for each task and TITLES, the results of the baseline, if any, and of the rows."""
        results = {}
        for role, task in self.tasks.items():
            rows = self._graded_rows(task)
            if not rows.empty:
                results[task.name] = self._compare_on_task(role, task, rows)

        # Pre-training is also measured by itself, on titles that it has not read.
        pretrained = [row for row in self.table.rows if row.pretraining is not None]
        if pretrained:
            losses = [
                (
                    row.name,
                    [self._title_losses(run) for run in self.runs[row.name]],
                    row.paper_mlm,
                    None,
                )
                for row in pretrained
            ]
            results[TITLES] = compare_rows("MLM loss", metrics.mean, losses)
        return results

    def _compare_on_task(self, role: str, task: Task, rows: pd.DataFrame) -> list[PairedRow]:
        """Return the results of the trivial baseline and of all rows on a task."""
        name, baseline = GradedRows(task, rows).count_trivial_baseline()
        results = []
        for row in self.table.rows:
            counts = [self._count(run, task, rows) for run in self.runs[row.name]]
            if not all(np.array_equal(each.queries, baseline.queries) for each in counts):
                raise ValueError("paired results must have the same queries")
            values = [each.values for each in counts]  # one per seed
            paper = row.paper if role == next(iter(self.tasks)) else None
            results.append((row.name, values, paper, row.paper_minus.get(role)))
        return compare_rows(task.metric.label, baseline.statistic, results, (name, baseline.values))

    def label_paths(self) -> dict[str, tuple[str, ...]]:
        """Return the rows whose scores are approximate, with the ways in which labels reached them."""
        plan = self.pipeline.plan
        paths = {row: plan.run(runs[0]).label_paths for row, runs in self.runs.items()}
        return {row: each for row, each in paths.items() if each}

    def flattered(self) -> dict[str, list[FlawedRow]]:
        """Return, for each task of a table whose audits drop rows, each row by the flawed protocol."""
        results = {}
        for task in self.tasks.values() if self.dropped_rows else ():
            rows = self._graded_rows(task)
            if not rows.empty:
                results[task.name] = self._without_pruned_rows(task, rows)
        return results

    @property
    def dropped_rows(self) -> int:
        """How many rows the audits of a table drop, those of all seeds together."""
        if not self.table.audits:
            return 0
        audits = map(self.pipeline.plan.audit, self._sources)
        return sum(len(dropped_ids(self.pipeline.tables.flags(audit))) for audit in audits)

    def _without_pruned_rows(self, task: Task, rows: pd.DataFrame) -> list[FlawedRow]:
        """Return each row's result on the rows that the audit of its seed would not drop."""
        # Sums over the seeds, (queries, sums) each.
        on_all: dict[str, Array] = {}
        on_kept: dict[str, Array] = {}
        for row, runs in self.runs.items():
            counts = [self._count(run, task, rows) for run in runs]
            kept = []
            for run, source in zip(runs, self._sources, strict=True):
                # Graded rows without those that the audit of the run would drop.
                flags = self.pipeline.tables.flags(self.pipeline.plan.audit(source))
                kept_rows = rows[~rows["example_id"].isin(dropped_ids(flags))]
                kept_counts = self._count(run, task, kept_rows)
                kept.append(align_counts(kept_counts, counts[0].queries))
            on_all[row] = np.sum([each.values for each in counts], axis=0)
            on_kept[row] = np.sum(kept, axis=0)

        first = next(iter(on_all.values()))
        statistic = counts[0].statistic
        return [
            FlawedRow(
                name=row,
                metric=task.metric.label,
                score=intervals.bootstrap(on_kept[row], statistic),
                flatters=intervals.paired_difference(on_kept[row], on_all[row], statistic),
                claim=intervals.paired_difference(on_kept[row], first, statistic),
            )
            for row in self.runs
        ]

    def _title_losses(self, run: str) -> Array:
        """Return the losses of the held-out titles by the encoder that a run starts from."""
        recipe = self.pipeline.recipes.run(run)
        assert isinstance(recipe, EncoderRecipe)  # as `plan` makes them
        folder = self.pipeline.artifacts.encoder_folder(recipe.encoder)
        best = best_epoch(read_epochs(folder))
        # An encoder has one epoch or more.
        assert best is not None
        return read_losses(
            folder, self.pipeline.artifacts.encoder_fingerprint(recipe.encoder), best.number
        )

    def _graded_rows(self, task: Task) -> pd.DataFrame:
        """Return the graded rows that are held out in the folds of the table."""
        examples = self.pipeline.tables.examples
        any_run = next(iter(self.runs.values()))[0]
        held_out = examples["example_id"].isin(self._outputs(any_run)["example_id"])
        return evaluation.graded_rows(task, examples[held_out])

    def _outputs(self, run: str) -> pd.DataFrame:
        """Return the held-out outputs of a run in the folds of the table."""
        plan, space = self.pipeline.plan.run(run), self.pipeline.workspace
        folds = plan.folds if self.fold is None else [self.fold]
        return pd.concat([read_table(space.oof_fold(run, k), plan.parts[k][0]) for k in folds])

    def _count(self, run: str, task: Task, rows: pd.DataFrame) -> Counts:
        return evaluation.count_outputs(
            task, self.pipeline.plan.run(run).kind, self._outputs(run), rows
        )

    def write(
        self, tables: dict[str, list[PairedRow]], flattered: dict[str, list[FlawedRow]]
    ) -> None:
        """Write all results as one CSV; those of the flawed protocol have the task `…, without pruned rows`."""
        lines: list[dict[str, Any]] = []
        for measure, results in tables.items():
            for row in results:
                about = {"row": row.name, "task": measure, "metric": row.metric}
                sizes = {"queries": row.score.queries, "seeds": len(row.of_seeds)}
                estimates = intervals.cells(
                    score=row.score, minus_before=row.difference, minus_first=row.to_first
                )
                others = {"seed_deviation": row.deviation, "paper": row.paper}
                lines.append(about | sizes | estimates | others)

        for task, pruned in flattered.items():
            measure = f"{task}, without pruned rows"
            for result in pruned:
                about = {"row": result.name, "task": measure, "metric": result.metric}
                sizes = {"queries": result.score.queries, "seeds": len(self._sources)}
                estimates = intervals.cells(
                    score=result.score, minus_first=result.claim, minus_unpruned=result.flatters
                )
                lines.append(about | sizes | estimates)
        write_text(self.path, str(pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")))
