"""Groups of queries: by locale, what the query holds, number of its products, its length, and fold."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.folds import normalise_each
from competition.scoring.contest import Contest
from competition.scoring.metrics import first_places, index_queries

# The least value of each range; the last range is open.
LENGTHS = (1, 11, 21, 31, 41)  # characters, since not every language puts spaces between words
DEPTHS = (1, 2, 5, 10, 20)  # judged products of the query
CONTENT = "what the query holds"
DEPTH = "products of the query"
NEGATION, NUMBER, NOTHING = "a negation", "a number", "none of these"
# Words by which a query says what it does not want: English, Spanish, German, French; Japanese has no spaces.
_NEGATIONS = frozenset(("without", "not", "no", "non", "sin", "ohne", "kein", "nicht", "sans"))
_NEGATIONS_INSIDE = ("なし", "ない", "以外")


def group_queries(
    rows: pd.DataFrame,
    unit: str,
    contest: Contest,
    products: pd.DataFrame,
    position: NDArray[np.int64],
) -> dict[str, pd.Series]:
    """Return, for each grouping, the group of each query: an ordered category by query_id.

    Args:
        rows: of a task, with the column `fold`.
        unit: `query_id`; `example_id` where folds are of rows, whose groups are then those of rows.
        contest: that the rows are of.
        products: of the contest.
        position: of each row's product, see `store.product_rows`.
    """
    _, query = index_queries(rows["query_id"].to_numpy())  # (rows,)
    units, index = index_queries(rows[unit].to_numpy())
    place = first_places(index, len(units))
    first = rows[["query_id", "locale", "fold", "query"]].iloc[place].set_axis(units)
    first["products"] = np.bincount(query)[query[place]]

    groups: dict[str, pd.Series] = {}
    known = [each.name for each in contest.locales if (first["locale"] == each.name).any()]
    if known:
        groups["locale"] = _ordered(first["locale"], known)
    names = what_queries_hold(rows, contest, products, position)
    groups[CONTENT] = first["query_id"].map(names).astype(names.dtype)
    groups[DEPTH] = _ranges(first["products"], DEPTHS)
    groups["characters of the query"] = _ranges(first["query"].str.len(), LENGTHS)
    folds = [f"fold {fold}" for fold in sorted(first["fold"].unique())]
    groups["fold"] = _ordered(first["fold"].map("fold {}".format), folds)
    return groups


def what_queries_hold(
    rows: pd.DataFrame, contest: Contest, products: pd.DataFrame, position: NDArray[np.int64]
) -> pd.Series:
    """Return what each query holds, an ordered category by query_id: the first that fits.

    That is a negation, or a value of a category field of one of its own products, such as their
    brand or color, as whole words where a script has spaces; else a number; else nothing.
    """
    ids, index = index_queries(rows["query_id"].to_numpy())
    queries = rows["query"].iloc[first_places(index, len(ids))].set_axis(ids)
    query = normalise_each(queries)
    named = pd.Series(NOTHING, ids, dtype=object)
    named[query.str.contains(r"\d", regex=True)] = NUMBER

    listed = position >= 0
    titles = {field: f"a {field}" for field in contest.categories}
    used, product = index_queries(position[listed])  # (rows,) the place of its product in `used`
    padded = (" " + query + " ").to_numpy()  # (queries,)
    # The first field wins, so it comes last.
    for field in reversed(contest.categories):
        value, distinct = pd.factorize(normalise_each(products[field].iloc[used]))
        # A query and a value in one number, each pair once.
        number = index[listed] * len(distinct) + value[product]
        pairs: NDArray[np.int64] = np.asarray(pd.unique(number))
        of_query, of_value = pairs // max(len(distinct), 1), pairs % max(len(distinct), 1)

        names = np.array([_as_words(name) for name in distinct], object)
        texts = zip(names[of_value], padded[of_query], strict=True)
        hits = [bool(name) and name in text for name, text in texts]
        named.iloc[of_query[hits]] = titles[field]

    negated = [_is_negated(text) for text in query]
    named[negated] = NEGATION
    return _ordered(named, [NEGATION, *titles.values(), NUMBER, NOTHING])


def _is_negated(query: str) -> bool:
    if query.isascii():
        return not _NEGATIONS.isdisjoint(query.split())
    return not _NEGATIONS.isdisjoint(query.split()) or any(
        word in query for word in _NEGATIONS_INSIDE
    )


def _as_words(name: str) -> str:
    """Return a name as it stands in a padded text: as whole words, but in scripts without spaces."""
    return f" {name} " if name and name.isascii() else name


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
