"""The published ablations on this workspace's rows: the same folds, orders and seeds, one key changed at a time.

A row of a table is a recipe like any other, with its own run in `oof/`, so an ablation that was
stopped goes on. Each row is compared with the one before it over the same queries. The interval is
over queries: of what another seed would have given it says nothing, hence `seeds`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from competition.config.paper_tables import ABLATION_TABLES, FIRST_ROW, AblationTable
from competition.config.recipe import (
    AnyRecipe,
    EncoderRecipe,
    EnsembleRecipe,
    LexicalRecipe,
    MemberRecipe,
    PretrainingRecipe,
)
from competition.core.atomic import write_text
from competition.core.errors import InputError, unknown_name
from competition.core.parquet import read_table
from competition.core.workspace import Workspace
from competition.models.encoder.pretraining_card import best_epoch, read_epochs, read_losses
from competition.noise.actions import dropped_ids
from competition.pipeline.execute import Step
from competition.pipeline.plan import Planner
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation, metrics
from competition.scoring.evaluation import Counts
from competition.scoring.metrics import Array
from competition.scoring.paired import FlawedRow, PairedRow, align_counts, compare_rows
from competition.scoring.tasks import KINDS, TASKS, Task

TITLES = "held-out titles"  # what pre-training is measured on, as others are on a task; a lower loss is better


@dataclass(frozen=True)
class Ablation:
    """A table on one workspace."""

    name: str
    pipeline: Pipeline
    recipe: str  # that it starts from
    runs: dict[str, list[str]]  # row -> its runs, one per seed
    fold: int | None  # this fold alone
    nested: bool  # whether what rows learn from never saw the fold that is scored

    @property
    def table(self) -> AblationTable:
        return ABLATION_TABLES[self.name]

    @property
    def path(self) -> Path:
        """Where `write` puts the table."""
        recipe = "" if self.recipe == self.table.recipe else f"-{self.recipe}"
        name = self.name + recipe + ("-nested" if self.nested else "")
        return self.pipeline.workspace.ablation(name, self.fold)

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
        """The runs of the table called `name`, `seeds` for each row, over all folds or one.

        Args:
            workspace: whose rows.
            name: of the table.
            seeds: how many, from the recipe's own upwards.
            fold: the one that is trained and scored; None for all.
            recipe: that rows differ from, if not the table's own.
            nested: let rows learn from models that never saw the fold that is scored.

        Raises:
            InputError: there is no such table, the data have no labelled training row of its task,
                or the recipe that it starts from does not answer it in this workspace.
        """
        if name not in ABLATION_TABLES:
            raise unknown_name("table", name, ABLATION_TABLES)
        table = ABLATION_TABLES[name]
        planner = Planner(workspace)
        recipe, task = recipe or table.recipe, table.tasks[0]
        base = _base(planner, name, recipe)
        if nested and not table.labels:
            raise InputError(
                f"The table {name!r} learns from no other run, so there is nothing to nest."
            )
        pretrains = any(row.pretraining is not None for row in table.rows)
        start = planner.pretraining("pretrained") if pretrains else None
        recipes: dict[str, AnyRecipe] = {}
        runs: dict[str, list[str]] = {}
        for row in table.rows:
            for number, seed in enumerate(range(base.seed, base.seed + seeds)):
                first = (
                    runs[table.rows[0].name][number]
                    if runs and FIRST_ROW in row.changes.values()
                    else ""
                )
                run = f"ablate-{recipe}-{row.name}{'-nested' if nested and first else ''}-{seed}"
                changes = {
                    key: first if value == FIRST_ROW else value
                    for key, value in row.changes.items()
                }
                changes |= {"nested": True} if nested and first else {}
                content = base.model_dump() | changes | {"name": run, "seed": seed}
                content |= {"seeds": ()} if isinstance(base, EncoderRecipe) else {}
                if start is not None:
                    content["encoder"] = start.encoder
                if start is not None and row.pretraining is not None:
                    content["encoder"] = encoder = f"ablate-{start.name}-{row.name}-{seed}"
                    keys = start.model_dump() | row.pretraining | {"name": encoder, "seed": seed}
                    recipes[encoder] = PretrainingRecipe(**keys)
                recipes[run] = type(base)(**content)
                runs.setdefault(row.name, []).append(run)
        ablation = cls(name, Pipeline(workspace, recipes), recipe, runs, fold, nested)
        examples = ablation.pipeline.maker.examples
        if evaluation.graded_rows(TASKS[task], examples[examples["split"] == "train"]).empty:
            raise InputError(
                f"The table {name!r} is about {task}, of which the data have no labelled training row."
            )
        return ablation

    def steps(self) -> list[Step]:
        """What the table needs, in order."""
        mine = [run for runs in self.runs.values() for run in runs]
        steps: list[Step] = []
        for name in self.pipeline.order(mine):
            # Test rows are of no interest, so they are not predicted again when they change; but
            # what others learn from is a complete run.
            ours = name in mine and name not in self._sources
            steps += (
                self.pipeline.training_steps(name, self.fold)
                if ours
                else self.pipeline.run_steps(name)
            )
        steps += [self.pipeline.noise_step(run) for run in self._sources]
        return list({step.name: step for step in steps}.values())

    @property
    def _sources(self) -> list[str]:
        """The runs that other rows learn from."""
        return self.runs[self.table.rows[0].name] if self.table.labels else []

    def lines(self) -> dict[str, list[PairedRow]]:
        """What is measured on (a task, or TITLES) -> the baseline, if any, and the rows, from their files."""
        graded = {task: self._rows(TASKS[task]) for task in self.table.tasks}
        found = {
            task: self._task_lines(TASKS[task], rows)
            for task, rows in graded.items()
            if not rows.empty
        }
        titles = [row for row in self.table.rows if row.pretraining is not None]
        if titles:
            sums = [
                (row.name, [self._titles(run) for run in self.runs[row.name]], row.paper_mlm, None)
                for row in titles
            ]
            found[TITLES] = compare_rows("MLM loss", metrics.mean, sums)
        return found

    def _task_lines(self, task: Task, rows: pd.DataFrame) -> list[PairedRow]:
        name, baseline = evaluation.count_trivial_baseline(task, rows)
        counts = [
            (row, [self._count(run, task, rows) for run in self.runs[row.name]])
            for row in self.table.rows
        ]
        if not all(
            np.array_equal(one.queries, baseline.queries) for _, seeds in counts for one in seeds
        ):
            raise ValueError("paired results must have the same queries")
        published = {
            row.name: row.paper if task.name == self.table.tasks[0] else None
            for row in self.table.rows
        }
        sums = [
            (
                row.name,
                [one.values for one in seeds],
                published[row.name],
                row.paper_minus.get(task.name),
            )
            for row, seeds in counts
        ]
        return compare_rows(task.metric, baseline.statistic, sums, (name, baseline.values))

    def flattered(self) -> dict[str, list[FlawedRow]]:
        """Task -> each row by the flawed protocol, for a table about labels."""
        found = {}
        for task in (TASKS[name] for name in self.table.tasks if self.table.labels):
            rows = self._rows(task)
            if rows.empty:
                continue
            whole, left = {}, {}
            for row, runs in self.runs.items():
                counts = [self._count(run, task, rows) for run in runs]
                pruned = [
                    align_counts(
                        self._count(run, task, self._kept(rows, source)), counts[0].queries
                    )
                    for run, source in zip(runs, self._sources, strict=True)
                ]
                whole[row], left[row] = (
                    np.sum(values, axis=0) for values in ([c.values for c in counts], pruned)
                )
            first, statistic = next(iter(whole.values())), counts[0].statistic
            found[task.name] = [
                FlawedRow(
                    row,
                    task.metric,
                    metrics.bootstrap(left[row], statistic),
                    metrics.paired_difference(left[row], whole[row], statistic),
                    metrics.paired_difference(left[row], first, statistic),
                )
                for row in self.runs
            ]
        return found

    def _kept(self, rows: pd.DataFrame, source: str) -> pd.DataFrame:
        """Graded rows without those that the audit of a run would drop."""
        flags = self.pipeline.maker.flags(self.pipeline.audit(source))
        return rows[~rows["example_id"].isin(dropped_ids(flags))]

    def _titles(self, run: str) -> Array:
        """The losses of the held-out titles by the encoder that a run starts from."""
        recipe = self.pipeline.recipe(run)
        assert isinstance(recipe, EncoderRecipe)  # as `plan` makes them
        folder = self.pipeline.encoder_folder(recipe.encoder)
        kept = best_epoch(read_epochs(folder))
        assert kept is not None  # an encoder has one epoch or more
        return read_losses(folder, self.pipeline.encoder_inputs(recipe.encoder), kept.number)

    def _rows(self, task: Task) -> pd.DataFrame:
        """The graded rows that are held out in the folds of the table."""
        examples = self.pipeline.maker.examples
        first = next(iter(self.runs.values()))[0]
        held_out = examples["example_id"].isin(self._outputs(first)["example_id"])
        return evaluation.graded_rows(task, examples[held_out])

    def _outputs(self, run: str) -> pd.DataFrame:
        plan, space = self.pipeline.run(run), self.pipeline.workspace
        folds = plan.folds if self.fold is None else [self.fold]
        return pd.concat([read_table(space.oof_fold(run, k), plan.parts[k][0]) for k in folds])

    def _count(self, run: str, task: Task, rows: pd.DataFrame) -> Counts:
        return evaluation.count_outputs(task, self.pipeline.run(run).kind, self._outputs(run), rows)

    def write(
        self, tables: dict[str, list[PairedRow]], flattered: dict[str, list[FlawedRow]]
    ) -> None:
        """Write the tables as one CSV; those of the flawed protocol are said to be `without pruned rows`."""
        cells = []
        for measured, lines in tables.items():
            for line in lines:
                row: dict[str, Any] = {"row": line.name, "task": measured, "metric": line.metric}
                row |= {"queries": line.score.queries, "seeds": len(line.of_seeds)}
                row |= metrics.cells(
                    score=line.score, minus_before=line.difference, minus_first=line.to_first
                )
                cells.append(row | {"seed_deviation": line.deviation, "paper": line.paper})
        for task, found in flattered.items():
            for pruned in found:
                row = {
                    "row": pruned.name,
                    "task": f"{task}, without pruned rows",
                    "metric": pruned.metric,
                }
                row |= {"queries": pruned.score.queries, "seeds": len(self._sources)}
                row |= metrics.cells(
                    score=pruned.score, minus_first=pruned.claim, minus_unpruned=pruned.flatters
                )
                cells.append(row)
        write_text(self.path, str(pd.DataFrame(cells).to_csv(index=False, lineterminator="\n")))


def _base(planner: Planner, name: str, recipe: str) -> MemberRecipe:
    """The recipe that the rows of a table differ from; raises InputError unless it answers the table's first task."""
    table, base = ABLATION_TABLES[name], planner.recipe(recipe)
    fits = isinstance(base, EncoderRecipe | LexicalRecipe if table.labels else EncoderRecipe)
    if not fits or isinstance(base, EnsembleRecipe) or KINDS[base.kind].primary != table.tasks[0]:
        mend = (
            f"rename the workspace's own {recipe}.toml"
            if recipe == table.recipe
            else "name another"
        )
        asked = "a model" if table.labels else "an encoder"
        raise InputError(
            f"The table {name!r} starts from the recipe {recipe!r}, which must be {asked} made for {table.tasks[0]}: "
            f"{mend}."
        )
    return base
