"""Pairs as numbers: each text is tokenised once, a pair is put together at batch time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.augment import base_locale
from competition.data.ragged import Ragged
from competition.data.store import product_rows
from competition.data.text import FIELD_ORDERS, simplify
from competition.data.token_store import (
    NOTHING_STORED,
    SequenceStore,
    StoredSequences,
    read_sequences,
)
from competition.data.tokenizer import make_token_maker
from competition.data.vocabulary import Vocabulary, make_gram_maker, product_units
from competition.scoring.tasks import LOCALES

_NOTHING = np.empty(0, np.int32)


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of [CLS] or <s>, [SEP] or </s>, and padding."""

    first: int
    separator: int
    padding: int

    @classmethod
    def of(cls, tokenizer: Any) -> "SpecialTokens":
        """Those of a tokenizer."""
        return cls(tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)

    def join(self, texts: Sequence[NDArray[np.int32]], max_length: int) -> NDArray[np.int32]:
        """`[CLS] text [SEP] text [SEP] …`, cut from the right to `max_length` tokens that end in [SEP]."""
        separator = np.array([self.separator], np.int32)
        pieces = [np.array([self.first], np.int32)]
        for text in texts:
            pieces += [text, separator]
        whole = np.concatenate(pieces)
        return whole if len(whole) <= max_length else np.append(whole[: max_length - 1], separator)


@dataclass(frozen=True)
class View:
    """One text that an encoder reads of a pair: `[CLS] query [SEP] field [SEP] … field [SEP]`, cut from the right.

    A missing field keeps its separator, so that the place of a field says which one it is.
    """

    query: bool
    fields: tuple[str, ...]


def views(architecture: str, field_order: str) -> tuple[View, ...]:
    """What an architecture reads: a cross-encoder the whole pair, experts a field each, the others a side each."""
    if architecture == "mixture-of-experts":
        return tuple(View(True, (field,)) for field in ("title", "bullets", "description"))
    fields = FIELD_ORDERS[field_order]
    if architecture in ("two-tower", "bi-encoder"):
        return View(True, ()), View(False, fields)
    return (View(True, fields),)


@dataclass(frozen=True)
class Attributes:
    """What is known of pairs beside their tokens, see `vocabulary.py`."""

    brand: NDArray[
        np.int64
    ]  # (products + 1,) as in `Pairs`; the last stands for a product that is not listed
    color: NDArray[np.int64]  # (products + 1,)
    country: NDArray[np.int64]  # (rows,) into LOCALES
    query_grams: tuple[Ragged, ...]  # of each of `Pairs.queries`; empty without 3-gram units
    product_grams: tuple[
        Ragged, ...
    ]  # of each product, one per unit of its texts; empty without units

    @classmethod
    def make(
        cls,
        vocabulary: Vocabulary,
        products: pd.DataFrame,
        used: NDArray[np.int64],
        locale: pd.Series,
    ) -> Self:
        """The attributes of the products at the positions `used`, and of the rows' locales, without 3-grams."""
        return cls(
            brand=vocabulary.brand_ids([*products["brand"].iloc[used], ""]),
            color=vocabulary.color_ids([*products["color"].iloc[used], ""]),
            country=np.asarray(pd.Categorical(locale, categories=list(LOCALES)).codes, np.int64),
            query_grams=(),
            product_grams=(),
        )

    def with_grams(
        self,
        vocabulary: Vocabulary,
        queries: list[str],
        products: pd.DataFrame,
        used: NDArray[np.int64],
        stored: SequenceStore | None,
    ) -> Self:
        """The same with the 3-grams of distinct queries and of these products, as far as they are not stored."""
        make = make_gram_maker(vocabulary)
        return replace(
            self,
            query_grams=(vocabulary.gram_ids([simplify(query) for query in queries]),),
            product_grams=tuple(
                read_sequences(unit, make, stored, used) for unit in product_units(products)
            ),
        )


@dataclass(frozen=True)
class Pairs:
    """Query-product pairs as numbers. Each text is there once; a pair is put together when it is asked for."""

    example_id: NDArray[np.int64]  # (rows,)
    query: NDArray[np.int64]  # (rows,) into `queries`
    product: NDArray[
        np.int64
    ]  # (rows,) into each of `fields`; -1 where the catalogue lacks the product
    queries: Ragged
    fields: dict[str, Ragged]
    views: tuple[View, ...]
    attributes: Attributes | None
    special: SpecialTokens
    max_length: int  # of each view

    @classmethod
    def make(
        cls,
        tokenizer: Any,
        examples: pd.DataFrame,
        products: pd.DataFrame,
        views: tuple[View, ...],
        max_length: int,
        vocabulary: Vocabulary | None = None,
        units: bool = False,
        stored: StoredSequences = NOTHING_STORED,
    ) -> "Pairs":
        """Tokenise the distinct queries and the products of `examples`, as far as their tokens are not stored.

        Args:
            tokenizer: of the encoder.
            examples: the rows.
            products: the catalogue.
            views: what is read of a pair.
            max_length: of a view, in tokens with the special ones.
            vocabulary: for brand, color and country; without it there are no attributes.
            units: whether 3-grams are looked up as well.
            stored: of this tokenizer and this vocabulary.
        """
        query, texts = pd.factorize(examples["query"])
        rows = product_rows(examples, products)
        used, product = np.unique(rows, return_inverse=True)
        if len(used) and used[0] == -1:
            used, product = used[1:], product - 1
        read = partial(read_sequences, make=make_token_maker(tokenizer), stored=stored.tokens)
        names = sorted({field for view in views for field in view.fields})
        attributes = None
        if vocabulary is not None:
            attributes = Attributes.make(
                vocabulary, products, used, examples["locale"].map(base_locale)
            )
            if units:
                attributes = attributes.with_grams(
                    vocabulary, list(texts), products, used, stored.grams
                )
        return cls(
            example_id=examples["example_id"].to_numpy(np.int64),
            query=query.astype(np.int64),
            product=product.astype(np.int64),
            queries=read(pd.DataFrame({"query": texts}), chosen=np.arange(len(texts))).cut(
                max_length
            ),
            fields={field: read(products[[field]], chosen=used).cut(max_length) for field in names},
            views=views,
            attributes=attributes,
            special=SpecialTokens.of(tokenizer),
            max_length=max_length,
        )

    def __len__(self) -> int:
        return len(self.example_id)

    def ids(self, row: int, view: View) -> tuple[NDArray[np.int32], int]:
        """The token ids of one view of a pair, at most `max_length`, and how many of them belong to its first text.

        The first text is the query's side where there are two, else all of it.
        """
        product = self.product[row]
        texts = [self.queries[self.query[row]]] if view.query else []
        texts += [
            self.fields[field][product] if product >= 0 else _NOTHING for field in view.fields
        ]
        whole = self.special.join(texts, self.max_length)
        two_sides = view.query and bool(view.fields)
        return whole, min(len(texts[0]) + 2, len(whole)) if two_sides else len(whole)

    def has_text(self, row: int, view: View) -> bool:
        """Whether a view says anything of the product: one of its fields is there."""
        product = self.product[row]
        return product >= 0 and any(len(self.fields[field][product]) for field in view.fields)

    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each pair's longest view, `(rows,)`."""
        longest = np.zeros(len(self), np.int64)
        listed = self.product >= 0
        for view in self.views:
            total = np.full(len(self), 1 + view.query + len(view.fields))
            if view.query:
                total += self.queries.lengths[self.query]
            for field in view.fields:
                total[listed] += self.fields[field].lengths[self.product[listed]]
            longest = np.maximum(longest, total)
        return np.minimum(longest, self.max_length)
