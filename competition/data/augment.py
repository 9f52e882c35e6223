"""More training rows from those there are: translated ones, and long scarce ones in pieces.

A new row carries the name of the row that it was made from: it is trained on where that row is, and
nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.errors import InputError
from competition.data.store import product_rows
from competition.data.text import clean_all
from competition.scoring.contest import Contest, Locale

TRANSLATED = ("es", "en")  # from the locale of a language to that of another
APPENDED = "-append"  # behind a locale, that of rows in pieces
# Characters of a product's text behind its name; a piece has about as many or fewer.
LONG_TEXT = 800
LONG_DENSE_TEXT = 300

_SEARCHED = 30  # characters: scripts without blanks are cut where they are


@dataclass(frozen=True)
class Augmented:
    """New rows with the columns of the store, their products, and the example_id of the row that each was made from."""

    examples: pd.DataFrame
    products: pd.DataFrame
    source: NDArray[np.int64]  # (rows,)


def base_locales(locales: Sequence[Locale]) -> dict[str, str]:
    """Return the locale whose language and shop a row's text is of, by that of the row.

    It is `us` for `us`, `es-us` and `us-append`.
    """
    names = [locale.name for locale in locales] or [""]
    base = {name: name for name in names} | {name + APPENDED: name for name in names}
    pair = _translated(locales)
    return base | ({"-".join(pair): pair[1]} if pair is not None else {})


# --- translated rows ---


def _translated(locales: Sequence[Locale]) -> tuple[str, str] | None:
    """Return the locale that is translated and that whose language its rows then have, if both are there."""
    names = [
        next((locale.name for locale in locales if locale.language == language), None)
        for language in TRANSLATED
    ]
    return (names[0], names[1]) if names[0] is not None and names[1] is not None else None


def _translated_or_refuse(contest: Contest) -> tuple[str, str]:
    pair = _translated(contest.locales)
    if pair is None:
        raise InputError(
            f"translate_with needs a locale of the language {TRANSLATED[0]!r} and one of {TRANSLATED[1]!r}, which the "
            f"competition {contest.name!r} does not have: leave it out of the recipe."
        )
    return pair


def texts_to_translate(
    examples: pd.DataFrame, products: pd.DataFrame, contest: Contest
) -> list[str]:
    """Return the distinct queries and titles of the rows that `translate` makes, cleaned and in order.

    Raises:
        InputError: the contest lacks a locale of one of the two languages.
    """
    source, _ = _translated_or_refuse(contest)
    rows, used = _labelled(examples, products, source, contest.positives)
    texts = {*clean_all(rows["query"]), *clean_all(used[contest.fields[0]])}
    return sorted(texts - {""})


def translate(
    examples: pd.DataFrame,
    products: pd.DataFrame,
    translations: Mapping[str, str],
    contest: Contest,
) -> Augmented:
    """Return each labelled Spanish training row with query and title in English; its other fields stay as they are.

    Raises:
        InputError: the contest lacks a locale of one of the two languages.
        KeyError: a text of `texts_to_translate` has no translation.
    """
    source, target = _translated_or_refuse(contest)
    title = contest.fields[0]
    rows, used = _labelled(examples, products, source, contest.positives)
    queries = [translations[text] if text else "" for text in clean_all(rows["query"])]
    titles = [translations[text] if text else "" for text in clean_all(used[title])]

    locale = f"{source}-{target}"
    return Augmented(
        rows.assign(query=queries, locale=locale),
        used.assign(**{title: titles, "locale": locale}),
        rows["example_id"].to_numpy(np.int64),
    )


def _labelled(
    examples: pd.DataFrame, products: pd.DataFrame, locale: str, positives: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labelled training rows of a locale whose product is listed, and these products."""
    labelled = examples[["label", *positives]].notna().any(axis=1)
    in_training = examples["split"] == "train"
    rows = examples[in_training & (examples["locale"] == locale) & labelled]
    position = product_rows(rows, products)
    listed = position >= 0
    return rows[listed], products.iloc[np.unique(position[listed])]


# --- rows in pieces ---


def scarce_labels(examples: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Return all labels but the most frequent of the training rows, of equally frequent ones the first."""
    counts = examples.loc[examples["split"] == "train", "label"].value_counts()
    frequent = max(labels, key=lambda label: int(counts.get(label, 0)), default=None)
    return [label for label in labels if label != frequent]


def split_long(examples: pd.DataFrame, products: pd.DataFrame, contest: Contest) -> Augmented:
    """Return each scarce training row with long text as several, each with a piece of that text.

    The text is that behind the product's name. The name and the categories go with every piece:
    without them, a missing brand would say that the label is scarce.
    """
    names = [name for name in contest.texts if name != contest.fields[0]]
    scarce = scarce_labels(examples, contest.labels.names) if names else []
    rows = examples[(examples["split"] == "train") & examples["label"].isin(scarce)]
    position = product_rows(rows, products)
    rows = rows[position >= 0]
    position = position[position >= 0]

    # The pieces of each row's text; short texts stay as they are.
    used = np.unique(position)
    columns = [clean_all(products.iloc[used][name]) for name in names]
    long_texts = [" ".join(filter(None, row)) for row in zip(*columns, strict=True)]
    text = dict(zip(used.tolist(), long_texts, strict=True))
    limit_of = {
        locale.name: LONG_DENSE_TEXT if locale.dense else LONG_TEXT for locale in contest.locales
    }
    limits = [limit_of.get(name, LONG_TEXT) for name in rows["locale"]]
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
    ids = zip(rows["product_id"], rows["example_id"], number, strict=True)
    key = {
        "locale": [locale + APPENDED for locale in rows["locale"]],
        "product_id": [f"{product}-{example}-{i}" for product, example, i in ids],
    }
    # The first field has the piece, the others of it none.
    texts: dict[str, Any] = dict.fromkeys(names, "")
    for first in names[:1]:
        texts[first] = [piece for parts in pieces for piece in parts]
    new_products = products.iloc[position].assign(**key, **texts)
    return Augmented(rows.assign(**key), new_products, rows["example_id"].to_numpy(np.int64))


def split_text(text: str, limit: int) -> list[str]:
    """Cut a text into equal pieces of about `limit` characters or less, where possible at the next blank."""
    count = -(-len(text) // limit)
    cuts = []
    for i in range(1, count):
        even = round(len(text) * i / count)
        blank = text.find(" ", even, even + _SEARCHED)
        cuts.append(even if blank < 0 else blank)

    bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
    return [text[start:end].strip() for start, end in bounds]


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
        _stack(examples, new_examples.assign(example_id=new_ids)),
        _stack(products, new_products),
        np.concatenate([own_source, *(rows.source for rows in new)]),
    )


def _stack(given: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return two frames as one, with the columns and types of the given one."""
    new = new[list(given)].astype(given.dtypes)
    return pd.concat([given, new], ignore_index=True)
