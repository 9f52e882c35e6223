"""The sections on whether scores can be trusted: their marks, and test rows against out-of-fold rows."""

import pandas as pd

from competition.analysis.report import charts
from competition.analysis.report.blocks import (
    Block,
    Column,
    Figure,
    Multiples,
    Note,
    ReportCell,
    Section,
    Table,
    estimate,
    text,
)
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.scores import estimate_of, marks_of, title
from competition.scoring.basis import HELD_OUT
from competition.scoring.task import Task


def marks(evidence: Evidence) -> Section:
    """Return the section with the basis of every score, and by how much leaks were measured to inflate it."""
    rows = []
    for task in evidence.tasks:
        for line in evidence.lines(task).to_dict("records"):
            approximate = line["basis"] != HELD_OUT
            flatters = estimate_of(line, "flatters")
            measured = estimate(flatters, "+") if flatters.value == flatters.value else text("")
            if not measured.text:
                measured = text("not measured" if approximate else "nothing")
            rows.append(
                [
                    ReportCell(line["run"], heading=True, marks=marks_of(evidence, task, line)),
                    text(task.name),
                    text(line["label_paths"] if approximate else "no way"),
                    measured,
                ]
            )

    columns = [
        Column("Run"),
        Column("Task", choice=True),
        Column("Labels reached it through", wide=True),
    ]
    columns.append(Column("Too high by", number=True))
    lead = (
        "A score is held out if nothing that answers for a row was fitted on the row's label. Any other score is "
        "approximate: labels that it is scored on reached the run, so it may be too high. `comp audit-leaks --deep` "
        "measures by how much. On test rows every score is held out."
    )
    return Section("marks", "Held-out and approximate scores", lead, [Table("", columns, rows)])


def tests(evidence: Evidence) -> Section:
    """Return the section that compares out-of-fold scores with those of labelled test rows."""
    items = [
        _tests(evidence, task)
        for task in evidence.tasks
        if not evidence.lines(task, split="test").empty
    ]
    lead = (
        "The same runs on training rows, out-of-fold, and on test rows, which no model has seen. The test rows are "
        "answered by the mean of the folds' models, so their score may be a little higher. Where the two intervals do "
        "not meet, the rows differ or labels leaked."
    )
    blocks: list[Block] = [Multiples("", items, ("out-of-fold", "test rows"))]
    if not items:
        reason = "No test row has a label: only the leaderboard of the competition can tell."
        if not evidence.pipeline.plan.card.has_test_rows:
            reason = "The data have no test rows: all scores are out-of-fold."
        blocks = [Note(reason)]
    return Section("tests", "Test rows against out-of-fold", lead, blocks)


def _tests(evidence: Evidence, task: Task) -> Figure:
    held_out, on_test = evidence.lines(task), evidence.lines(task, split="test")
    tested = set(on_test["run"])
    runs = [str(run) for run in held_out["run"] if run in tested]

    def points(lines: pd.DataFrame) -> list[charts.Interval]:
        scores = {line["run"]: estimate_of(line, "score") for line in lines.to_dict("records")}
        return [(scores[run].value, scores[run].low, scores[run].high) for run in runs]

    series = {"out-of-fold": points(held_out), "test rows": points(on_test)}
    svg = charts.plot_intervals(f"tests-{task.name}", runs, series, task.metric.label)
    alt_text = "; ".join(
        f"{run}: {own[0]:.4f} out-of-fold, {test[0]:.4f} on test rows"
        for run, own, test in zip(runs, *series.values(), strict=True)
    )
    group = evidence.group(task)
    heading = title(task, group, int(held_out["queries"].iloc[0]))
    queries = task.count_units(int(on_test["queries"].iloc[0]))
    return Figure(heading, svg, alt_text, f"and {queries} of test rows")
