"""The sections on scores: the leaderboard, paired differences, and scores by group of queries."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from competition.analysis.report import charts
from competition.analysis.report.blocks import (
    Block,
    Column,
    Figure,
    Matrix,
    MatrixCell,
    Multiples,
    Note,
    ReportCell,
    Section,
    Table,
    estimate,
    number,
    scale_of,
    text,
    tint,
)
from competition.analysis.report.breakdown import breakdown
from competition.analysis.report.evidence import Evidence
from competition.scoring import evaluation
from competition.scoring.basis import APPROXIMATE, HELD_OUT
from competition.scoring.evaluation import MOVABLE
from competition.scoring.intervals import Estimate
from competition.scoring.task import Task

Line = pd.Series | Mapping[Hashable, Any]  # of the board


def leaderboard(evidence: Evidence) -> Section:
    """Return the section with every complete run per task, best first."""
    blocks: list[Block] = []
    for task in evidence.tasks:
        groups = dict.fromkeys((evidence.group(task), "all"))
        blocks += [
            _board(evidence, task, group, folded=group != evidence.group(task)) for group in groups
        ]

    lead = (
        "Out-of-fold scores with 95 % intervals over queries, and paired differences to the trivial and to the "
        "lexical baseline. A difference whose interval includes 0 is not significant; below ten queries there is no "
        "interval. An approximate score may be too high: see the marks below."
    )
    return Section("leaderboard", "Leaderboard", lead, blocks)


def _board(evidence: Evidence, task: Task, group: str, folded: bool) -> Table:
    """Return the table of a task over a group of queries."""
    lines = evidence.lines(task, group)
    tests = evidence.lines(task, group, "test").set_index("run")
    has_floor, has_tests = lines["above_floor"].notna().any(), len(tests) > 0

    columns = [Column("Run"), Column(task.metric.label, number=True)]
    columns += [Column(f"Minus {lines['baseline'].iloc[0]}", number=True)]
    columns += [Column(f"Minus {evidence.floor}", number=True)] if has_floor else []
    columns += [Column("On labelled test rows", number=True)] if has_tests else []

    rows = []
    scale = scale_of(estimate_of(line, "score") for line in lines.to_dict("records"))
    for line in lines.to_dict("records"):
        cells = [
            ReportCell(line["run"], heading=True, marks=marks_of(evidence, task, line)),
            estimate(estimate_of(line, "score"), scale=scale),
            estimate(estimate_of(line, "above_baseline"), "+"),
        ]
        cells += [estimate(estimate_of(line, "above_floor"), "+")] if has_floor else []
        cells += [estimate(estimate_of(tests.loc[line["run"]], "score"))] if has_tests else []
        rows.append(cells)
    return Table(title(task, group, int(lines["queries"].iloc[0])), columns, rows, folded=folded)


def marks_of(evidence: Evidence, task: Task, line: Line) -> tuple[str, ...]:
    """Return the marks of a run on a task: whether it is submitted, and whether its score is approximate."""
    marks = ["submitted"] if evidence.submitted.get(task.name) == line["run"] else []
    return (*marks, APPROXIMATE) if line["basis"] != HELD_OUT else tuple(marks)


def estimate_of(line: Line, name: str) -> Estimate:
    """Return an estimate from the cells of a line of the board; NaN where they are empty."""
    cells = [line[key] for key in (name, f"{name}_low", f"{name}_high")]
    value, low, high = (math.nan if cell is None else float(cell) for cell in cells)
    return Estimate(value, low, high, int(line["queries"]))


def title(task: Task, group: str, queries: int) -> str:
    """Return a heading such as "task1, 48 queries with 10+ products"."""
    name = f"{task.name}, {task.count_units(queries)}"
    if group == MOVABLE:
        return f"{name} whose order matters"
    return name if group == "all" else f"{name} with {group}"


def differences(evidence: Evidence) -> Section:
    """Return the section with every run minus every other, over the same queries, a matrix per task."""
    matrices = [
        _differences(evidence, task) for task in evidence.tasks if len(evidence.counts(task)) > 1
    ]
    blocks: list[Block] = [Multiples("", matrices)]
    if not matrices:
        blocks = [Note("There is only one run; a difference needs two.", "comp run")]
    lead = (
        "Row minus column, paired over the same queries. Tinted where the 95 % interval excludes 0: blue where the row "
        "is better, orange where the column is."
    )
    return Section("differences", "Paired differences", lead, blocks)


def _differences(evidence: Evidence, task: Task) -> Matrix:
    """Return the matrix of paired differences of a task; the bootstrap runs once per pair."""
    counts, group = evidence.counts(task), evidence.group(task)
    names = list(counts)
    evaluation.draw_together(counts.values(), group)
    pairs = {}
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            minus = evaluation.estimate_difference(counts[one], counts[other], group)
            pairs[one, other] = minus
            # 0 - x has no negative zero
            pairs[other, one] = Estimate(
                0 - minus.value, 0 - minus.high, 0 - minus.low, minus.queries
            )

    # The largest difference of the task has the strongest tint; blue is better.
    sign = 1 if task.metric.greater_is_better else -1
    greatest = max(abs(minus.value) for minus in pairs.values())
    rows = [
        (one, [_difference(pairs.get((one, other)), greatest, sign) for other in names])
        for one in names
    ]
    queries = int(counts[names[0]].groups[group].sum())
    return Matrix(f"{title(task, group, queries)}, {task.metric.label}", "", names, rows)


def _difference(minus: Estimate | None, greatest: float, sign: int) -> MatrixCell:
    """Return the cell of a difference, tinted if it is significant; an empty one on the diagonal."""
    if minus is None:
        return MatrixCell("")
    value, _, interval = f"{minus:+}".partition(" ")
    return MatrixCell(value, interval, tint(sign * minus.value, greatest) if minus.differs else 0)


def breakdowns(evidence: Evidence) -> Section:
    """Return the section with scores by locale, what the query holds, its products, its length, and fold."""
    blocks: list[Block] = []
    every = breakdown(evidence, evidence.tasks)
    for task in evidence.tasks:
        table = every[every["task"] == task.name]
        if table.empty:
            blocks.append(
                Note(f"{task.name}: the order of no list matters, so no query is in a group.")
            )
            continue
        runs = evidence.representatives(task)
        groupings = enumerate(table.groupby("by", sort=False))
        items = [
            _intervals(f"{task.name}-{i}", task, str(by), lines[lines["run"].isin(runs)], runs)
            for i, (by, lines) in groupings
        ]
        of_answer = table[(table["run"] == runs[0]) & (table["by"] == "fold")]
        note = f"The grey line is {evidence.baseline(task)[0]}."
        heading = f"{task.name}, {task.count_units(int(of_answer['queries'].sum()))}"
        heading += " whose order matters" if task.ranks else ""
        blocks.append(Multiples(heading, items, runs, note))

    if not every.empty:
        blocks.append(_all_groups(every))
    lead = (
        "Scores over groups of queries, with 95 % intervals: the run that answers the task, the best single model and "
        "the lexical baseline. What a query holds is the first that fits. Behind each group stands its number of "
        "queries; a list whose order cannot change its score is in none."
    )
    return Section("breakdown", "By group of queries", lead, blocks)


def _intervals(name: str, task: Task, by: str, lines: pd.DataFrame, runs: list[str]) -> Figure:
    """Return the figure of one grouping: each group's scores of some runs."""
    of_group = {(line["run"], line["group"]): line for line in lines.to_dict("records")}
    groups = list(dict.fromkeys(lines["group"]))
    series = {}
    for run in runs:
        of_run = [of_group[run, group] for group in groups]
        series[run] = [(line["score"], line["low"], line["high"]) for line in of_run]

    of_answer = [of_group[runs[0], group] for group in groups]
    names = [f"{line['group']} ({line['queries']:,})" for line in of_answer]
    baseline = [line["baseline"] for line in of_answer]
    svg = charts.plot_intervals(name, names, series, task.metric.label, baseline)
    alt_text = "; ".join(
        f"{group}: {run} {of_group[run, group]['score']:.4f}" for group in groups for run in runs
    )
    return Figure(f"By {by}", svg, alt_text)


def _all_groups(table: pd.DataFrame) -> Table:
    columns = [Column(name, choice=True) for name in ("Task", "Run", "By", "Group")]
    columns += [Column("Queries", number=True), Column("Score", number=True)]
    rows = [
        [
            *(text(line[name]) for name in ("task", "run", "by", "group")),
            number(line["queries"]),
            estimate(Estimate(line["score"], line["low"], line["high"], line["queries"])),
        ]
        for line in table.to_dict("records")
    ]
    return Table("All runs and groups", columns, rows, folded=True)
