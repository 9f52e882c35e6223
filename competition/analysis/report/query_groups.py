"""Groups of queries: by locale, what the query holds, number of its products, its length, and fold."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from competition.data.folds import normalise_each
from competition.data.store import product_rows
from competition.scoring.contest import Contest

# The least value of each range; the last range is open.
LENGTHS = (1, 11, 21, 31, 41)  # characters, since not every language puts spaces between words
DEPTHS = (1, 2, 5, 10, 20)  # judged products of the query
CONTENT = "what the query holds"
DEPTH = "products of the query"
NEGATION, NUMBER, NOTHING = "a negation", "a number", "none of these"
# Words by which a query says what it does not want: English, Spanish, German, French; Japanese has no spaces.
_NEGATIONS = ("without", "not", "no", "non", "sin", "ohne", "kein", "nicht", "sans")
_NEGATIONS_INSIDE = ("なし", "ない", "以外")


def group_queries(
    rows: pd.DataFrame, unit: str, contest: Contest, products: pd.DataFrame
) -> dict[str, pd.Series]:
    """Return, for each grouping, the group of each query: an ordered category by query_id.

    Args:
        rows: of a task, with the column `fold`.
        unit: `query_id`; `example_id` where folds are of rows, whose groups are then those of rows.
        contest: that the rows are of.
        products: of the contest.
    """
    rows = rows.assign(products=rows.groupby("query_id")["query_id"].transform("size"))
    columns = ["query_id", "locale", "fold", "query", "products"]
    first = rows.set_index(unit, drop=False)[columns]
    first = first[~first.index.duplicated()].sort_index()

    groups: dict[str, pd.Series] = {}
    known = [each.name for each in contest.locales if (first["locale"] == each.name).any()]
    if known:
        groups["locale"] = _ordered(first["locale"], known)
    names = what_queries_hold(rows, contest, products)
    groups[CONTENT] = first["query_id"].map(names).astype(names.dtype)
    groups[DEPTH] = _ranges(first["products"], DEPTHS)
    groups["characters of the query"] = _ranges(first["query"].str.len(), LENGTHS)
    folds = [f"fold {fold}" for fold in sorted(first["fold"].unique())]
    groups["fold"] = _ordered(first["fold"].map("fold {}".format), folds)
    return groups


def what_queries_hold(rows: pd.DataFrame, contest: Contest, products: pd.DataFrame) -> pd.Series:
    """Return what each query holds, an ordered category by query_id: the first that fits.

    That is a negation, or a value of a category field of one of its own products, such as their
    brand or color, as whole words where a script has spaces; else a number; else nothing.
    """
    queries = rows[["query_id", "query"]].drop_duplicates("query_id").set_index("query_id")
    query = normalise_each(queries["query"])
    named = pd.Series(NOTHING, queries.index, dtype=object)
    named[query.str.contains(r"\d", regex=True)] = NUMBER

    position = product_rows(rows, products)
    listed = position >= 0
    titles = {field: f"a {field}" for field in contest.categories}
    # The first field wins, so it comes last.
    for field in reversed(contest.categories):
        pairs = pd.DataFrame(
            {
                "query_id": rows["query_id"].to_numpy()[listed],
                "value": products[field].to_numpy()[position[listed]],
            }
        ).drop_duplicates()
        pairs["value"] = normalise_each(pairs["value"])
        texts = query.loc[pairs["query_id"]]
        hits = [_holds(text, value) for text, value in zip(texts, pairs["value"], strict=True)]
        named[pairs["query_id"].to_numpy()[hits]] = titles[field]

    negated = [_is_negated(text) for text in query]
    named[negated] = NEGATION
    return _ordered(named, [NEGATION, *titles.values(), NUMBER, NOTHING])


def _is_negated(query: str) -> bool:
    return not set(_NEGATIONS).isdisjoint(query.split()) or any(
        word in query for word in _NEGATIONS_INSIDE
    )


def _holds(query: str, value: str) -> bool:
    """Return whether a query holds a value; scripts without spaces have no whole words."""
    if not value:
        return False
    return f" {value} " in f" {query} " if value.isascii() else value in query


def _ordered(values: pd.Series, names: list[str]) -> pd.Series:
    return values.where(values.isin(names)).astype(pd.CategoricalDtype(names, ordered=True))


def _ranges(values: pd.Series, edges: Sequence[int]) -> pd.Series:
    """Return the names of the ranges in which numbers lie, such as 2–4."""
    names = []
    for edge, following in zip(edges, (*edges[1:], None), strict=True):
        if following is None:
            names.append(f"{edge}+")
        else:
            names.append(str(edge) if following == edge + 1 else f"{edge}–{following - 1}")

    # The last range that begins at or before the number.
    place = np.searchsorted(edges, values.to_numpy(), side="right") - 1
    named = np.array(names)[np.maximum(place, 0)]
    return _ordered(pd.Series(named, values.index), names)
