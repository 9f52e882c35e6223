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
    text,
    tint,
)
from competition.analysis.report.breakdown import baseline_breakdown, breakdown
from competition.analysis.report.evidence import Evidence
from competition.scoring import evaluation
from competition.scoring.basis import HELD_OUT, describe_basis
from competition.scoring.contest import Task
from competition.scoring.metrics import Estimate

Line = pd.Series | Mapping[Hashable, Any]  # of the board


def leaderboard(evidence: Evidence) -> Section:
    """Return the section with every complete run per task, best first."""
    blocks: list[Block] = []
    for task in evidence.tasks:
        groups = dict.fromkeys((evidence.group(task), "all"))
        blocks += [_board(evidence, task, group) for group in groups]
        blocks += _score_notes(evidence, task)

    lead = (
        "Out-of-fold scores with 95 % intervals over queries, and paired differences to the trivial and to the "
        "lexical baseline. A difference whose interval includes 0 is not significant; below ten queries there is no "
        "interval. A score is held out if nothing was fitted on the labels that it counts, else approximate: it may be "
        "too high."
    )
    return Section("leaderboard", "Leaderboard", lead, blocks)


def _board(evidence: Evidence, task: Task, group: str) -> Table:
    """Return the table of a task over a group of queries."""
    lines = evidence.lines(task, group)
    tests = evidence.lines(task, group, "test").set_index("run")
    has_floor, has_tests = lines["above_floor"].notna().any(), len(tests) > 0

    columns = [Column("Run"), Column(task.metric.label, number=True)]
    columns += [Column(f"Minus {lines['baseline'].iloc[0]}", number=True)]
    columns += [Column(f"Minus {evidence.floor}", number=True)] if has_floor else []
    columns += [Column("On labelled test rows", number=True)] if has_tests else []

    rows = []
    scale = float(lines["score_low"].min()), float(lines["score_high"].max())
    for line in lines.to_dict("records"):
        cells = [
            ReportCell(line["run"], heading=True),
            estimate(estimate_of(line, "score"), scale=scale),
            estimate(estimate_of(line, "above_baseline"), "+"),
        ]
        cells += [estimate(estimate_of(line, "above_floor"), "+")] if has_floor else []
        cells += [estimate(estimate_of(tests.loc[line["run"]], "score"))] if has_tests else []
        rows.append(cells)
    return Table(title(task, group, int(lines["queries"].iloc[0])), columns, rows)


def _score_notes(evidence: Evidence, task: Task) -> list[Block]:
    """Return notes on which out-of-fold scores are held out, and why the others are not."""
    lines = evidence.lines(task, "all")
    is_held_out = lines["basis"] == HELD_OUT
    held_out = lines.loc[is_held_out, "run"]

    sentences = [f"{HELD_OUT}: {', '.join(held_out)}."] if len(held_out) else []
    others = lines[~is_held_out].to_dict("records")
    sentences += [f"{line['run']} is {how_scored(line)}." for line in others]
    return [Note(sentence) for sentence in sentences]


def how_scored(line: Line) -> str:
    """Return the basis of a line's score, and how much too high it was measured to be, if it was."""
    # An empty cell is a run that no label reached.
    paths = [path for path in line["label_paths"].split("; ") if path]
    flatters = estimate_of(line, "flatters")
    measured = "" if math.isnan(flatters.value) else f"; it is too high by {flatters:+}"
    return describe_basis(paths) + measured


def estimate_of(line: Line, name: str) -> Estimate:
    """Return an estimate from the cells of a line of the board; NaN where they are empty."""
    cells = [line[key] for key in (name, f"{name}_low", f"{name}_high")]
    value, low, high = (math.nan if cell is None else float(cell) for cell in cells)
    return Estimate(value, low, high, int(line["queries"]))


def title(task: Task, group: str, queries: int) -> str:
    """Return a heading such as "task1, 48 queries with 40+ products"."""
    name = f"{task.name}, {task.count_units(queries)}"
    return name if group == "all" else f"{name} with {group}"


def tied_with_best(evidence: Evidence, task: Task) -> list[str]:
    """Return the other runs without a significant paired difference to the best run of a task."""
    counts, group = evidence.counts(task), evidence.group(task)
    best, *others = counts
    return [
        name
        for name in others
        if not evaluation.estimate_difference(counts[name], counts[best], group).differs
    ]


def differences(evidence: Evidence) -> Section:
    """Return the section with every run minus every other, over the same queries."""
    blocks: list[Block] = [
        _differences(evidence, task) for task in evidence.tasks if len(evidence.counts(task)) > 1
    ]
    if not blocks:
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
    """Return the section with scores by locale, fold, length of the query and number of its products."""
    blocks: list[Block] = []
    tables = []
    for task in evidence.tasks:
        table, baseline = breakdown(evidence, task), baseline_breakdown(evidence, task)
        tables.append(table)

        runs = evidence.representatives(task)
        items = []
        for i, (by, lines) in enumerate(table.groupby("by", sort=False)):
            of_runs = lines[lines["run"].isin(runs)]
            items.append(_intervals(f"{task.name}-{i}", str(by), of_runs, runs, baseline))
        note = f"The grey line is {evidence.baseline(task)[0]}."
        blocks.append(Multiples(f"{task.name}, {task.metric.label}", items, runs, note))

    blocks.append(_all_groups(pd.concat(tables)))
    lead = (
        "Scores over groups of queries, with 95 % intervals: the best run, the best single model and the lexical "
        "baseline."
    )
    return Section("breakdown", "Scores by group of queries", lead, blocks)


def _intervals(
    name: str,
    by: str,
    lines: pd.DataFrame,
    runs: list[str],
    baseline: Mapping[tuple[str, str], float],
) -> Figure:
    """Return the figure of one grouping: each group's scores of some runs."""
    of_group = {(line["run"], line["group"]): line for line in lines.to_dict("records")}
    groups = list(dict.fromkeys(lines["group"]))
    series = {}
    for run in runs:
        of_run = [of_group[run, group] for group in groups]
        series[run] = [(line["score"], line["low"], line["high"]) for line in of_run]

    svg = charts.plot_intervals(name, groups, series, [baseline[by, group] for group in groups])
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
