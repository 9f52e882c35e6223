"""The sections about scores: the leaderboard, differences, where scores come from, what the competition answered."""

import math
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
from competition.core.errors import pluralize
from competition.scoring import evaluation
from competition.scoring.basis import HELD_OUT, describe_basis
from competition.scoring.metrics import Estimate
from competition.scoring.tasks import Task


def leaderboard(evidence: Evidence) -> Section:
    """Every complete run per task, best first, as `comp run` prints them."""
    blocks: list[Block] = []
    for task in evidence.tasks:
        blocks += [
            _board(evidence, task, group) for group in dict.fromkeys((evidence.group(task), "all"))
        ]
        blocks += _bases(evidence, task)
    lead = (
        "Out-of-fold scores with 95 % intervals over queries, and paired differences to what costs nothing and to the "
        "floor. An interval of a difference that holds 0 is no difference; below ten queries there is none. A score is "
        "held out where nothing was fitted on the labels that it counts, else approximate: it may flatter the run."
    )
    return Section("leaderboard", "Leaderboard", lead, blocks)


def _board(evidence: Evidence, task: Task, group: str) -> Table:
    lines = evidence.lines(task, group)
    tests = evidence.lines(task, group, "test").set_index("run")
    scale = float(lines["score_low"].min()), float(lines["score_high"].max())
    columns = [
        Column("Run"),
        Column(task.metric, True),
        Column(f"Minus {lines['baseline'].iloc[0]}", True),
    ]
    beside_floor = lines["above_floor"].notna().any()
    columns += [Column(f"Minus {evidence.floor}", True)] if beside_floor else []
    columns += [Column("On labelled test rows", True)] if len(tests) else []
    rows = []
    for line in lines.to_dict("records"):
        cells = [
            _run(line["run"]),
            estimate(estimate_of(line, "score"), scale=scale),
            estimate(estimate_of(line, "above_baseline"), "+"),
        ]
        cells += [estimate(estimate_of(line, "above_floor"), "+")] if beside_floor else []
        cells += [estimate(estimate_of(tests.loc[line["run"]], "score"))] if len(tests) else []
        rows.append(cells)
    return Table(title(task, group, int(lines["queries"].iloc[0])), columns, rows)


def _bases(evidence: Evidence, task: Task) -> list[Block]:
    """Which out-of-fold scores are held out, and how the others were come by."""
    lines = evidence.lines(task, "all")
    held_out = lines.loc[lines["basis"] == HELD_OUT, "run"]
    notes = [f"{HELD_OUT}: {', '.join(held_out)}."] if len(held_out) else []
    others = lines[lines["basis"] != HELD_OUT]
    return [
        Note(said)
        for said in [
            *notes,
            *(f"{line['run']} is {how_scored(line)}." for line in others.to_dict("records")),
        ]
    ]


def how_scored(line: Any) -> str:
    """How the score of a line of the board was come by, and by how much it flatters where that was measured."""
    paths = [path for path in line["label_paths"].split("; ") if path]
    flatters = estimate_of(line, "flatters")
    measured = "" if math.isnan(flatters.value) else f"; it flatters by {flatters:+}"
    return describe_basis(paths) + measured


def _run(name: str) -> ReportCell:
    return ReportCell(name, strong=True)


def estimate_of(line: Any, name: str) -> Estimate:
    """An estimate from the cells of a line of the board; NaN where it has none."""
    value, low, high = (
        float("nan" if line[key] is None else line[key])
        for key in (name, f"{name}_low", f"{name}_high")
    )
    return Estimate(value, low, high, int(line["queries"]))


def title(task: Task, group: str, queries: int) -> str:
    """A task and a group of its queries in words."""
    return f"{task.name}, {pluralize(queries, 'query', 'queries')}" + (
        "" if group == "all" else f" with {group}"
    )


def tied_with_best(evidence: Evidence, task: Task) -> list[str]:
    """The other runs whose paired difference to the best is within its interval."""
    counts, group = evidence.counts(task), evidence.group(task)
    best, *others = counts
    differences = {
        name: evaluation.estimate_difference(counts[name], counts[best], group) for name in others
    }
    return [name for name, found in differences.items() if not found.differs]


def differences(evidence: Evidence) -> Section:
    """Every run minus every other, over the same queries."""
    blocks: list[Block] = [
        _differences(evidence, task) for task in evidence.tasks if len(evidence.counts(task)) > 1
    ]
    if not blocks:
        blocks = [Note("There is one run; differences need two.", "comp run")]
    lead = (
        "Row minus column, paired over the same queries. Tinted where the 95 % interval excludes 0: blue where the row "
        "is better, orange where the column is."
    )
    return Section("differences", "Paired differences", lead, blocks)


def _differences(evidence: Evidence, task: Task) -> Matrix:
    counts, group = evidence.counts(task), evidence.group(task)
    names = list(counts)
    found = {
        (one, other): evaluation.estimate_difference(counts[one], counts[other], group)
        for i, one in enumerate(names)
        for other in names[i + 1 :]
    }
    found |= {
        (b, a): Estimate(0 - each.value, 0 - each.high, 0 - each.low, each.queries)
        for (a, b), each in found.items()
    }
    most = max(abs(each.value) for each in found.values())
    rows = [(one, [_difference(found.get((one, other)), most) for other in names]) for one in names]
    queries = int(counts[names[0]].groups[group].sum())
    return Matrix(f"{title(task, group, queries)}, {task.metric}", "", names, rows)


def _difference(found: Estimate | None, most: float) -> MatrixCell:
    if found is None:
        return MatrixCell("")
    value, _, interval = f"{found:+}".partition(" ")
    return MatrixCell(value, interval, tint(found.value, most) if found.differs else 0)


def breakdowns(evidence: Evidence) -> Section:
    """Where scores come from: by locale, fold, length of the query and number of its products."""
    blocks: list[Block] = []
    tables = []
    for task in evidence.tasks:
        table = breakdown(evidence, task)
        tables.append(table)
        base, series = baseline_breakdown(evidence, task), evidence.shown(task)
        items = [
            _dots(f"{task.name}-{i}", str(by), lines[lines["run"].isin(series)], series, base)
            for i, (by, lines) in enumerate(table.groupby("by", sort=False))
        ]
        note = f"The grey line is {evidence.baseline(task)[0]}."
        blocks.append(Multiples(f"{task.name}, {task.metric}", items, series, note))
    blocks.append(_all_parts(pd.concat(tables)))
    lead = "Over parts of the queries, with 95 % intervals: the best run, the best single model and the floor."
    return Section("origins", "Where scores come from", lead, blocks)


def _dots(
    name: str, by: str, lines: pd.DataFrame, series: list[str], base: dict[tuple[str, str], float]
) -> Figure:
    found = {(line["run"], line["group"]): line for line in lines.to_dict("records")}
    groups = list(dict.fromkeys(lines["group"]))
    points = {run: [_point(found[run, group]) for group in groups] for run in series}
    said = [
        f"{group}: {run} {found[run, group]['score']:.4f}" for group in groups for run in series
    ]
    svg = charts.plot_intervals(name, groups, points, [base[by, group] for group in groups])
    return Figure(f"By {by}", svg, "; ".join(said))


def _point(line: Any) -> charts.Interval:
    return line["score"], line["low"], line["high"]


def _all_parts(table: pd.DataFrame) -> Table:
    columns = [Column(name, choice=True) for name in ("Task", "Run", "By", "Part")]
    columns += [Column("Queries", True), Column("Score", True)]
    rows = [
        [
            *(text(line[name]) for name in ("task", "run", "by", "group")),
            number(line["queries"]),
            estimate(Estimate(line["score"], line["low"], line["high"], line["queries"])),
        ]
        for line in table.to_dict("records")
    ]
    return Table("Every run, every part", columns, rows, folded=True)
