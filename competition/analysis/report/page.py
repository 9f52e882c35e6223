"""The page: the reader's questions in order, in the template with its style and script."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from competition.analysis.diagnoses.diagnosis import Verdict
from competition.analysis.html import read_asset, source_hash
from competition.analysis.report.ablations import ablations
from competition.analysis.report.blocks import Column, Part, Section, Table, number, text
from competition.analysis.report.cards import cards, judge_evidence
from competition.analysis.report.effects import effects, members
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.history import costs, learning, submissions
from competition.analysis.report.models import calibrations, confusions, disagreements
from competition.analysis.report.scores import breakdowns, differences, leaderboard
from competition.analysis.report.trust import marks, tests
from competition.analysis.report.worst_queries import label_audits, worst_queries
from competition.core.console import progress
from competition.core.errors import pluralize
from competition.data.describe import describe
from competition.pipeline.steps import Pipeline


@dataclass(frozen=True)
class Makers:
    """A question of the reader, and the functions that answer it.

    Attributes:
        id: of the part of the page.
        title: the question.
        scored: sections that need a scored task.
        unscored: sections that follow in any case.
    """

    id: str
    title: str
    scored: tuple[Callable[[Evidence], Section], ...] = ()
    unscored: tuple[Callable[[Evidence], Section], ...] = ()


def render_report(pipeline: Pipeline, verdict: Verdict | None = None) -> str:
    """Return the HTML of a workspace's report, a function of its files alone.

    Args:
        pipeline: of the workspace.
        verdict: what the cards at the top say; that on the runs of the page unless given.
    """
    evidence = Evidence(pipeline)
    verdict = verdict or judge_evidence(evidence)
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
            name=evidence.workspace.root.resolve().name,
            facts=_facts(evidence),
            cards=cards(evidence, verdict),
            verdict=verdict,
            missing_runs=_missing_runs(evidence),
            parts=_parts(evidence),
            labels=labels.names,
            letters=labels.letters,
        )
    )


def _parts(evidence: Evidence) -> list[Part]:
    """Return the parts that have a section, each made once."""
    parts = []
    count = sum(len(each.scored) + len(each.unscored) for each in _QUESTIONS)
    with progress("report", count, "sections") as work:
        for each in _QUESTIONS:
            sections = []
            for make in (*(each.scored if evidence.tasks else ()), *each.unscored):
                sections.append(make(evidence))
                work.advance(1)
            if sections:
                parts.append(Part(each.id, each.title, sections))
    return parts


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


def _facts(evidence: Evidence) -> list[str]:
    """Return what the page is about: the contest, the rows and the dates of data and runs, as their files have them."""
    contest = evidence.pipeline.plan.contest
    rows = [_rows(evidence, "train", "to train on")]
    if evidence.pipeline.plan.card.has_test_rows:
        rows.append(_rows(evidence, "test", "to predict"))
    facts = [f"{contest.name}: {contest.description}", *rows]

    facts.append(f"imported {_minute(evidence.workspace.data_card)}")
    # A run has its card when it has been scored.
    every = [evidence.workspace.run_card(plan.name) for plan in evidence.plans]
    cards = [path for path in every if path.is_file()]
    if cards:
        newest = max(cards, key=lambda path: path.stat().st_mtime)
        facts.append(f"newest run {_minute(newest)}")
    return facts


def _minute(path: Path) -> str:
    """Return when a file was written, in UTC."""
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return f"{written:%Y-%m-%d %H:%M} UTC"


def _rows(evidence: Evidence, split: str, purpose: str) -> str:
    """Return the size of a split in words."""
    of_split = (evidence.examples["split"] == split).to_numpy()
    query_ids = evidence.examples["query_id"][of_split]
    queries = pluralize(query_ids.nunique(), "query", "queries")
    return f"{pluralize(len(query_ids), 'row')} of {queries} {purpose}"


def _missing_runs(evidence: Evidence) -> list[str]:
    """Return the reasons why runs of competition.toml are not on the page."""
    reasons = list(evidence.missing.values())
    if evidence.plans and not evidence.tasks:
        reasons.append("No training row of a task has a label: there is nothing to score.")
    return reasons


def _data(evidence: Evidence) -> Section:
    contest, examples = evidence.pipeline.plan.contest, evidence.examples
    table = describe(contest, examples, evidence.products, evidence.position(examples))
    rows = [
        [text(name), *(number(float(count)) for count in counts)]
        for name, *counts in table.itertuples()
    ]
    columns = [Column("Count"), Column("Train", number=True), Column("Test", number=True)]
    lead = "Counts of rows, queries, labels and missing text."
    return Section("data", "Data", lead, [Table("", columns, rows)])


# In the order of the page. Without a scored task, only the unscored sections are there.
_QUESTIONS = (
    Makers("stand", "Where do I stand?", (leaderboard,)),
    Makers(
        "difference",
        "What made the difference?",
        (effects, members, differences, disagreements),
        (ablations,),
    ),
    Makers("errors", "Where do I lose?", (breakdowns, worst_queries, confusions)),
    Makers("trust", "Can I trust it?", (marks, tests, calibrations), (label_audits, submissions)),
    Makers("cost", "What did it cost?", (), (costs, learning)),
    Makers("rows", "What are the rows?", (), (_data,)),
)
