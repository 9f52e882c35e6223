"""`data/examples.parquet` and `data/products.parquet`: checked once at the border, then trusted by every later room."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from competition.core.atomic import atomic_files
from competition.core.console import warn
from competition.core.errors import InputError, pluralize
from competition.core.fingerprint import fingerprint
from competition.core.json_files import json_text, read_json
from competition.core.lazy import pd
from competition.core.parquet import (
    fingerprint_rows,
    read_table,
    row_hashes,
    row_parts,
    write_frame,
)
from competition.core.workspace import DATA_LOCK, Workspace
from competition.data.border import PRODUCT_KEY, check_examples, check_products
from competition.scoring.contest import Contest, Found
from competition.scoring.definition import MOST_CLASSES

_FIX = "bring the data again with `comp data import PATH`"
Frame = TypeVar("Frame", "pd.DataFrame", "pd.Series")


@dataclass(frozen=True)
class DataCard:
    """`data/data.json`: what the tables were made from and the fingerprints that later steps depend on."""

    source: str
    train: str  # of the training rows with the text of their products
    test: str  # of the test rows; empty where there are none
    tasks: tuple[str, ...]  # those that have test rows, or training rows where there are no others
    found: Found = field(default_factory=Found)  # what the definition of the contest left open

    @property
    def has_test_rows(self) -> bool:
        """False where the rows are for cross-validation alone, so that there is nothing to submit."""
        return bool(self.test)

    @property
    def all_rows(self) -> str:
        """The fingerprint of all rows, which the two tables carry."""
        return fingerprint([self.train, self.test])


def save(
    workspace: Workspace,
    contest: Contest,
    examples: pd.DataFrame,
    products: pd.DataFrame,
    source: str,
) -> None:
    """Check the two tables and write them, sorted by id so that the order of the input changes nothing.

    What the definition of the contest leaves open (labels, locales, fields that are there) is
    recorded in the card.

    Raises:
        InputError: see `check_examples` and `check_products`; nothing is written then.
        CompError: a command works with the data that are there.
    """
    found = find(contest, examples, products)
    contest = contest.completed(found)
    examples, products = _typed_examples(examples, contest), _typed_products(products, contest)
    check_examples(examples, contest, source)
    check_products(products, contest, source)
    examples = examples.sort_values("example_id", ignore_index=True)
    products = reordered(products, product_order(products))

    position = product_rows(examples, products)  # (rows,)
    missing = int((position < 0).sum())
    if missing == len(examples):
        raise InputError(
            f"{source}: no row has its product in the catalogue, by product_id and locale: bring the catalogue of "
            "these rows."
        )
    if missing:
        warn(
            f"Of {len(examples):,} rows, {pluralize(missing, 'has', 'have')} no product in the catalogue, and so "
            "empty text."
        )

    card = _make_card(examples, products, position, contest, found, source)
    # The card comes last: it is what says which tables are the data, so a half-done import is never
    # taken for one.
    files = (workspace.products, workspace.examples, workspace.data_card)
    with (
        workspace.lock(DATA_LOCK),
        atomic_files(*files) as (products_file, examples_file, card_file),
    ):
        write_frame(products_file, products, card.all_rows)
        write_frame(examples_file, examples, card.all_rows)
        content = asdict(card)
        if card.found == Found():
            del content["found"]
        card_file.write_text(json_text(content), encoding="utf-8")


def find(contest: Contest, examples: pd.DataFrame, products: pd.DataFrame) -> Found:
    """Return the labels, the locales and the fields with any text; nothing where no definition leaves them open."""
    if contest.source.layout == "esci":
        return Found()

    labels = examples.loc[examples["split"] == "train", "label"].dropna().unique()
    # A range of numbers needs no list of them: the lowest and the highest say as much.
    numbers = pd.to_numeric(pd.Series(labels), errors="coerce")
    if len(labels) > MOST_CLASSES and numbers.notna().all():
        labels = labels[[numbers.argmin(), numbers.argmax(), *range(MOST_CLASSES + 1)]]
    fields = [
        name
        for name in contest.fields
        if name in products and not products[name].fillna("").str.strip().eq("").all()
    ]
    return Found(
        tuple(sorted({*labels})), tuple(sorted(examples["locale"].unique())), tuple(fields)
    )


def _make_card(
    examples: pd.DataFrame,
    products: pd.DataFrame,
    position: NDArray[np.int64],
    contest: Contest,
    found: Found,
    source: str,
) -> DataCard:
    """Return the card of two sorted tables.

    `position` is the row of each example's product, or -1, `(rows,)`. A split's fingerprint covers
    its rows and only the products that they name: new test rows leave that of training as it is.
    """
    example_hashes = row_hashes(examples)
    product_hashes = row_hashes(products)

    fingerprints = {}
    for split in ("train", "test"):
        rows = (examples["split"] == split).to_numpy()
        used = np.unique(position[rows & (position >= 0)])
        of_examples = fingerprint_rows(examples.columns, example_hashes[rows])
        of_products = fingerprint_rows(products.columns, product_hashes[used])
        fingerprints[split] = of_examples + of_products if rows.any() else ""

    answered = examples[examples["split"] == ("test" if fingerprints["test"] else "train")]
    tasks = tuple(task for task in contest.tasks if answered[task].any())
    return DataCard(source, fingerprints["train"], fingerprints["test"], tasks, found)


def load_card(workspace: Workspace) -> DataCard:
    """Return the card of this workspace's data.

    Raises:
        InputError: there are none.
    """
    content = read_json(workspace.data_card)
    if not {"source", "train", "test", "tasks"} <= content.keys():
        raise InputError(
            f"{workspace.root} has no data: bring real rows with `comp data import PATH` "
            "or `comp data sample`, or make some with `comp data synth`."
        )
    found = {key: tuple(names) for key, names in content.get("found", {}).items()}
    return DataCard(
        content["source"],
        content["train"],
        content["test"],
        tuple(content["tasks"]),
        Found(**found),
    )


def load_examples(workspace: Workspace) -> pd.DataFrame:
    """Return all examples, sorted by example_id."""
    return read_table(workspace.examples, load_card(workspace).all_rows, _FIX)


def load_products(workspace: Workspace) -> pd.DataFrame:
    """Return all products, sorted by locale and product_id."""
    return read_table(workspace.products, load_card(workspace).all_rows, _FIX)


def product_rows(examples: pd.DataFrame, products: pd.DataFrame) -> np.ndarray:
    """Return the row of each example's product in `products`, `(rows,)`.

    It is -1 where the catalogue lacks the product.
    """
    # One table of codes for both: an index of pairs of texts is looked up in more than twice the time.
    number = np.zeros(len(products) + len(examples), np.int64)
    for name in PRODUCT_KEY:
        codes, distinct = pd.factorize(
            pd.concat([products[name], examples[name]], ignore_index=True)
        )
        number = number * len(distinct) + codes
    return pd.Index(number[: len(products)]).get_indexer(pd.Index(number[len(products) :]))


def product_order(products: pd.DataFrame) -> NDArray[np.int64]:
    """Return the positions of products in the order of the store, by locale and product_id, `(products,)`."""
    keys = products[PRODUCT_KEY].reset_index(drop=True)
    return keys.sort_values(PRODUCT_KEY).index.to_numpy(np.int64)


def reordered(frame: Frame, order: NDArray[np.int64]) -> Frame:
    """Return the rows of a frame or column in another order.

    Text that is in order already is not copied.
    """
    if np.array_equal(order, np.arange(len(order))):
        return frame.reset_index(drop=True)
    return frame.iloc[order].reset_index(drop=True)


def field_names(products: pd.DataFrame) -> list[str]:
    """Return the fields of a table of products, in the order of the contest."""
    return [str(name) for name in products if name not in PRODUCT_KEY]


def training_rows(examples: pd.DataFrame, products: pd.DataFrame) -> NDArray[np.int64]:
    """Return the rows of `products` that training rows name, ascending, `(products,)`."""
    rows = product_rows(examples[examples["split"] == "train"], products)
    return np.unique(rows[rows >= 0])


def training_products(examples: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """Return the products of training rows: what may be learned from without new test rows changing it."""
    return products.iloc[training_rows(examples, products)]


def some_products(products: pd.DataFrame, rows: NDArray[np.int64], at_most: int) -> pd.DataFrame:
    """Return `evenly_spaced` products of those at some rows, without a copy of the others."""
    spaced = rows[:: _step(len(rows), at_most)]
    return pd.concat([products.iloc[:0], *row_parts(products, spaced)])


def evenly_spaced(products: pd.DataFrame, at_most: int) -> pd.DataFrame:
    """Return evenly spaced products, `at_most` of them: for what is learned from a catalogue in bounded time."""
    return products.iloc[:: _step(len(products), at_most)]


def _step(products: int, at_most: int) -> int:
    return max(1, -(-products // at_most))  # rounded up


# --- types ---


def _typed_examples(examples: pd.DataFrame, contest: Contest) -> pd.DataFrame:
    """Return the columns of the store, text as `str` and positive labels as `boolean`, which may be unknown."""
    frame = examples[list(contest.example_columns)].copy()
    for column in contest.positives:
        frame[column] = frame[column].astype("boolean")

    others = {"example_id", "query_id", *contest.positives, *contest.tasks}
    for column in contest.example_columns:
        if column not in others:
            frame[column] = frame[column].astype("str")
    return frame


def _typed_products(products: pd.DataFrame, contest: Contest) -> pd.DataFrame:
    """Return the columns as text; a field of white space alone becomes empty.

    Columns that are so already are not copied.
    """
    frame = products[list(contest.product_columns)].astype("str")
    for name in contest.fields:
        frame[name] = filled_text(frame[name])
    return frame


def filled_text(text: pd.Series) -> pd.Series:
    """Return a column of text in which what is missing, or white space alone, is empty.

    A column without either is not copied.
    """
    if text.isna().any():
        text = text.fillna("")
    blank = text.str.isspace()
    return text.mask(blank, "") if blank.any() else text
