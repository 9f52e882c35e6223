"""The published ablations on this workspace's rows: the same folds, orders and seeds, one key changed at a time.

A row of a table is a recipe like any other, with its own run in `oof/`, so an ablation that was stopped goes on. Each
row is compared with the one before it over the same queries. The interval is over queries: of what another seed would
have given it says nothing, hence `seeds`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from competition import evaluation, settings
from competition.errors import InputError
from competition.evaluation import Counts
from competition.metrics import Estimate
from competition.pipeline import Pipeline, Step
from competition.planning import Planner
from competition.recipe import EncoderRecipe
from competition.tables import read_table
from competition.tasks import KINDS, TASKS
from competition.workspace import Workspace, write_text


@dataclass(frozen=True)
class Row:
    """What differs from the recipe that the table starts from, and the published score where there is one."""

    name: str
    changes: dict[str, Any]
    paper: float | None


@dataclass(frozen=True)
class Table:
    """A table of the paper, whose figures are cross-validated on the full data with InfoXLM-large."""

    number: int
    recipe: str
    task: str
    rows: tuple[Row, ...]


def _cumulative(start: dict[str, Any], rows: list[tuple[str, dict[str, Any], float]]) -> Iterator[Row]:
    changes = start
    for name, added, paper in rows:
        changes = changes | added
        yield Row(name, changes, paper)


_PLAIN = {"ema": 0.0, "adversary": "none", "r_drop": 0.0, "mixup": 0.0}
_NAMES = ("brand", "color", "country")
_UNITS = (*_NAMES, "char3")

TABLES: dict[str, Table] = {
    "losses": Table(
        4,
        "t2",
        "task2",
        tuple(
            Row(loss, _PLAIN | {"loss": loss}, paper)
            for loss, paper in (("ce", 0.7508), ("focal", 0.7473), ("ghm", 0.7485), ("poly1", 0.7521))
        ),
    ),
    "methods": Table(
        5,
        "t2",
        "task2",
        tuple(
            _cumulative(
                _PLAIN,
                [
                    ("poly1", {"loss": "poly1"}, 0.7521),
                    ("ema", {"ema": 0.999}, 0.7519),
                    ("fgm", {"adversary": "fgm-table", "epsilon": 1.0}, 0.7530),
                    ("r-drop", {"r_drop": 0.5}, 0.7543),
                    ("mixup", {"mixup": 0.2}, 0.7543),
                ],
            )
        ),
    ),
    "char3": Table(
        7,
        "t3",
        "task3",
        (
            Row("none", {"features": _NAMES}, None),
            Row("random", {"features": _UNITS, "char3_init": "random"}, None),
            Row("word2vec", {"features": _UNITS, "char3_init": "word2vec"}, 0.8533),
            Row("frozen", {"features": _UNITS, "char3_init": "frozen"}, 0.8529),
        ),
    ),
}


@dataclass(frozen=True)
class Line:
    """One row's result."""

    name: str
    score: Estimate  # the mean over the seeds
    of_seeds: tuple[float, ...]  # empty for the baseline
    difference: Estimate | None  # to the line before it; None for the baseline, which comes first
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
        base = Planner(workspace).recipe(table.recipe)
        if not isinstance(base, EncoderRecipe) or KINDS[base.kind].primary != table.task:
            raise InputError(
                f"The table {name!r} starts from the recipe {table.recipe!r}, which must be an encoder made for "
                f"{table.task}: rename the workspace's own {table.recipe}.toml."
            )
        recipes: dict[str, EncoderRecipe] = {}
        runs: dict[str, list[str]] = {}
        for row in table.rows:
            for seed in range(base.seed, base.seed + seeds):
                run = f"ablate-{table.recipe}-{row.name}-{seed}"
                content = base.model_dump() | row.changes | {"name": run, "seed": seed, "seeds": ()}
                recipes[run] = EncoderRecipe(**content)
                runs.setdefault(row.name, []).append(run)
        ablation = cls(name, Pipeline(workspace, recipes), runs, fold)
        examples = ablation.pipeline.maker.examples
        if evaluation.graded_rows(TASKS[table.task], examples[examples["split"] == "train"]).empty:
            raise InputError(
                f"The table {name!r} is about {table.task}, of which the data have no labelled training row."
            )
        return ablation

    def steps(self) -> list[Step]:
        """What the table needs, in order."""
        mine = [run for runs in self.runs.values() for run in runs]
        steps: list[Step] = []
        for name in self.pipeline.order(mine):
            ours = name in mine  # test rows are of no interest, so they are not predicted again when they change
            steps += self.pipeline.training_steps(name, self.fold) if ours else self.pipeline.run_steps(name)
        return list({step.name: step for step in steps}.values())

    def lines(self) -> list[Line]:
        """The baseline and the rows of the table, from the runs' files."""
        task, rows = TASKS[self.table.task], self._rows()
        name, before = evaluation.count_baseline(task, rows)
        lines = [Line(name, _score(before), (), None, None)]
        for row in self.table.rows:
            of_seeds = [self._count(run, rows) for run in self.runs[row.name]]
            # Sums over the seeds: the statistic of a sum is then the mean of the seeds' statistics.
            values = np.sum([counts.values for counts in of_seeds], axis=0)
            counts = replace(of_seeds[0], values=values)
            scores = tuple(float(one.statistic(one.values.sum(0))) for one in of_seeds)
            difference = evaluation.difference(counts, before)
            lines.append(Line(row.name, _score(counts), scores, difference, row.paper))
            before = counts
        return lines

    def _rows(self) -> pd.DataFrame:
        """The graded rows that are held out in the folds of the table."""
        examples = self.pipeline.maker.examples
        first = next(iter(self.runs.values()))[0]
        held_out = examples["example_id"].isin(self._outputs(first)["example_id"])
        return evaluation.graded_rows(TASKS[self.table.task], examples[held_out])

    def _outputs(self, run: str) -> pd.DataFrame:
        plan, space = self.pipeline.run(run), self.pipeline.workspace
        folds = plan.folds if self.fold is None else [self.fold]
        return pd.concat([read_table(space.oof_fold(run, k), plan.parts[k][0]) for k in folds])

    def _count(self, run: str, rows: pd.DataFrame) -> Counts:
        return evaluation.count_outputs(TASKS[self.table.task], self.pipeline.run(run).kind, self._outputs(run), rows)

    def write(self, lines: list[Line]) -> None:
        """Write the table as CSV."""
        cells = []
        for line in lines:
            row: dict[str, Any] = {"row": line.name, "task": self.table.task, "metric": TASKS[self.table.task].metric}
            row |= {"queries": line.score.queries, "seeds": len(line.of_seeds)}
            for key, estimate in {"score": line.score, "minus_before": line.difference}.items():
                for part, value in (("", "value"), ("_low", "low"), ("_high", "high")):
                    row[key + part] = getattr(estimate, value) if estimate else None
            cells.append(row | {"seed_deviation": line.deviation, "paper": line.paper})
        write_text(self.path, str(pd.DataFrame(cells).to_csv(index=False, lineterminator="\n")))


def _score(counts: Counts) -> Estimate:
    return evaluation.estimates(counts, ("all",))[counts.task.metric]["all"]
