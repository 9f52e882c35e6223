"""A page on which people judge the worst rows of an audit: one HTML file that needs no network and no server.

What the page shows was written by strangers. It travels as JSON that no parser of HTML can take for
markup, is put on the page as text only, and a content security policy lets nothing run but the
page's own script and nothing be fetched.
"""

from string import Template
from typing import Any

import numpy as np
import pandas as pd

from competition.analysis.html import display_text, read_asset, script_json, source_hash
from competition.core.fingerprint import fingerprint
from competition.data.store import PRODUCT_KEY
from competition.data.text import FIELDS
from competition.noise.reviews import VERDICTS
from competition.scoring.tasks import LABEL_MEANINGS, LABELS, LANGUAGES

SHOWN = 2_000  # rows on a page
# Characters of a text that are shown; the longer ones are what people skim anyway, and keep the
# page at a few MB.
LENGTHS = {
    "query": 300, "product_id": 40, "title": 300, "brand": 100, "color": 100, "bullets": 900, "description": 900,
}  # fmt: skip
_COLUMNS = ("id", "rank", "given", "suggested", "quality", "dropped", "locale", *LENGTHS, "verdict")


def render_review_page(
    run: str,
    rows: str,
    noise: pd.DataFrame,
    verdicts: pd.DataFrame,
    examples: pd.DataFrame,
    products: pd.DataFrame,
) -> str:
    """The HTML of the page, a function of its arguments alone.

    Args:
        run: the audited run.
        rows: the fingerprint of the training rows; what a browser remembers is kept apart by it.
        noise: the audit.
        verdicts: what people said before; the page begins with it, and shows these rows whatever
            their rank.
        examples: queries, by example_id.
        products: texts, by locale and product_id.
    """
    shown = worst_rows(noise, verdicts)
    shown = shown.merge(verdicts, on="example_id", how="left").fillna({"verdict": ""})
    shown = shown.merge(
        examples[["example_id", "query", "locale", "product_id"]], on="example_id", how="left"
    )
    shown = shown.merge(products[[*PRODUCT_KEY, *FIELDS]], on=PRODUCT_KEY, how="left")
    shown = shown.fillna(dict.fromkeys(FIELDS, ""))  # a row may have no product in the catalogue
    audit = {
        "run": run,
        "store": f"comp-verdicts-{fingerprint([run, rows])}",
        "audited": len(noise),
        "flagged": int(noise["rank"].count()),
        "dropped": int(noise["dropped"].sum()),
        "verdicts": VERDICTS,
        "labels": {label: LABEL_MEANINGS[label] for label in LABELS},
        "languages": LANGUAGES,
        "columns": _COLUMNS,
        "rows": [_cells(row) for row in shown.to_dict("records")],
    }
    return _assemble(audit)


def worst_rows(noise: pd.DataFrame, verdicts: pd.DataFrame, count: int = SHOWN) -> pd.DataFrame:
    """The `count` worst rows of an audit and those that have a verdict, worst first.

    Flagged rows go by rank, the others follow by the quality of their label.
    """
    ordered = noise.sort_values(["rank", "quality", "example_id"], ignore_index=True)
    judged = ordered["example_id"].isin(verdicts["example_id"])
    return ordered[judged | (np.arange(len(ordered)) < count)]


def _cells(row: dict[Any, Any]) -> list[Any]:
    """The cells of `_COLUMNS`; ids are text, since JavaScript's numbers are exact up to 2^53 only."""
    texts = {name: display_text(row[name], length) for name, length in LENGTHS.items()}
    rank = None if pd.isna(row["rank"]) else int(row["rank"])
    shown = {
        **row,
        **texts,
        "id": str(row["example_id"]),
        "rank": rank,
        "quality": round(float(row["quality"]), 4),
    }
    return [shown[name] for name in _COLUMNS]


def _assemble(audit: dict[str, Any]) -> str:
    """The page's template with its style, its scripts and the data in their places."""
    style, script = read_asset("base.css", "inspection.css"), read_asset("rows.js", "controls.js")
    return Template(read_asset("inspection.html")).substitute(
        style=style,
        style_hash=source_hash(style),
        script=script,
        script_hash=source_hash(script),
        data=script_json(audit),
    )
