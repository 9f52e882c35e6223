"""Every run against its labels, the trivial and the lexical baseline (`floor`): the table that `comp run` ends with."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from competition.core.lazy import pd
from competition.core.threads import side_by_side
from competition.scoring import evaluation, intervals
from competition.scoring.basis import APPROXIMATE, HELD_OUT
from competition.scoring.counted_runs import SPLITS, CountedRuns
from competition.scoring.evaluation import DEEP, MIN_DEEP_QUERIES, MOVABLE, Counts
from competition.scoring.intervals import Estimate
from competition.scoring.metric_table import HIGHER, LOWER
from competition.scoring.predictions import RunPlan
from competition.scoring.task import Task

_ESTIMATES = ("score", "above_baseline", "above_floor", "above_best")
SCOREBOARD_COLUMNS = (
    "task", "split", "group", "run", "queries", "unit", "metric", "better", "baseline", "floor",
    *(f"{name}{part}" for name in _ESTIMATES for part in ("", "_low", "_high")),
    "basis", "label_paths", *(f"flatters{part}" for part in ("", "_low", "_high")),
)  # fmt: skip

_NUMBERS = tuple(
    f"{name}{part}" for name in (*_ESTIMATES, "flatters") for part in ("", "_low", "_high")
)


def read_scoreboard(table: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the lines of a scoreboard as CSV, by their columns; NaN for numbers that are not there.

    Raises:
        KeyError, ValueError, csv.Error: it is no such table.
    """
    for cells in csv.DictReader(table):
        # A table of an earlier version lacks some.
        numbers = {name: float(cells.get(name) or math.nan) for name in _NUMBERS}
        yield cells | numbers | {"queries": int(cells["queries"])}


@dataclass(frozen=True)
class BoardRow:
    """One run on one task, over one group of queries of one split, with the paired differences to what it must beat."""

    task: Task
    split: str
    group: str
    run: str
    score: Estimate
    baseline: str
    above_baseline: Estimate
    floor: str
    above_floor: Estimate | None  # None for the lexical baseline itself and where there is none
    above_best: Estimate | None  # None for the run with the best score of the group
    # How labels reached the score that they grade, see `scoring/basis.py`; empty: held out.
    label_paths: tuple[str, ...]
    flatters: Estimate | None  # by how much that was measured to flatter it, where it was

    def row(self) -> dict[str, object]:
        """Return the line as cells of a CSV file."""
        cells: dict[str, object] = {
            "task": self.task.name, "split": self.split, "group": self.group, "run": self.run,
            "queries": self.score.queries, "unit": "row" if self.task.by_rows else "query",
        }  # fmt: skip

        cells |= {"metric": self.task.metric.label, "better": self.task.metric.better}
        cells |= {"baseline": self.baseline, "floor": self.floor}
        cells |= intervals.cells(
            **{name: getattr(self, name) for name in (*_ESTIMATES, "flatters")}
        )

        basis = APPROXIMATE if self.label_paths else HELD_OUT
        return cells | {"basis": basis, "label_paths": "; ".join(self.label_paths)}


def scoreboard(
    counted: CountedRuns,
    plans: list[RunPlan],
    floors: Mapping[str, str],
    optimism: Mapping[tuple[str, str], Estimate] | None = None,
) -> pd.DataFrame:
    """Return a row per task, split with labels, group of queries and run.

    Args:
        counted: the runs, and the tasks in the order in which they are shown.
        plans: of the runs, in the order in which they are shown.
        floors: task -> the run that the others are compared with, where there is one.
        optimism: run and task -> by how much an approximate score was measured to flatter, see
            `scoring/optimism.py`.
    """
    shown: dict[tuple[Task, str], list[RunPlan]] = {}
    for task in counted.tasks:
        answering = [plan for plan in plans if task.name in plan.tasks]
        for split in SPLITS:
            if answering and len(counted.graded(task, split).examples):
                shown[task, split] = answering
    _draw(counted, shown)

    lines: list[BoardRow] = []
    for (task, split), answering in shown.items():
        lines += _lines(counted, task, split, answering, floors.get(task.name), optimism or {})
    return pd.DataFrame([line.row() for line in lines], columns=list(SCOREBOARD_COLUMNS))


def best_runs(board: pd.DataFrame) -> dict[str, str]:
    """Return, by task, the run with the best out-of-fold score.

    Of a ranking, over the queries that tell runs apart, see `evaluation.leading_group`.

    Args:
        board: lines of `scoreboard`.
    """
    best = {}
    graded = board[board["split"] == "out-of-fold"]

    for task, lines in graded.groupby("task", sort=False):
        best[str(task)] = str(best_first(leading_lines(lines))["run"].iloc[0])
    return best


def leading_lines(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of one task and split that tell its runs apart, see `evaluation.leading_group`."""
    deep = lines[(lines["group"] == DEEP) & (lines["queries"] >= MIN_DEEP_QUERIES)]
    if not deep.empty:
        return deep

    # There are lines of lists that can move where others cannot.
    movable = lines[lines["group"] == MOVABLE]
    return lines[lines["group"] == "all"] if movable.empty else movable


def best_first(lines: pd.DataFrame) -> pd.DataFrame:
    """Return lines of a scoreboard, all of one task, by their score; equal ones stay in their order."""
    ascending = bool((lines["better"] == LOWER).all())
    return lines.sort_values("score", ascending=ascending, kind="stable", ignore_index=True)


def _draw(counted: CountedRuns, shown: Mapping[tuple[Task, str], list[RunPlan]]) -> None:
    """Draw the queries of each group once for all runs, and for all tasks over as many queries."""
    of_group: dict[str, list[Counts]] = {}
    for (task, split), plans in shown.items():
        _, base = counted.baseline(task, split)
        runs = [counted.counts(task, split, plan.name) for plan in plans]
        for group in _groups(base):
            of_group.setdefault(group, []).extend([base, *runs])

    # First all queries, with which other groups may agree.
    evaluation.draw_together(of_group.pop("all", []))
    for _ in side_by_side(
        lambda each: evaluation.draw_together(each[1], each[0]), of_group.items()
    ):
        pass


def _lines(
    counted: CountedRuns,
    task: Task,
    split: str,
    plans: list[RunPlan],
    floor: str | None,
    optimism: Mapping[tuple[str, str], Estimate],
) -> list[BoardRow]:
    of_run = {plan.name: counted.counts(task, split, plan.name) for plan in plans}

    # No model has seen the label of a test row.
    paths = {plan.name: plan.label_paths if split == "train" else () for plan in plans}
    name, base = counted.baseline(task, split)

    lines = []
    for group in _groups(base):
        scores = {run: evaluation.estimate_score(counts, group) for run, counts in of_run.items()}
        chosen = max if task.metric.better == HIGHER else min
        best = chosen(scores, key=lambda run: scores[run].value)  # the first of equal ones

        for run, counts in of_run.items():
            # The lexical baseline is not compared with itself.
            lexical = of_run.get(floor or "") if run != floor else None
            lines.append(
                BoardRow(
                    task,
                    "out-of-fold" if split == "train" else "test",
                    group,
                    run,
                    scores[run],
                    name,
                    evaluation.estimate_difference(counts, base, group),
                    floor or "",
                    evaluation.estimate_difference(counts, lexical, group) if lexical else None,
                    None
                    if run == best
                    else evaluation.estimate_difference(counts, of_run[best], group),
                    paths[run],
                    optimism.get((run, task.name)) if paths[run] else None,
                )
            )
    return lines


def _groups(counts: Counts) -> list[str]:
    """Return the groups of queries that have lines: all, of a ranking also those that say more."""
    everything = int(counts.groups["all"].sum())
    groups = ["all"] if everything else []

    # Where every list can move, they are all.
    if 0 < int(counts.groups.get(MOVABLE, np.zeros(0)).sum()) < everything:
        groups.append(MOVABLE)
    if DEEP in counts.groups and counts.groups[DEEP].any():
        groups.append(DEEP)
    return groups
