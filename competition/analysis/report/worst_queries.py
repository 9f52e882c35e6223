"""The sections about rows: labels that models contradict, and queries that are ranked worst."""

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
    number,
    text,
    tint,
)
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.reliability import ranked
from competition.core.errors import CompError, pluralize
from competition.core.json_files import read_json
from competition.core.parquet import read_table
from competition.data.store import PRODUCT_KEY
from competition.noise import report
from competition.scoring.evaluation import MOVABLE
from competition.scoring.tasks import LABELS, LANGUAGES, TASKS, answers, label_codes

WORST = 40  # queries
_TITLE = 160  # characters
_QUERY = 200


def label_audits(evidence: Evidence) -> Section:
    """The label audits: that which competition.toml names, and those that were made beside it."""
    lead = "Labels that out-of-fold predictions contradict, by confident learning."
    named = evidence.pipeline.settings.noise_run
    made = sorted(path.parent.name for path in evidence.workspace.oof.glob("*/noise.parquet"))
    names = list(dict.fromkeys([*([named] if named else []), *made]))
    if not names:
        note = Note("competition.toml names no run to audit.", "comp cleanlab --from RUN")
        return Section("audit", "Label audit", lead, [note])
    return Section(
        "audit", "Label audit", lead, [block for name in names for block in _audit(evidence, name)]
    )


def _audit(evidence: Evidence, name: str) -> list[Block]:
    """What is there of the audit of a run, or why there is nothing."""
    try:
        plan = evidence.pipeline.audit(name)
        flags = read_table(
            evidence.workspace.noise(plan.name), plan.inputs, "`comp cleanlab` makes it"
        )
    except CompError as error:
        return [Note(evidence.relative(str(error)))]
    card = read_json(evidence.workspace.noise_card(plan.name))
    said = report.caveat(card)
    if flags.empty:
        return [Note(f"Audit of {plan.name}: {said}")]
    blocks: list[Block] = [Note(f"Audit of {plan.name}: {said}")] if said else []
    blocks += [
        _counts(evidence, plan.name, flags),
        _noise_matrix(card),
        _worst_rows(evidence, flags),
    ]
    page = evidence.workspace.review_page(plan.name)
    if page.is_file():
        blocks.append(
            Note(f"reports/{page.name} has more rows, with their text, and takes verdicts.")
        )
    else:
        blocks.append(
            Note(
                "A page for judging the worst rows is not made yet.",
                f"comp cleanlab --from {plan.name}",
            )
        )
    return blocks


def _counts(evidence: Evidence, run: str, flags: pd.DataFrame) -> Table:
    columns = [
        Column(""),
        *(Column(name, True) for name in ("Rows", "Flagged", "Dropped", "Share dropped")),
    ]
    table = report.count_issues(flags, evidence.examples)
    rows = [
        [text(group), *(number(float(n)) for n in counts), number(float(share), ".3f")]
        for group, *counts, share in table.itertuples()
    ]
    return Table(f"Audit of {run}", columns, rows)


def _noise_matrix(card: dict[str, Any]) -> Matrix:
    rows = [
        (given, [MatrixCell(f"{share:.0%}", "", tint(share, 1.0)) for share in shares])
        for given, shares in zip(card["labels"], card["noise_matrix"], strict=True)
    ]
    note = "Estimated: of the rows that are truly of the column's label, the share that is given the row's."
    return Matrix(
        "Noise matrix", "given", [f"truly {label}" for label in card["labels"]], rows, note
    )


def _worst_rows(evidence: Evidence, flags: pd.DataFrame) -> Table:
    columns = [Column("Rank", True), Column("Locale", choice=True), Column("Given", choice=True)]
    columns += [Column("Suggested", choice=True), Column("Quality", True)]
    columns += [Column("Query", wide=True), Column("Title", wide=True)]
    rows = [
        [
            number(line["rank"]),
            text(line["locale"]),
            label_cell(line["given"]),
            label_cell(line["suggested"]),
            number(line["quality"], ".3f"),
            text(display_text(line["query"], _QUERY)),
            text(display_text(line["title"], _TITLE)),
        ]
        for line in report.worst_rows(flags, evidence.examples, evidence.products).to_dict(
            "records"
        )
    ]
    return Table("The rows that the models contradict most", columns, rows)


def label_cell(label: str) -> ReportCell:
    """A label in its color, sorted from best to worst."""
    return ReportCell(label, LABELS.index(label), label=LABELS.index(label))


def worst_queries(evidence: Evidence) -> Section:
    """The queries with the lowest nDCG by the best run, with their products in its order."""
    title, task = "Worst-ranked queries", TASKS["task1"]
    lead = (
        "Each tile is a product in the order of the run, first to last: E exact, S substitute, C complement, "
        "I irrelevant. A query opens to the titles."
    )
    if task.name not in evidence.best:
        return Section("worst", title, lead, [Note("No complete run answers task1.", "comp run")])
    run = evidence.best[task.name]
    counts = evidence.counts(task)[run]
    movable = counts.groups[MOVABLE]
    scores = dict(
        zip(counts.queries[movable].tolist(), counts.values[movable, 0].tolist(), strict=True)
    )
    wrong = [query for query, score in scores.items() if score < 1]
    chosen = sorted(wrong, key=lambda query: (scores[query], query))[:WORST]
    outputs = evidence.outputs(task, run)
    outputs = outputs[outputs["query_id"].isin(chosen)].reset_index(drop=True)
    rows = ranked(outputs, answers(task, evidence.runs[run].kind, outputs))
    rows = rows.merge(
        evidence.products[[*PRODUCT_KEY, "title"]], on=PRODUCT_KEY, how="left"
    ).fillna({"title": ""})
    lists = dict(list(rows.groupby("query_id", sort=False)))
    rankings = [_ranking(lists[query], scores[query]) for query in chosen]
    note = f"By {run}, out-of-fold; of {pluralize(len(scores), 'query', 'queries')} whose order matters."
    return Section("worst", title, lead, [Rankings("", rankings, note)])


def _ranking(rows: pd.DataFrame, score: float) -> Ranking:
    first = rows.iloc[0]
    products = [
        RankedProduct(
            int(label),
            display_text(str(title), _TITLE) or "(no title)",
            display_text(str(product), 40),
        )
        for label, title, product in zip(
            label_codes(rows["label"]), rows["title"], rows["product_id"], strict=True
        )
    ]
    locale = str(first["locale"])
    query = display_text(str(first["query"]), _QUERY)
    return Ranking(
        query, str(first["query_id"]), LANGUAGES.get(locale, ""), locale, score, products
    )
