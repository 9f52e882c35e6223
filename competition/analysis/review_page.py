"""The page for reviewing the worst rows of an audit: one HTML file that needs no network and no server.

Its texts are untrusted. They are embedded as JSON that no HTML parser can take for markup, and the
script inserts them as text only; a content security policy allows nothing but the page's own script
and style, and no request.
"""

from collections.abc import Hashable, Mapping, Sequence
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from competition.analysis.html import display_text, read_asset, script_json, source_hash
from competition.core.fingerprint import fingerprint
from competition.data.border import PRODUCT_KEY
from competition.noise.reviews import VERDICTS
from competition.scoring.contest import Contest

SHOWN = 2_000  # rows on a page
# Characters shown of each text, so that the page has at most a few MB.
_QUERY, _PRODUCT_ID, _NAME, _CATEGORY, _TEXT = 300, 40, 300, 100, 900
_KEYS = ("id", "rank", "given", "suggested", "quality", "dropped", "locale")


def text_lengths(contest: Contest) -> dict[str, int]:
    """Return how many characters are shown of each text of a row."""
    name, *others = contest.fields
    lengths = {field: _CATEGORY if field in contest.categories else _TEXT for field in others}
    return {"query": _QUERY, "product_id": _PRODUCT_ID, name: _NAME} | lengths


def render_review_page(
    contest: Contest,
    run: str,
    rows: str,
    noise: pd.DataFrame,
    verdicts: pd.DataFrame,
    examples: pd.DataFrame,
    products: pd.DataFrame,
) -> str:
    """Return the HTML of the page, a function of its arguments alone.

    Args:
        contest: what the rows are of.
        run: the audited run.
        rows: the fingerprint of the training rows, part of the key under which a browser stores marks.
        noise: the audit.
        verdicts: earlier reviews; the page starts with them, and shows their rows whatever their
            rank.
        examples: queries, by example_id.
        products: texts, by locale and product_id.
    """
    lengths = text_lengths(contest)
    columns = (*_KEYS, *lengths, "verdict")
    fields = list(contest.fields)
    queries = examples[["example_id", "query", "locale", "product_id"]]
    rows_shown = worst_rows(noise, verdicts)
    rows_shown = rows_shown.merge(verdicts, on="example_id", how="left").fillna({"verdict": ""})
    rows_shown = rows_shown.merge(queries, on="example_id", how="left")
    rows_shown = rows_shown.merge(products[[*PRODUCT_KEY, *fields]], on=PRODUCT_KEY, how="left")
    # A row may have no product in the catalogue.
    rows_shown = rows_shown.fillna(dict.fromkeys(fields, ""))

    meanings = contest.labels.meanings
    audit = {
        "run": run,
        "store": f"comp-verdicts-{fingerprint([run, rows])}",
        "audited": len(noise),
        "flagged": int(noise["rank"].count()),
        "dropped": int(noise["dropped"].sum()),
        "verdicts": VERDICTS,
        "names": contest.labels.names,
        "labels": {label: meanings.get(label, "") for label in contest.labels.names},
        "languages": contest.languages,
        "name": contest.fields[0],
        "categories": contest.categories,
        "texts": [name for name in contest.texts if name != contest.fields[0]],
        "columns": columns,
        "rows": [_cells(row, lengths, columns) for row in rows_shown.to_dict("records")],
    }
    style = read_asset("base.css", "review_page.css")
    script = read_asset("rows.js", "controls.js")
    return Template(read_asset("review_page.html")).substitute(
        style=style,
        style_hash=source_hash(style),
        script=script,
        script_hash=source_hash(script),
        data=script_json(audit),
    )


def worst_rows(noise: pd.DataFrame, verdicts: pd.DataFrame, count: int = SHOWN) -> pd.DataFrame:
    """Return the `count` worst rows of an audit and those that have a verdict, worst first.

    Flagged rows are ordered by rank, the others follow by the quality of their label.
    """
    ordered = noise.sort_values(["rank", "quality", "example_id"], ignore_index=True)
    # A reviewed row stays on the page, so that its verdict can be changed.
    judged = ordered["example_id"].isin(verdicts["example_id"])
    return ordered[judged | (np.arange(len(ordered)) < count)]


def _cells(
    row: dict[Hashable, Any], lengths: Mapping[str, int], columns: Sequence[str]
) -> list[Any]:
    """Return the cells of a row; ids are text, since JavaScript's numbers are exact up to 2^53 only."""
    texts = {name: display_text(row[name], length) for name, length in lengths.items()}
    numbers = {
        "id": str(row["example_id"]),
        "rank": None if pd.isna(row["rank"]) else int(row["rank"]),
        "quality": round(float(row["quality"]), 4),
    }
    cells = dict[Any, Any](row) | texts | numbers
    return [cells[name] for name in columns]
