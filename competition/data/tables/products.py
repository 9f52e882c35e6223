"""The catalogue: products of the rows, and of files of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from competition.core.console import warn
from competition.core.errors import InputError, pluralize, short_repr
from competition.core.lazy import pd
from competition.scoring.contest import Contest


def join_products(
    rows: pd.DataFrame, catalogues: Sequence[pd.DataFrame], contest: Contest
) -> pd.DataFrame:
    """Return the products with the fields that there are: those of rows, and of catalogues of their own."""
    key = ["locale", "product_id"]
    fields = [name for name in contest.fields if name in rows]
    listed = rows[[*key, *fields]].drop_duplicates()
    differ = listed.duplicated(key)
    if differ.any():
        count = int(listed.loc[differ, "product_id"].nunique())
        warn(
            f"{pluralize(count, 'product has', 'products have')} other text in another row, such as "
            f"{short_repr(listed.loc[differ, 'product_id'].iloc[0])}: the text of the first row is kept."
        )
        listed = listed[~differ]
    if not catalogues:
        return listed.reset_index(drop=True)

    products, *others = (
        _one_row_each(catalogue, listed[key], k, contest) for k, catalogue in enumerate(catalogues)
    )
    # A field may be in several files: that of the first goes before, and the rows' come last.
    for table in (*others, listed):
        own = [name for name in table if name not in products]
        products = products.merge(table[[*key, *own]], on=key, how="outer" if own else "left")
    names = [name for name in contest.fields if name in products]
    return products[[*key, *names]].fillna("")


def _one_row_each(
    catalogue: pd.DataFrame, listed: pd.DataFrame, position: int, contest: Contest
) -> pd.DataFrame:
    """Return a catalogue with one row for each locale and product, which all have a locale.

    Args:
        catalogue: as it was read.
        listed: locale and product_id of the products of rows. A catalogue without locales describes
            them in each of theirs, and other products in the first.
        position: among the files of products. Only the first must have one row for each product:
            of the others, such as a row for each attribute, the texts of a product are joined.
        contest: whose first locale that is.

    Raises:
        InputError: a product is twice in the first file.
    """
    catalogue = catalogue.assign(product_id=catalogue["product_id"].str.strip())
    on = [column for column in ("locale", "product_id") if column in catalogue]
    twice = catalogue.duplicated(on)
    if twice.any() and position == 0:
        row = int(np.flatnonzero(twice)[0])
        raise InputError(
            f"{contest.source.products[0]}: row {row + 1} has the product_id "
            f"{short_repr(catalogue['product_id'].iloc[row])} of an earlier row: keep one of them."
        )
    if twice.any():
        catalogue = catalogue.groupby(on, sort=False, as_index=False).agg(_joined)
    if "locale" in catalogue:
        return catalogue

    unused = ~catalogue["product_id"].isin(listed["product_id"])
    used = listed.merge(catalogue, on="product_id")
    return pd.concat([used, catalogue[unused].assign(locale=contest.locale_names[0])])


def _joined(texts: pd.Series) -> str:
    return "\n".join(filter(None, texts))


def tell_repeated_apart(
    rows: pd.DataFrame, products: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows and products, where rows with ids of their own repeat a query and product.

    The later ones, in the order of their ids, get a product of their own, named by their id.
    """
    by_id = rows.sort_values("example_id")
    repeated: NDArray[np.int64] = by_id.index[
        by_id.duplicated(["query_id", "product_id"])
        | by_id.duplicated(["locale", "query", "product_id"])
    ].to_numpy(np.int64)
    if not len(repeated):
        return rows, products

    given = rows.loc[repeated, ["locale", "product_id"]]
    named = given["product_id"] + "~" + rows.loc[repeated, "id"]
    copies = given.assign(copy=named).merge(products, on=["locale", "product_id"])
    copies = copies.drop(columns="product_id").rename(columns={"copy": "product_id"})
    rows = rows.copy()
    rows.loc[repeated, "product_id"] = named
    return rows, pd.concat([products, copies[list(products)]], ignore_index=True)
