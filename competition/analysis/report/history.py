"""The sections on the past: training, its cost, and submissions."""

from collections.abc import Hashable
from typing import Any

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
    number,
    text,
)
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.logs import TrainingPass, last_passes, read_lines, training_cost
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import EnsembleRecipe, MemberRecipe
from competition.core.errors import pluralize
from competition.scoring.leaderboard import format_minute, logged_estimate, read_log


def learning(evidence: Evidence) -> Section:
    """Return the section with loss and held-out score of every model that has a log."""
    lead = "From each run's log, a line per model. The held-out score is over the fold that the model did not see."
    items = []
    for recipe in _members(evidence):
        passes = _passes(evidence, recipe)
        if not passes:
            continue
        svg = charts.plot_training(f"curves-{recipe.name}", passes)
        scores = [each.epochs[-1]["held_out_score"] for each in passes if each.epochs]
        alt_text = f"{len(passes)} models; last held-out scores " + ", ".join(
            f"{score:.4f}" for score in scores
        )
        folds = len({each.fold for each in passes})
        items.append(Figure(recipe.name, svg, alt_text, pluralize(folds, "fold")))

    blocks: list[Block] = [Multiples("", items)] if items else [_no_log()]
    return Section("learning", "Learning curves", lead, blocks)


def costs(evidence: Evidence) -> Section:
    """Return the section with the cost of each recipe's training."""
    numbers = ("Models", "Steps", "Time", "Rows per second", "Memory")
    columns = [Column("Run"), *(Column(name, number=True) for name in numbers)]
    rows = []
    for recipe in _members(evidence):
        passes = _passes(evidence, recipe)
        if not passes:
            continue
        cost = training_cost(passes, getattr(recipe, "batch_size", 0))
        rows.append(
            [
                ReportCell(recipe.name, heading=True),
                number(len(passes)),
                number(cost.steps),
                _duration(cost.seconds),
                number(cost.rows_per_second),
                _size(cost.memory),
            ]
        )

    lead = (
        "Of the last training: the time of its steps at the logged rate, summed over the models, and the peak of "
        "memory. A dash where the log has no value; LightGBM leaves no log."
    )
    return Section("costs", "Cost", lead, [Table("", columns, rows) if rows else _no_log()])


def _members(evidence: Evidence) -> list[MemberRecipe]:
    """Return the recipes that are trained on folds, complete or not."""
    pipeline = evidence.pipeline
    recipes = [pipeline.recipes.run(name) for name in pipeline.recipes.requested()]
    return [recipe for recipe in recipes if not isinstance(recipe, EnsembleRecipe)]


def _passes(evidence: Evidence, recipe: MemberRecipe) -> list[TrainingPass]:
    """Return the last training of each model of a recipe, from its log."""
    lines = read_lines(evidence.workspace.log(recipe.name))
    seeds = len(recipe.all_seeds) if isinstance(recipe, EncoderRecipe) else 1
    return last_passes(lines, recipe.folds, seeds)


def _no_log() -> Note:
    return Note("No training has left a log.", "comp train")


def _duration(seconds: float | None) -> ReportCell:
    """Return a cell such as 59 s, 2 min 05 s or 3 h 04 min."""
    if seconds is None:
        return number(None)

    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return ReportCell(f"{hours} h {minutes:02} min", seconds)
    if minutes:
        return ReportCell(f"{minutes} min {whole % 60:02} s", seconds)
    return ReportCell(f"{whole} s", seconds)


def _size(memory: float | None) -> ReportCell:
    return number(None) if memory is None else ReportCell(f"{memory / 2**30:.1f} GiB", memory)


def submissions(evidence: Evidence) -> Section:
    """Return the section with the submission log: public scores beside out-of-fold scores."""
    title = "Submissions"
    lead = (
        "The log of submissions. If a public score lies far outside the out-of-fold interval, check the folds. On task "
        "1, most lists score 1 in any order: compare a public score over lists of full depth with the score at full "
        "depth."
    )
    log = _log(evidence)
    if log.empty:
        return Section(
            "submissions", title, lead, [Note("Nothing is submitted yet.", "comp submit")]
        )

    columns = [
        Column("Time (UTC)"),
        *(Column(name, choice=True) for name in ("Submission", "Task", "Run", "Basis")),
        *(Column(name, number=True) for name in ("Can move", "Full depth")),
        Column("Public minus full depth", number=True),
        *(Column(name, number=True) for name in ("Out-of-fold", "Public")),
        *(Column(name, number=True) for name in ("Public minus out-of-fold", "Private")),
    ]
    rows = [_line(line) for line in log.to_dict("records")]
    # Columns without a number would only push the others out of sight.
    full = [i for i in range(len(columns)) if any(row[i].text not in ("–", "") for row in rows)]
    table = Table("", [columns[i] for i in full], [[row[i] for i in full] for row in rows])

    # The figures compare two scores, so a line needs both.
    scored = log[log["public"].notna() & log["out_of_fold"].notna()]
    if scored.empty:
        last = log.iloc[-1]
        command = f"comp leaderboard add {last['submission']} --task {last['task']} --public 0.87"
        note = Note("No public score is recorded yet.", command)
        return Section("submissions", title, lead, [table, note])

    tasks = evidence.pipeline.plan.contest.tasks
    items = [
        _public_scores(name, tasks[name].metric.label if name in tasks else "", lines)
        for name, lines in ((str(task), lines) for task, lines in scored.groupby("task"))
    ]
    note_text = "On the dashed line, the public score equals the out-of-fold score; the bar is its interval."
    figures = Multiples("Public against out-of-fold", items, note=note_text)
    return Section("submissions", title, lead, [figures, table])


def _public_scores(task: str, metric: str, lines: pd.DataFrame) -> Figure:
    """Return the figure of the submissions of a task that have both scores."""
    points = [
        (str(line["submission"]), (line["out_of_fold"], line["low"], line["high"]), line["public"])
        for line in lines.to_dict("records")
    ]
    alt_text = "; ".join(
        f"{name}: out-of-fold {interval[0]:.4f}, public {score:.4f}"
        for name, interval, score in points
    )
    svg = charts.plot_public_scores(f"public-{task}", points)
    return Figure(f"{task}, {metric}", svg, alt_text)


def _line(line: dict[Hashable, Any]) -> list[ReportCell]:
    """Return the cells of a line of the log, with the differences that `comp leaderboard` shows."""
    own = logged_estimate(line["out_of_fold"], line["low"], line["high"])
    return [
        text(format_minute(line["time"])),
        *(text(line[name]) for name in ("submission", "task", "run", "basis")),
        *(number(line[name], ".4f") for name in ("can_move", "full_depth")),
        number(line["public"] - line["full_depth"], "+.4f"),
        estimate(own),
        number(line["public"], ".4f"),
        number(line["public"] - own.value, "+.4f"),
        number(line["private"], ".4f"),
    ]


def _log(evidence: Evidence) -> pd.DataFrame:
    """Return the log of submissions with its scores as numbers."""
    log = read_log(evidence.workspace)
    for column in ("out_of_fold", "low", "high", "can_move", "full_depth", "public", "private"):
        log[column] = pd.to_numeric(log[column], errors="coerce")
    return log
