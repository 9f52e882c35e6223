"""The page: its sections in order, in the template with its style and script."""

import re
from dataclasses import dataclass

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from competition.analysis.html import read_asset, source_hash
from competition.analysis.report.blocks import Column, Section, Table, number, text
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.history import costs, learning, submissions
from competition.analysis.report.models import calibrations, confusions, disagreements, ensembles
from competition.analysis.report.scores import (
    breakdowns,
    differences,
    estimate_of,
    how_scored,
    leaderboard,
    tied_with_best,
    title,
)
from competition.analysis.report.worst_queries import label_audits, worst_queries
from competition.core.console import progress
from competition.core.errors import pluralize
from competition.data.describe import describe
from competition.pipeline.steps import Pipeline
from competition.scoring.contest import Task
from competition.scoring.metrics import Estimate

# In the order of the page. Without a scored task, only the unscored sections are there.
_SCORED = (
    leaderboard,
    differences,
    breakdowns,
    calibrations,
    confusions,
    disagreements,
    ensembles,
    worst_queries,
)
_UNSCORED = (label_audits, submissions, learning, costs)


@dataclass(frozen=True)
class Headline:
    """The best run of a task."""

    task: str
    metric: str
    run: str
    score: Estimate
    where: str  # over which queries
    baseline: str
    above: Estimate  # minus the trivial baseline
    tied: list[str] | None  # runs without a significant difference; None with too few queries
    basis: str  # of its score


def render_report(pipeline: Pipeline) -> str:
    """Return the HTML of a workspace's report, a function of its files alone."""
    evidence = Evidence(pipeline)
    makers = (*(_SCORED if evidence.tasks else ()), *_UNSCORED, _data)
    sections = []
    with progress("report", len(makers), "sections") as work:
        for make in makers:
            sections.append(make(evidence))
            work.advance(1)

    labels = pipeline.plan.contest.labels
    style, script = read_asset("base.css", "report.css"), read_asset("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            style=Markup(style),
            style_hash=source_hash(style),
            script=Markup(script),
            script_hash=source_hash(script),
            rows=[
                _rows(evidence, "train", "to train on"),
                _rows(evidence, "test", "to predict"),
            ],
            headlines=[_headline(evidence, task) for task in evidence.tasks],
            missing_runs=_missing_runs(evidence),
            sections=sections,
            labels=labels.names,
            letters=labels.letters,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(read_asset),
    )
    environment.filters["commands"] = _commands
    return environment


def _commands(sentence: str) -> Markup:
    """Return a sentence as HTML, what stands in backticks in code elements."""
    escaped = str(escape(sentence))
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped))


def _rows(evidence: Evidence, split: str, purpose: str) -> str:
    """Return the size of a split in words."""
    rows = evidence.examples[evidence.examples["split"] == split]
    queries = pluralize(rows["query_id"].nunique(), "query", "queries")
    return f"{pluralize(len(rows), 'row')} of {queries} {purpose}"


def _headline(evidence: Evidence, task: Task) -> Headline:
    best = evidence.lines(task).iloc[0]
    score = estimate_of(best, "score")
    _, _, where = title(task, evidence.group(task), score.queries).partition(", ")
    return Headline(
        task=task.name,
        metric=task.metric.label,
        run=best["run"],
        score=score,
        where=where,
        baseline=best["baseline"],
        above=estimate_of(best, "above_baseline"),
        tied=tied_with_best(evidence, task) if score.has_interval else None,
        basis=how_scored(best),
    )


def _missing_runs(evidence: Evidence) -> list[str]:
    """Return the reasons why runs of competition.toml are not on the page."""
    reasons = list(evidence.missing.values())
    if evidence.plans and not evidence.tasks:
        reasons.append("No training row of a task has a label: there is nothing to score.")
    return reasons


def _data(evidence: Evidence) -> Section:
    table = describe(evidence.pipeline.plan.contest, evidence.examples, evidence.products)
    rows = [
        [text(name), *(number(float(count)) for count in counts)]
        for name, *counts in table.itertuples()
    ]
    columns = [Column(""), Column("Train", number=True), Column("Test", number=True)]
    lead = "Counts of rows, queries, labels and missing text."
    return Section("data", "Data", lead, [Table("Counts", columns, rows, folded=True)])
