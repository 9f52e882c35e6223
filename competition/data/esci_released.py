"""The released ESCI data set, `shopping_queries_dataset_*.parquet`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from competition.core.csv_files import parse_integers
from competition.core.errors import InputError, short_repr
from competition.data.border import PRODUCT_KEY
from competition.data.esci_files import (
    CONTEST,
    PRODUCT_COLUMNS,
    find_path,
    is_substitute,
    name_pair,
    read_columns,
)
from competition.data.store import filled_text, product_order, reordered

A_EXAMPLES = "shopping_queries_dataset_examples.parquet"
A_PRODUCTS = "shopping_queries_dataset_products.parquet"
_LABEL_OF = {letter: label for label, letter in CONTEST.labels.letters.items()}


def read_released(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return examples and products of the released parquet files, see `esci.read`, whose errors it raises."""
    path = find_path(root, A_EXAMPLES)
    columns = ("example_id", "query", "query_id", "product_id", "product_locale", "esci_label", "small_version",
               "large_version", "split")  # fmt: skip
    examples = read_columns(path, {column: column for column in columns})
    products = _read_a_products(find_path(root, A_PRODUCTS))
    for column in ("example_id", "query_id"):
        examples[column] = parse_integers(examples[column], column, path)

    letters = examples["esci_label"].astype("str")
    bad = letters.notna() & ~letters.isin(list(_LABEL_OF))
    if bad.any():
        row = examples[bad].iloc[0]
        raise InputError(
            f"{path}: example_id {row['example_id']}, {name_pair(examples, bad)}, has the unknown label "
            f"{short_repr(row['esci_label'])}: known are {', '.join(_LABEL_OF)}."
        )

    examples["label"] = letters.map(_LABEL_OF)
    examples["substitute"] = is_substitute(examples["label"])
    examples["task1"] = read_flags(examples["small_version"], "small_version", path)
    examples["task2"] = examples["task3"] = read_flags(
        examples["large_version"], "large_version", path
    )
    return examples.rename(columns={"product_locale": "locale"}), products


def _read_a_products(path: Path) -> pd.DataFrame:
    """Return the products column by column and in the order of the store, so that no text is in memory twice."""
    columns = {**PRODUCT_COLUMNS, "product_color": "color"}
    keys = {column: name for column, name in columns.items() if name in PRODUCT_KEY}
    products = read_columns(path, keys)
    order = product_order(products)
    products = reordered(products, order)
    for column, name in columns.items():
        if name not in PRODUCT_KEY:
            # In one expression: a name would keep the column as it was read for another round.
            products[name] = reordered(
                filled_text(read_columns(path, {column: name})[name].astype("str")), order
            )
            # Arrow keeps what it read the pages into, as much again as the longest column.
            pa.default_memory_pool().release_unused()
    return products


def read_flags(values: pd.Series, column: str, path: Path) -> pd.Series:
    """Return 0 and 1 as False and True.

    Raises:
        InputError: names the first row that is neither.
    """
    text = values.astype("str").str.removesuffix(".0")
    bad = ~text.isin(["0", "1"]).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{path}: row {row + 1} has {column} {short_repr(text.iloc[row])}, which is neither 0 nor 1."
        )
    return text == "1"
