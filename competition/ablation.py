"""The published ablations on this workspace's rows: the same folds, orders and seeds, one key changed at a time.

A row of a table is a recipe like any other, with its own run in `oof/`, so an ablation that was stopped goes on. Each
row is compared with the one before it over the same queries. The interval is over queries: of what another seed would
have given it says nothing, hence `seeds`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from competition import evaluation, metrics, settings
from competition.errors import InputError
from competition.evaluation import Counts
from competition.metrics import Array, Estimate, Statistic
from competition.model.card import best_epoch, read_epochs, read_losses
from competition.paper import TABLES, Table
from competition.pipeline import Pipeline, Step
from competition.planning import Planner
from competition.recipe import AnyRecipe, EncoderRecipe, PretrainingRecipe
from competition.tables import read_table
from competition.tasks import KINDS, TASKS, Task
from competition.workspace import Workspace, write_text

TITLES = "held-out titles"  # what pre-training is measured on, as others are on a task; a lower loss is better


@dataclass(frozen=True)
class Line:
    """One row's result by one metric."""

    name: str
    metric: str
    score: Estimate  # the mean over the seeds
    of_seeds: tuple[float, ...]  # empty for the baseline
    difference: Estimate | None  # to the line before it; None for the first
    to_first: Estimate | None  # to the first row of the table, not to the baseline; None for these
    paper: float | None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the seeds' scores; None for fewer than two."""
        return float(np.std(self.of_seeds, ddof=1)) if len(self.of_seeds) > 1 else None

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.difference is not None and (self.difference.low > 0 or self.difference.high < 0)


@dataclass(frozen=True)
class Ablation:
    """A table on one workspace."""

    name: str
    pipeline: Pipeline
    runs: dict[str, list[str]]  # row -> its runs, one per seed
    fold: int | None  # this fold alone

    @property
    def table(self) -> Table:
        return TABLES[self.name]

    @property
    def path(self) -> Path:
        """Where `write` puts the table."""
        return self.pipeline.workspace.ablation(self.name, self.fold)

    @classmethod
    def plan(cls, workspace: Workspace, name: str, seeds: int, fold: int | None) -> "Ablation":
        """The runs of the table called `name`, `seeds` for each row, over all folds or one.

        Raises:
            InputError: there is no such table, the data have no labelled training row of its task, or the recipe that
                it starts from does not answer it in this workspace.
        """
        if name not in TABLES:
            near = settings.nearest(name, TABLES)
            raise InputError(f"There is no table {name!r}{near}: known are {', '.join(TABLES)}.")
        table = TABLES[name]
        planner = Planner(workspace)
        base = planner.recipe(table.recipe)
        task = table.tasks[0]
        if not isinstance(base, EncoderRecipe) or KINDS[base.kind].primary != task:
            raise InputError(
                f"The table {name!r} starts from the recipe {table.recipe!r}, which must be an encoder made for "
                f"{task}: rename the workspace's own {table.recipe}.toml."
            )
        pretrains = any(row.pretraining is not None for row in table.rows)
        start = planner.pretraining("pretrained") if pretrains else None
        recipes: dict[str, AnyRecipe] = {}
        runs: dict[str, list[str]] = {}
        for row in table.rows:
            for seed in range(base.seed, base.seed + seeds):
                run = f"ablate-{table.recipe}-{row.name}-{seed}"
                content = base.model_dump() | row.changes | {"name": run, "seed": seed, "seeds": ()}
                if start is not None:
                    content["encoder"] = start.encoder
                if start is not None and row.pretraining is not None:
                    content["encoder"] = encoder = f"ablate-{start.name}-{row.name}-{seed}"
                    keys = start.model_dump() | row.pretraining | {"name": encoder, "seed": seed}
                    recipes[encoder] = PretrainingRecipe(**keys)
                recipes[run] = EncoderRecipe(**content)
                runs.setdefault(row.name, []).append(run)
        ablation = cls(name, Pipeline(workspace, recipes), runs, fold)
        examples = ablation.pipeline.maker.examples
        if evaluation.graded_rows(TASKS[task], examples[examples["split"] == "train"]).empty:
            raise InputError(f"The table {name!r} is about {task}, of which the data have no labelled training row.")
        return ablation

    def steps(self) -> list[Step]:
        """What the table needs, in order."""
        mine = [run for runs in self.runs.values() for run in runs]
        steps: list[Step] = []
        for name in self.pipeline.order(mine):
            ours = name in mine  # test rows are of no interest, so they are not predicted again when they change
            steps += self.pipeline.training_steps(name, self.fold) if ours else self.pipeline.run_steps(name)
        return list({step.name: step for step in steps}.values())

    def lines(self) -> dict[str, list[Line]]:
        """What is measured on (a task, or TITLES) -> the baseline, if any, and the rows, from their files."""
        graded = {task: self._rows(TASKS[task]) for task in self.table.tasks}
        found = {task: self._task_lines(TASKS[task], rows) for task, rows in graded.items() if not rows.empty}
        titles = [row for row in self.table.rows if row.pretraining is not None]
        if titles:
            sums = [(row.name, [self._titles(run) for run in self.runs[row.name]], row.paper_mlm) for row in titles]
            found[TITLES] = _compare("MLM loss", metrics.mean, sums)
        return found

    def _task_lines(self, task: Task, rows: pd.DataFrame) -> list[Line]:
        name, baseline = evaluation.count_baseline(task, rows)
        counts = [(row, [self._count(run, task, rows) for run in self.runs[row.name]]) for row in self.table.rows]
        if not all(np.array_equal(one.queries, baseline.queries) for _, seeds in counts for one in seeds):
            raise ValueError("paired results must have the same queries")
        published = {row.name: row.paper if task.name == self.table.tasks[0] else None for row in self.table.rows}
        sums = [(row.name, [one.values for one in seeds], published[row.name]) for row, seeds in counts]
        return _compare(task.metric, baseline.statistic, sums, (name, baseline.values))

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

    def write(self, tables: dict[str, list[Line]]) -> None:
        """Write the tables as one CSV."""
        cells = []
        for measured, lines in tables.items():
            for line in lines:
                row: dict[str, Any] = {"row": line.name, "task": measured, "metric": line.metric}
                row |= {"queries": line.score.queries, "seeds": len(line.of_seeds)}
                estimates = {"score": line.score, "minus_before": line.difference, "minus_first": line.to_first}
                for key, estimate in estimates.items():
                    for part, value in (("", "value"), ("_low", "low"), ("_high", "high")):
                        row[key + part] = getattr(estimate, value) if estimate else None
                cells.append(row | {"seed_deviation": line.deviation, "paper": line.paper})
        write_text(self.path, str(pd.DataFrame(cells).to_csv(index=False, lineterminator="\n")))


def _compare(
    metric: str,
    statistic: Statistic,
    rows: list[tuple[str, list[Array], float | None]],
    baseline: tuple[str, Array] | None = None,
) -> list[Line]:
    """Rows in order, each a name, what each query (or title) adds in each of its seeds, and the published figure."""
    lines: list[Line] = []
    before = first = None
    if baseline is not None:
        name, before = baseline
        lines.append(Line(name, metric, metrics.bootstrap(before, statistic), (), None, None, None))
    for name, of_seeds, paper in rows:
        # Sums over the seeds: the statistic of a sum is then the mean of the seeds' statistics.
        values = np.sum(of_seeds, axis=0)
        scores = tuple(float(statistic(one.sum(0))) for one in of_seeds)
        to_before, to_first = (
            None if other is None else metrics.paired_difference(values, other, statistic) for other in (before, first)
        )
        lines.append(Line(name, metric, metrics.bootstrap(values, statistic), scores, to_before, to_first, paper))
        before, first = values, values if first is None else first
    return lines
