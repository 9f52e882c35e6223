"""More training rows from those there are: Spanish ones in English, and long scarce ones in pieces.

A new row carries the name of the row that it was made from: it is trained on where that row is, and
nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.store import EXAMPLE_COLUMNS, PRODUCT_COLUMNS, product_rows
from competition.data.text import clean_all
from competition.scoring.tasks import LABELS

TRANSLATED = ("es", "es-us")  # from a locale to that of its translated rows
APPENDED = "-append"  # behind a locale, that of rows in pieces
SCARCE_LABELS = tuple(label for label in LABELS if label != "exact")
# Characters of bullets and description by locale; a piece has about as many or fewer.
LONG_TEXT = {"us": 800, "es": 800, "jp": 300}

_SEARCHED = 30  # characters: scripts without blanks are cut where they are


@dataclass(frozen=True)
class Augmented:
    """New rows with the columns of the store, their products, and the example_id of the row that each was made from."""

    examples: pd.DataFrame
    products: pd.DataFrame
    source: NDArray[np.int64]  # (rows,)


def base_locale(locale: str) -> str:
    """Return the locale whose language and shop a row's text is of: `us` for `es-us` and `us-append`."""
    return "us" if locale == TRANSLATED[1] else locale.removesuffix(APPENDED)


# --- translated rows ---


def texts_to_translate(examples: pd.DataFrame, products: pd.DataFrame) -> list[str]:
    """Return the distinct queries and titles of the labelled Spanish training rows, cleaned and in order."""
    rows, used = _spanish(examples, products)
    texts = {*clean_all(rows["query"]), *clean_all(used["title"])}
    return sorted(texts - {""})


def translate(
    examples: pd.DataFrame, products: pd.DataFrame, translations: Mapping[str, str]
) -> Augmented:
    """Return each labelled Spanish training row with query and title in English; its other fields stay as they are.

    Raises:
        KeyError: a text of `texts_to_translate` has no translation.
    """
    rows, used = _spanish(examples, products)
    queries = [translations[text] if text else "" for text in clean_all(rows["query"])]
    titles = [translations[text] if text else "" for text in clean_all(used["title"])]
    return Augmented(
        rows.assign(query=queries, locale=TRANSLATED[1]),
        used.assign(title=titles, locale=TRANSLATED[1]),
        rows["example_id"].to_numpy(np.int64),
    )


def _spanish(examples: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labelled Spanish training rows whose product is listed, and these products."""
    labelled = examples["label"].notna() | examples["substitute"].notna()
    in_training = examples["split"] == "train"
    rows = examples[in_training & (examples["locale"] == TRANSLATED[0]) & labelled]
    position = product_rows(rows, products)
    listed = position >= 0
    return rows[listed], products.iloc[np.unique(position[listed])]


# --- rows in pieces ---


def split_long(examples: pd.DataFrame, products: pd.DataFrame) -> Augmented:
    """Return each scarce training row with long bullets and description as several, each with a piece of that text.

    Title, brand and color go with every piece: without them, a missing brand would say that the
    label is scarce.
    """
    rows = examples[(examples["split"] == "train") & examples["label"].isin(SCARCE_LABELS)]
    position = product_rows(rows, products)
    rows = rows[position >= 0]
    position = position[position >= 0]

    # The pieces of each row's text; short texts stay as they are.
    used = np.unique(position)
    text = dict(zip(used.tolist(), _long_texts(products.iloc[used]), strict=True))
    limits = rows["locale"].map(LONG_TEXT).tolist()
    is_long = np.zeros(len(rows), bool)
    pieces = []
    for i, (product, limit) in enumerate(zip(position.tolist(), limits, strict=True)):
        if len(text[product]) > limit:
            is_long[i] = True
            pieces.append(split_text(text[product], limit))

    # One row per piece.
    counts = [len(parts) for parts in pieces]
    rows = rows[is_long].iloc[np.repeat(np.arange(len(pieces)), counts)]
    position = np.repeat(position[is_long], counts)
    number = [i for parts in pieces for i in range(len(parts))]

    # The row's own id belongs to the key: the same product may be split for two queries.
    names = zip(rows["product_id"], rows["example_id"], number, strict=True)
    key = {
        "locale": [locale + APPENDED for locale in rows["locale"]],
        "product_id": [f"{product}-{example}-{i}" for product, example, i in names],
    }
    bullets = [piece for parts in pieces for piece in parts]
    new_products = products.iloc[position].assign(**key, bullets=bullets, description="")
    return Augmented(rows.assign(**key), new_products, rows["example_id"].to_numpy(np.int64))


def _long_texts(products: pd.DataFrame) -> list[str]:
    """Return the bullets and description of each product as one text."""
    both = zip(clean_all(products["bullets"]), clean_all(products["description"]), strict=True)
    return [" ".join(filter(None, pair)) for pair in both]


def split_text(text: str, limit: int) -> list[str]:
    """Cut a text into equal pieces of about `limit` characters or less, where possible at the next blank."""
    count = -(-len(text) // limit)
    cuts = [_next_blank(text, round(len(text) * i / count)) for i in range(1, count)]
    bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
    return [text[start:end].strip() for start, end in bounds]


def _next_blank(text: str, cut: int) -> int:
    blank = text.find(" ", cut, cut + _SEARCHED)
    return cut if blank < 0 else blank


# --- all rows together ---


def append_augmented(
    examples: pd.DataFrame, products: pd.DataFrame, new: list[Augmented]
) -> Augmented:
    """Return all rows: the given ones, which are their own source, then the new ones with ids that are free."""
    own_source = examples["example_id"].to_numpy(np.int64)
    new = [rows for rows in new if len(rows.source)]
    if not new:
        return Augmented(examples, products, own_source)

    first_free = int(examples["example_id"].max()) + 1
    new_examples = pd.concat([rows.examples for rows in new])
    new_ids = np.arange(first_free, first_free + len(new_examples))
    new_products = pd.concat([rows.products for rows in new])
    return Augmented(
        _stack(examples, new_examples.assign(example_id=new_ids), EXAMPLE_COLUMNS),
        _stack(products, new_products, PRODUCT_COLUMNS),
        np.concatenate([own_source, *(rows.source for rows in new)]),
    )


def _stack(given: pd.DataFrame, new: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return two frames as one, with the types of the given one."""
    columns = list(names)
    new = new[columns].astype(given[columns].dtypes)
    return pd.concat([given[columns], new], ignore_index=True)
