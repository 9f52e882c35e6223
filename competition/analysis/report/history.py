"""The sections about what happened: how training went, what it cost, what was submitted."""

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
from competition.config.recipe import EncoderRecipe, EnsembleRecipe, MemberRecipe
from competition.scoring.leaderboard import format_minute, logged_estimate, read_log
from competition.scoring.tasks import TASKS


def _members(evidence: Evidence) -> list[MemberRecipe]:
    """The recipes that are trained on folds, complete or not."""
    pipeline = evidence.pipeline
    recipes = [pipeline.recipe(name) for name in pipeline.wanted()]
    return [recipe for recipe in recipes if not isinstance(recipe, EnsembleRecipe)]


def _passes(evidence: Evidence, recipe: MemberRecipe) -> list[TrainingPass]:
    lines = read_lines(evidence.workspace.log(recipe.name))
    seeds = len(recipe.all_seeds) if isinstance(recipe, EncoderRecipe) else 1
    return last_passes(lines, recipe.folds, seeds)


def learning(evidence: Evidence) -> Section:
    """Loss and held-out score of every model that leaves a log."""
    items = []
    for recipe in _members(evidence):
        if passes := _passes(evidence, recipe):
            ends = [each.epochs[-1]["held_out_score"] for each in passes if each.epochs]
            words = f"{len(passes)} models; last held-out scores " + ", ".join(
                f"{end:.4f}" for end in ends
            )
            items.append(
                Figure(
                    recipe.name,
                    charts.plot_training(f"curves-{recipe.name}", passes),
                    words,
                    _models(passes),
                )
            )
    lead = "From each run's log: a line per model. The held-out score is that of the fold which the model never saw."
    if not items:
        return Section("learning", "Learning curves", lead, [_no_log()])
    return Section("learning", "Learning curves", lead, [Multiples("", items)])


def _models(passes: list[TrainingPass]) -> str:
    folds = len({each.fold for each in passes})
    return f"{folds} fold{'s' if folds > 1 else ''}"


def costs(evidence: Evidence) -> Section:
    """What each recipe's training cost."""
    columns = [
        Column("Run"),
        *(Column(name, True) for name in ("Models", "Steps", "Time", "Rows per second", "Memory")),
    ]
    rows = []
    for recipe in _members(evidence):
        passes = _passes(evidence, recipe)
        if not passes:
            continue
        spent = training_cost(passes, getattr(recipe, "batch_size", 0))
        rows.append(
            [
                ReportCell(recipe.name, strong=True),
                number(len(passes)),
                number(spent.steps),
                _duration(spent.seconds),
                number(spent.rows_per_second),
                _size(spent.memory),
            ]
        )
    lead = (
        "Of the last training: the time of its steps by the log's own rate, summed over the models, and the most "
        "memory that was held. A dash where the log does not say; trees leave no log."
    )
    return Section("costs", "Cost", lead, [Table("", columns, rows) if rows else _no_log()])


def _no_log() -> Note:
    return Note("No run has left a log of training.", "comp train")


def _duration(seconds: float | None) -> ReportCell:
    if seconds is None:
        return number(None)
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if whole < 60:
        said = f"{whole} s"
    else:
        said = f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"
    return ReportCell(said, seconds)


def _size(memory: float | None) -> ReportCell:
    return number(None) if memory is None else ReportCell(f"{memory / 2**30:.1f} GiB", memory)


def submissions(evidence: Evidence) -> Section:
    """The log of what was submitted, and what the competition answered against what was expected."""
    lead = (
        "The log of submissions. A public score far outside the out-of-fold interval asks for a look at the folds. "
        "Most lists of task 1 score 1 in any order: compare a public list of deep queries with the score at full depth."
    )
    log = _log(evidence)
    if log.empty:
        return Section(
            "submissions", "Submissions", lead, [Note("Nothing has been submitted.", "comp submit")]
        )
    columns = [
        Column("Time (UTC)"),
        *(Column(name, choice=True) for name in ("Submission", "Task", "Run")),
    ]
    columns += [Column("Basis", choice=True)]
    columns += [
        Column(name, True) for name in ("Can move", "Full depth", "Public minus full depth")
    ]
    columns += [
        Column(name, True)
        for name in ("Out-of-fold", "Public", "Public minus out-of-fold", "Private")
    ]
    rows = [_line(line) for line in log.to_dict("records")]
    blocks: list[Block] = [Table("", columns, rows)]
    answered = log[log["public"].notna() & log["out_of_fold"].notna()]
    if answered.empty:
        blocks.append(
            Note(
                "No public score is recorded yet.",
                f"comp leaderboard add {log['submission'].iloc[-1]} --task {log['task'].iloc[-1]} --public 0.87",
            )
        )
        return Section("submissions", "Submissions", lead, blocks)
    items = [_answered(str(task), lines) for task, lines in answered.groupby("task")]
    note = "On the dashed line, the public score is what was expected; the bar is the out-of-fold interval."
    return Section(
        "submissions",
        "Submissions",
        lead,
        [Multiples("Public against out-of-fold", items, note=note), *blocks],
    )


def _answered(task: str, lines: pd.DataFrame) -> Figure:
    points = [
        (str(line["submission"]), (line["out_of_fold"], line["low"], line["high"]), line["public"])
        for line in lines.to_dict("records")
    ]
    words = "; ".join(
        f"{name}: out-of-fold {point[0]:.4f}, public {score:.4f}" for name, point, score in points
    )
    metric = TASKS[task].metric if task in TASKS else ""
    return Figure(f"{task}, {metric}", charts.plot_public_scores(f"public-{task}", points), words)


def _line(line: Any) -> list[ReportCell]:
    """A line of the log as `comp leaderboard` says it."""
    own = logged_estimate(line["out_of_fold"], line["low"], line["high"])
    return [
        text(format_minute(line["time"])),
        *map(text, (line["submission"], line["task"], line["run"])),
        text(line["basis"]),
        *(number(line[name], ".4f") for name in ("can_move", "full_depth")),
        number(line["public"] - line["full_depth"], "+.4f"),
        estimate(own),
        number(line["public"], ".4f"),
        number(line["public"] - own.value, "+.4f"),
        number(line["private"], ".4f"),
    ]


def _log(evidence: Evidence) -> pd.DataFrame:
    """The log of submissions with its scores as numbers."""
    log = read_log(evidence.workspace)
    for column in ("out_of_fold", "low", "high", "can_move", "full_depth", "public", "private"):
        log[column] = pd.to_numeric(log[column], errors="coerce")
    return log
