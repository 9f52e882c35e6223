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
from competition.data.text import clean
from competition.scoring.tasks import LABELS

TRANSLATED = ("es", "es-us")  # from a locale to that of its translated rows
APPENDED = "-append"  # behind a locale, that of rows in pieces
SCARCE_LABELS = tuple(label for label in LABELS if label != "exact")
LONG_TEXT = {
    "us": 800,
    "es": 800,
    "jp": 300,
}  # characters of bullets and description; a piece has about as many or fewer


@dataclass(frozen=True)
class Augmented:
    """New rows with the columns of the store, their products, and the example_id of the row that each was made from."""

    examples: pd.DataFrame
    products: pd.DataFrame
    source: NDArray[np.int64]  # (rows,)


def base_locale(locale: str) -> str:
    """The locale whose language and shop a row's text is of: `us` for `es-us` and `us-append`."""
    return "us" if locale == TRANSLATED[1] else locale.removesuffix(APPENDED)


def texts_to_translate(examples: pd.DataFrame, products: pd.DataFrame) -> list[str]:
    """The distinct queries and titles of the labelled Spanish training rows, cleaned and in order."""
    rows, used = _spanish(examples, products)
    texts = {*map(clean, rows["query"]), *map(clean, used["title"])}
    return sorted(texts - {""})


def translate(
    examples: pd.DataFrame, products: pd.DataFrame, translations: Mapping[str, str]
) -> Augmented:
    """Each labelled Spanish training row with query and title in English; its other fields stay as they are.

    Raises:
        KeyError: a text of `texts_to_translate` has no translation.
    """
    rows, used = _spanish(examples, products)
    queries, titles = (
        [translations[text] if text else "" for text in map(clean, column)]
        for column in (rows["query"], used["title"])
    )
    return Augmented(
        rows.assign(query=queries, locale=TRANSLATED[1]),
        used.assign(title=titles, locale=TRANSLATED[1]),
        rows["example_id"].to_numpy(np.int64),
    )


def split_long(examples: pd.DataFrame, products: pd.DataFrame) -> Augmented:
    """Each scarce training row with long bullets and description as several, each with an equal piece of that text.

    Title, brand and color go with every piece: without them, a missing brand would say that the
    label is scarce.
    """
    rows = examples[(examples["split"] == "train") & examples["label"].isin(SCARCE_LABELS)]
    found = product_rows(rows, products)
    rows, found = rows[found >= 0], found[found >= 0]
    used = np.unique(found)
    text = dict(zip(used.tolist(), _told(products.iloc[used]), strict=True))
    limit = rows["locale"].map(LONG_TEXT).to_numpy()
    long = np.array(
        [len(text[p]) > most for p, most in zip(found.tolist(), limit, strict=True)], bool
    )
    cut = [
        split_text(text[p], most) for p, most in zip(found[long].tolist(), limit[long], strict=True)
    ]
    count = [len(parts) for parts in cut]
    rows, found = (
        rows[long].iloc[np.repeat(np.arange(len(cut)), count)],
        np.repeat(found[long], count),
    )
    # The row's own id belongs to the key: the same product may be split for two queries.
    number = [i for parts in cut for i in range(len(parts))]
    names = zip(rows["product_id"], rows["example_id"], number, strict=True)
    key = {
        "locale": [locale + APPENDED for locale in rows["locale"]],
        "product_id": [f"{product}-{example}-{i}" for product, example, i in names],
    }
    bullets = [piece for parts in cut for piece in parts]
    made = products.iloc[found].assign(**key, bullets=bullets, description="")
    return Augmented(rows.assign(**key), made, rows["example_id"].to_numpy(np.int64))


def _told(products: pd.DataFrame) -> list[str]:
    """The bullets and description of each product as one text."""
    both = zip(map(clean, products["bullets"]), map(clean, products["description"]), strict=True)
    return [" ".join(filter(None, pair)) for pair in both]


def split_text(text: str, limit: int) -> list[str]:
    """A text cut into equal pieces of about `limit` characters or less, where possible at the next blank."""
    count = -(-len(text) // limit)
    cuts = [round(len(text) * i / count) for i in range(1, count)]
    cuts = [_next_blank(text, cut) for cut in cuts]
    return [
        text[start:end].strip() for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
    ]


_SEARCHED = 30  # characters: scripts without blanks are cut where they are


def _next_blank(text: str, cut: int) -> int:
    blank = text.find(" ", cut, cut + _SEARCHED)
    return cut if blank < 0 else blank


def _spanish(examples: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The labelled Spanish training rows whose product is listed, and these products."""
    labelled = examples["label"].notna() | examples["substitute"].notna()
    rows = examples[
        (examples["split"] == "train") & (examples["locale"] == TRANSLATED[0]) & labelled
    ]
    found = product_rows(rows, products)
    return rows[found >= 0], products.iloc[np.unique(found[found >= 0])]


def append_augmented(
    examples: pd.DataFrame, products: pd.DataFrame, new: list[Augmented]
) -> Augmented:
    """All rows: the given ones, which are their own source, then the new ones with ids that are free."""
    new = [one for one in new if len(one.source)]
    if not new:
        return Augmented(examples, products, examples["example_id"].to_numpy(np.int64))
    first_free = int(examples["example_id"].max()) + 1
    made = pd.concat([one.examples for one in new])
    made = made.assign(example_id=np.arange(first_free, first_free + len(made)))
    return Augmented(
        _behind(examples, made, EXAMPLE_COLUMNS),
        _behind(products, pd.concat([one.products for one in new]), PRODUCT_COLUMNS),
        np.concatenate([examples["example_id"].to_numpy(np.int64), *(one.source for one in new)]),
    )


def _behind(given: pd.DataFrame, made: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Two frames as one, with the types of the given one."""
    columns = list(names)
    return pd.concat(
        [given[columns], made[columns].astype(given[columns].dtypes)], ignore_index=True
    )
