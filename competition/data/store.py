"""`data/examples.parquet` and `data/products.parquet`: checked once at the border, then trusted by every later room."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from competition.core.atomic import atomic_files
from competition.core.console import warn
from competition.core.errors import InputError, short_repr
from competition.core.fingerprint import fingerprint
from competition.core.json_files import json_text, read_json
from competition.core.lazy_pandas import pd
from competition.core.parquet import fingerprint_rows, read_table, row_hashes, write_frame
from competition.core.workspace import DATA_LOCK, Workspace
from competition.data.folds import normalise
from competition.data.text import FIELDS
from competition.scoring.tasks import LABELS, LOCALES, TASKS

EXAMPLE_COLUMNS = (
    "example_id", "query_id", "query", "locale", "product_id", "label", "substitute", "split", *TASKS,
)  # fmt: skip
PRODUCT_COLUMNS = ("locale", "product_id", *FIELDS)
PRODUCT_KEY = ["locale", "product_id"]
_CONTROL = r"[\x00-\x1f\x7f]"
_MEND = "bring the data again with `comp data`"
Frame = TypeVar("Frame", "pd.DataFrame", "pd.Series")


@dataclass(frozen=True)
class DataCard:
    """`data/data.json`: what the tables were made from and the fingerprints that later steps depend on."""

    source: str
    train: str  # of the training rows with the text of their products
    test: str
    tasks: tuple[str, ...]  # those that have test rows

    @property
    def all_rows(self) -> str:
        """The fingerprint of all rows, which the two tables carry."""
        return fingerprint([self.train, self.test])


def save(workspace: Workspace, examples: pd.DataFrame, products: pd.DataFrame, source: str) -> None:
    """Check the two tables and write them, sorted by id so that the order of the input changes nothing.

    Raises:
        InputError: see `check_examples` and `check_products`; nothing is written then.
        CompError: a command works with the data that are there.
    """
    examples, products = _typed_examples(examples), _typed_products(products)
    check_examples(examples, source)
    check_products(products, source)
    examples = examples.sort_values("example_id", ignore_index=True)
    products = reordered(products, product_order(products))
    found = product_rows(examples, products)
    missing = int((found < 0).sum())
    if missing:
        warn(
            f"{missing:,} of {len(examples):,} rows have no product in the catalogue: they keep empty text."
        )
    of_examples, of_products = row_hashes(examples), row_hashes(products)
    prints = {}
    for split in ("train", "test"):
        rows = (examples["split"] == split).to_numpy()
        used = np.unique(found[rows & (found >= 0)])
        prints[split] = fingerprint_rows(examples.columns, of_examples[rows])
        prints[split] += fingerprint_rows(products.columns, of_products[used])
    tasks = tuple(task for task in TASKS if (examples[task] & (examples["split"] == "test")).any())
    card = DataCard(source, prints["train"], prints["test"], tasks)
    # The card comes last: it is what says which tables are the data, so a half-done import is never
    # taken for one.
    files = (workspace.products, workspace.examples, workspace.data_card)
    with workspace.lock(DATA_LOCK), atomic_files(*files) as (catalogue, pairs, described):
        write_frame(catalogue, products, card.all_rows)
        write_frame(pairs, examples, card.all_rows)
        described.write_text(json_text(asdict(card)), encoding="utf-8")


def load_card(workspace: Workspace) -> DataCard:
    """The card of this workspace's data; raises InputError where there are none."""
    content = read_json(workspace.data_card)
    if not {"source", "train", "test", "tasks"} <= content.keys():
        raise InputError(
            f"{workspace.root} has no data: bring real rows with `comp data import PATH` "
            "or `comp data sample`, or make some with `comp data synth`."
        )
    return DataCard(content["source"], content["train"], content["test"], tuple(content["tasks"]))


def load_examples(workspace: Workspace) -> pd.DataFrame:
    """All examples, sorted by example_id."""
    return read_table(workspace.examples, load_card(workspace).all_rows, _MEND)


def load_products(workspace: Workspace) -> pd.DataFrame:
    """All products, sorted by locale and product_id."""
    return read_table(workspace.products, load_card(workspace).all_rows, _MEND)


def product_rows(examples: pd.DataFrame, products: pd.DataFrame) -> np.ndarray:
    """The row of each example's product in `products`, `(rows,)`; -1 where the catalogue lacks it."""
    index = pd.MultiIndex.from_frame(products[PRODUCT_KEY])
    return index.get_indexer(pd.MultiIndex.from_frame(examples[PRODUCT_KEY]))


def product_order(products: pd.DataFrame) -> NDArray[np.int64]:
    """The positions of products in the order of the store, by locale and product_id, `(products,)`."""
    keys = products[PRODUCT_KEY].reset_index(drop=True)
    return keys.sort_values(PRODUCT_KEY).index.to_numpy(np.int64)


def reordered(frame: Frame, order: NDArray[np.int64]) -> Frame:
    """The rows of a frame or column in an order; text that is in order already is not copied."""
    if np.array_equal(order, np.arange(len(order))):
        return frame.reset_index(drop=True)
    return frame.iloc[order].reset_index(drop=True)


def training_products(examples: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """The products of training rows: what may be learned from without new test rows changing it."""
    rows = product_rows(examples[examples["split"] == "train"], products)
    return products.iloc[np.unique(rows[rows >= 0])]


def evenly_spaced(products: pd.DataFrame, at_most: int) -> pd.DataFrame:
    """Evenly spaced products, `at_most` of them: for what is learned from a catalogue in bounded time."""
    return products.iloc[:: max(1, -(-len(products) // at_most))]


# --- checks
# ------------------------------------------------------------------------------------------------------


def _typed_examples(examples: pd.DataFrame) -> pd.DataFrame:
    frame = examples[list(EXAMPLE_COLUMNS)].copy()
    for column in ("query", "locale", "product_id", "label", "split"):
        frame[column] = frame[column].astype("str")
    frame["substitute"] = frame["substitute"].astype("boolean")
    return frame


def _typed_products(products: pd.DataFrame) -> pd.DataFrame:
    """The columns as text; a field without a word in it is empty. Columns that are so already are not copied."""
    frame = products[list(PRODUCT_COLUMNS)].astype("str")
    for field in FIELDS:
        frame[field] = frame[field].fillna("")
        blank = frame[field].str.isspace()
        if blank.any():
            frame[field] = frame[field].mask(blank, "")
    return frame


def _row(frame: pd.DataFrame, bad: Any) -> str:
    """How the first offending row is named."""
    row = frame[np.asarray(bad, dtype=bool)].iloc[0]
    return f"example_id {row['example_id']} (query {short_repr(row['query'])}, product {short_repr(row['product_id'])})"


def check_examples(examples: pd.DataFrame, source: str) -> None:
    """Refuse what would make a result silently wrong.

    Raises:
        InputError: no rows; an unknown label, locale or split; an empty query or product_id; a
            product_id with control characters; a query_id with two texts; an example_id, a
            (query_id, product_id) or a (locale, query, product_id) that occurs twice; no training
            or no test rows; a training row without any label.
    """
    if examples.empty:
        raise InputError(f"{source}: there are no rows.")
    for column, words in (("locale", LOCALES), ("split", ("train", "test")), ("label", LABELS)):
        bad = ~examples[column].isin(words) & ~(
            examples[column].isna() if column == "label" else False
        )
        if bad.any():
            value = examples.loc[bad, column].iloc[0]
            raise InputError(
                f"{source}: {_row(examples, bad)} has the unknown {column} {short_repr(value)}: "
                f"known are {', '.join(words)}."
            )
    empty = [query for query in examples["query"].dropna().unique() if not normalise(query)]
    bad = examples["query"].isna() | examples["query"].isin(empty)
    if bad.any():
        raise InputError(
            f"{source}: {_row(examples, bad)} has an empty query: remove the row or bring its query."
        )
    bad = examples["product_id"].isna() | (examples["product_id"].fillna("").str.strip() == "")
    if bad.any():
        raise InputError(
            f"{source}: {_row(examples, bad)} has an empty product_id: remove the row or bring its id."
        )
    bad = examples["product_id"].str.contains(_CONTROL)
    if bad.any():  # no submission could name it
        raise InputError(
            f"{source}: {_row(examples, bad)} has a product_id with control characters: mend the id."
        )
    for key in (["example_id"], ["query_id", "product_id"], ["locale", "query", "product_id"]):
        bad = examples.duplicated(key)
        if bad.any():
            raise InputError(
                f"{source}: {_row(examples, bad)}: the same ({', '.join(key)}) occurs twice; keep one of them."
            )
    for column in ("query", "locale"):
        distinct = examples.groupby("query_id", sort=True)[column].nunique()
        if (distinct > 1).any():
            raise InputError(
                f"{source}: query_id {distinct.index[distinct > 1][0]} has more than one {column}."
            )
    for split in ("train", "test"):
        if not (examples["split"] == split).any():
            raise InputError(f"{source}: there are no {split} rows; both splits are needed.")
    bad = (examples["split"] == "train") & examples["label"].isna() & examples["substitute"].isna()
    if bad.any():
        raise InputError(f"{source}: {_row(examples, bad)} is a training row without a label.")


def check_products(products: pd.DataFrame, source: str) -> None:
    """Raises InputError when a locale is unknown, a product has no id or is listed twice."""
    bad = ~products["locale"].isin(LOCALES)
    if bad.any():
        row = products[bad].iloc[0]
        raise InputError(
            f"{source}: product {short_repr(row['product_id'])} has the unknown locale {short_repr(row['locale'])}: "
            f"known are {', '.join(LOCALES)}."
        )
    bad = products["product_id"].isna() | (products["product_id"].fillna("").str.strip() == "")
    if bad.any():
        row = products[bad].iloc[0]
        raise InputError(
            f"{source}: a product of locale {row['locale']} titled {short_repr(row['title'])} has no product_id."
        )
    bad = products.duplicated(PRODUCT_KEY)
    if bad.any():
        row = products[bad].iloc[0]
        raise InputError(
            f"{source}: product {short_repr(row['product_id'])} of locale {row['locale']} is "
            f"listed twice; keep one of them."
        )
