"""The sections on rows: label audits, and the queries that are ranked worst."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from competition.analysis.html import display_text
from competition.analysis.report.blocks import (
    Block,
    Column,
    Matrix,
    MatrixCell,
    Note,
    RankedProduct,
    Ranking,
    Rankings,
    ReportCell,
    Section,
    Table,
    estimate,
    number,
    text,
    tint,
)
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.query_groups import what_queries_hold
from competition.analysis.report.reliability import ranked
from competition.core.errors import CompError, pluralize
from competition.core.json_files import read_json
from competition.core.parquet import read_table
from competition.noise import report
from competition.noise.raters import rater_agreement
from competition.scoring.answers import answers
from competition.scoring.contest import Contest
from competition.scoring.evaluation import MOVABLE

WORST = 80  # queries
_TITLE = 160  # characters
_QUERY = 200
_PRODUCT_ID = 40


def label_audits(evidence: Evidence) -> Section:
    """Return the section with every label audit, that of competition.toml first."""
    lead = "Labels that out-of-fold predictions contradict, by confident learning."
    configured = evidence.pipeline.plan.settings.noise_run
    made = sorted(path.parent.name for path in evidence.workspace.oof.glob("*/noise.parquet"))
    names = list(dict.fromkeys([*([configured] if configured else []), *made]))

    blocks = [block for name in names for block in _label_audit(evidence, name)]
    if not names:
        blocks = [Note("competition.toml names no run to audit.", "comp cleanlab --from RUN")]
    return Section("audit", "Label audit", lead, blocks)


def _label_audit(evidence: Evidence, name: str) -> list[Block]:
    """Return what there is of the audit of a run, or why there is nothing."""
    workspace = evidence.workspace
    try:
        plan = evidence.pipeline.plan.audit(name)
        flags = read_table(
            evidence.workspace.noise(plan.name), plan.inputs, "`comp cleanlab` makes it"
        )
    except CompError as error:
        return [Note(evidence.relative(str(error)))]

    card = read_json(workspace.noise_card(plan.name))
    remark = report.caveat(card)
    note = Note(f"Audit of {plan.name}: {remark}")
    if flags.empty:
        return [note]

    blocks: list[Block] = [note] if remark else []
    blocks += [
        _counts(evidence, plan.name, flags),
        _noise_matrix(card),
        *_raters(evidence, flags),
        _worst_rows(evidence, flags),
    ]
    page = workspace.review_page(plan.name)
    if page.is_file():
        blocks.append(Note(f"Review more rows, with their full text, in reports/{page.name}."))
    else:
        command = f"comp cleanlab --from {plan.name}"
        blocks.append(Note("The page for reviewing the worst rows does not exist yet.", command))
    return blocks


def _counts(evidence: Evidence, run: str, flags: pd.DataFrame) -> Table:
    """Return the table of flagged and dropped rows by group."""
    contest = evidence.pipeline.tables.contest
    found = report.count_issues(
        flags, evidence.examples, contest.labels.names, contest.locale_names
    )
    numbers = ("Rows", "Flagged", "Dropped", "Share dropped")
    columns = [Column("Group"), *(Column(name, number=True) for name in numbers)]
    rows = [
        [text(group), *(number(float(count)) for count in counts), number(float(share), ".3f")]
        for group, *counts, share in found.itertuples()
    ]
    return Table(f"Audit of {run}", columns, rows)


def _raters(evidence: Evidence, flags: pd.DataFrame) -> list[Block]:
    """Return how the flags agree with several people's labels, where there are any."""
    found = rater_agreement(flags, evidence.examples, evidence.pipeline.plan.contest.raters)
    if found is None:
        return []

    columns = [Column("Rows with two or more raters"), Column("Rows", number=True)]
    columns.append(Column("Estimate [95 %]", number=True))
    lines = (
        ("Flagged: share that raters disagree on", found.flagged, estimate(found.of_flagged)),
        ("Others", found.rows - found.flagged, estimate(found.of_others)),
        ("Difference", found.rows, estimate(found.difference, "+")),
        ("AUC of low quality for disagreement", found.rows, estimate(found.auc)),
    )
    rows = [[text(what), number(float(count)), cell] for what, count, cell in lines]
    return [Table("Flags and raters", columns, rows), Note(found.sentence)]


def _noise_matrix(card: Mapping[str, Any]) -> Matrix:
    rows = [
        (given, [MatrixCell(f"{share:.0%}", "", tint(share, 1.0)) for share in shares])
        for given, shares in zip(card["labels"], card["noise_matrix"], strict=True)
    ]
    columns = [f"truly {label}" for label in card["labels"]]
    note = (
        "Estimated: of the rows whose true label is the column's, the share with the row's label."
    )
    return Matrix("Noise matrix", "given", columns, rows, note)


def _worst_rows(evidence: Evidence, flags: pd.DataFrame) -> Table:
    columns = [
        Column("Rank", number=True),
        *(Column(name, choice=True) for name in ("Locale", "Given", "Suggested")),
        Column("Quality", number=True),
        *(Column(name, wide=True) for name in ("Query", "Title")),
    ]
    contest = evidence.pipeline.plan.contest
    names, title = contest.labels.names, contest.fields[0]
    worst = report.worst_rows(flags, evidence.examples, evidence.products, title)
    rows = [
        [
            number(line["rank"]),
            text(line["locale"]),
            _label(names, line["given"]),
            _label(names, line["suggested"]),
            number(line["quality"], ".3f"),
            text(display_text(line["query"], _QUERY)),
            text(display_text(line["title"], _TITLE)),
        ]
        for line in worst.to_dict("records")
    ]
    return Table("The rows that the models contradict most", columns, rows)


def _label(names: Sequence[str], label: str) -> ReportCell:
    """Return a cell with a label in its color, sorted as the contest names them."""
    place = names.index(label)
    return ReportCell(label, place, label=place)


def worst_queries(evidence: Evidence) -> Section:
    """Return the section with the queries whose ranking scores worst, with their products in the order of the run."""
    title = "Worst-ranked queries"
    contest = evidence.pipeline.plan.contest
    letters = contest.labels.letters
    legend = ", ".join(f"{letter} {label}" for label, letter in letters.items())
    lead = (
        f"Each tile is a product in the order of the run, first to last{f': {legend}' if legend else ''}. "
        "Open a query to see the titles."
    )
    task = contest.ranking
    if task is None or task.name not in evidence.best:
        reason = (
            f"No complete run answers {task.name}." if task else "No task of the competition ranks."
        )
        return Section("worst", title, lead, [Note(reason, "comp run" if task else "")])

    run = evidence.answer(task)
    counts = evidence.counts(task)[run]
    movable = counts.groups[MOVABLE]
    scores = pd.Series(counts.values[movable, 0], counts.queries[movable])
    # A perfect list is no example of an error; equal scores are in the order of query_id.
    imperfect = scores[scores < 1].sort_values(kind="stable")
    worst = [int(query) for query in imperfect.index[:WORST]]
    if not worst:
        reason = (
            f"{run} ranks all lists whose order matters perfectly."
            if len(scores)
            else f"The order of no list matters: the labels of each are worth the same to {task.name}."
        )
        return Section("worst", title, lead, [Note(reason)])

    outputs = evidence.outputs(task, run, worst)
    rows = ranked(outputs, answers(task, evidence.plan(run).kind, outputs))
    name = contest.fields[0]
    position = evidence.position(rows)
    titles = evidence.products[name].iloc[position].where(position >= 0, "")
    rows = rows.assign(title=titles.to_numpy())

    lists = dict(list(rows.groupby("query_id", sort=False)))
    held = what_queries_hold(rows, contest, evidence.products, position)
    choices = ["Locale"] * bool(contest.locales) + ["It holds", "First product"]
    rankings = [
        _ranking(contest, lists[query], float(scores[query]), str(held[query])) for query in worst
    ]
    of_all = pluralize(len(scores), "query", "queries")
    note = f"By {run}, out-of-fold: the {len(worst)} worst of {of_all} whose order matters."
    return Section("worst", title, lead, [Rankings("", task.metric.label, choices, rankings, note)])


def _ranking(contest: Contest, rows: pd.DataFrame, score: float, held: str) -> Ranking:
    """Return a query with its products, as `rows` order them."""
    products = [
        RankedProduct(
            label=int(label),
            title=display_text(str(title), _TITLE) or "(no title)",
            product_id=display_text(str(product), _PRODUCT_ID),
        )
        for label, title, product in zip(
            contest.labels.codes(rows["label"]), rows["title"], rows["product_id"], strict=True
        )
    ]
    first = rows.iloc[0]
    locale = str(first["locale"])
    choices = [locale] * bool(contest.locales) + [held, str(first["label"])]
    return Ranking(
        query=display_text(str(first["query"]), _QUERY),
        language=contest.languages.get(locale, ""),
        choices=choices,
        score=score,
        products=products,
    )
