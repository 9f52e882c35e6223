"""The page: sections in order, put into the template with its style and script."""

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
from competition.scoring.metrics import Estimate
from competition.scoring.tasks import LABEL_LETTERS, LABELS, Task


@dataclass(frozen=True)
class Headline:
    """Who leads a task, and by how much."""

    task: str
    metric: str
    run: str
    score: Estimate
    where: str  # over which queries
    baseline: str
    above: Estimate
    level: (
        list[str] | None
    )  # the runs that are level with it; None where there are too few queries to tell
    basis: str  # of its score


def render_report(pipeline: Pipeline) -> str:
    """The HTML of the report of a workspace, a function of its files alone."""
    evidence = Evidence(pipeline)
    scored = (
        leaderboard,
        differences,
        breakdowns,
        calibrations,
        confusions,
        disagreements,
        ensembles,
        worst_queries,
    )
    told = (label_audits, submissions, learning, costs)
    sections = []
    makers = (*scored, *told, _data) if evidence.tasks else (*told, _data)
    with progress("report", len(makers), "sections") as work:
        for make in makers:
            sections.append(make(evidence))
            work.advance(1)
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
                _rows(evidence, split, what)
                for split, what in (("train", "to train on"), ("test", "to predict"))
            ],
            headlines=[_headline(evidence, task) for task in evidence.tasks],
            lacking=_lacking(evidence),
            sections=sections,
            labels=LABELS,
            letters={label: letter for letter, label in LABEL_LETTERS.items()},
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
    """A sentence whose `commands` stand in a code element."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(sentence))))  # noqa: S704 - escaped before


def _rows(evidence: Evidence, split: str, what: str) -> str:
    """How much there is of a split."""
    rows = evidence.examples[evidence.examples["split"] == split]
    return f"{pluralize(len(rows), 'row')} of {pluralize(rows['query_id'].nunique(), 'query', 'queries')} {what}"


def _headline(evidence: Evidence, task: Task) -> Headline:
    lines = evidence.lines(task)
    first = lines.iloc[0]
    score, above = (estimate_of(first, name) for name in ("score", "above_baseline"))
    where = title(task, evidence.group(task), score.queries).partition(", ")[2]
    return Headline(
        task.name,
        task.metric,
        first["run"],
        score,
        where,
        first["baseline"],
        above,
        tied_with_best(evidence, task) if score.has_interval else None,
        how_scored(first),
    )


def _lacking(evidence: Evidence) -> list[str]:
    """Why runs of competition.toml are not on the page."""
    said = list(evidence.lacking.values())
    unlabelled = bool(evidence.plans) and not evidence.tasks
    said += (
        ["No training row of a task has a label: there is nothing to score."] if unlabelled else []
    )
    return said


def _data(evidence: Evidence) -> Section:
    table = describe(evidence.examples, evidence.products)
    rows = [
        [text(name), *(number(float(n)) for n in counts)] for name, *counts in table.itertuples()
    ]
    columns = [Column(""), Column("Train", True), Column("Test", True)]
    lead = "Counts of rows, queries, labels and what text is missing."
    return Section("data", "Data", lead, [Table("Counts", columns, rows, folded=True)])
