"""Pairs as numbers: each text is tokenised once, a pair is put together at batch time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.augment import base_locales
from competition.data.layout import Layout, documents
from competition.data.ragged import Ragged
from competition.data.store import product_rows
from competition.data.text import simplify
from competition.data.token_store import (
    NOTHING_STORED,
    SequenceStore,
    StoredSequences,
    read_sequences,
)
from competition.data.tokenizer import make_token_maker
from competition.data.vocabulary import Vocabulary, make_gram_maker, product_units
from competition.scoring.contest import Contest, Locale

_NO_TOKENS = np.empty(0, np.int32)
DOCUMENT_FIELD = "document"  # all fields of a product as one text, which a layout reads


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of [CLS] or <s>, [SEP] or </s>, and padding."""

    first: int
    separator: int
    padding: int

    @classmethod
    def of(cls, tokenizer: Any) -> "SpecialTokens":
        """Return those of a tokenizer."""
        return cls(tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)

    def join(self, texts: Sequence[NDArray[np.int32]], max_length: int) -> NDArray[np.int32]:
        """Return `[CLS] text [SEP] text [SEP] …`, cut from the right to `max_length` tokens that end in [SEP]."""
        separator = np.array([self.separator], np.int32)
        parts = [np.array([self.first], np.int32)]
        for text in texts:
            parts += [text, separator]

        joined = np.concatenate(parts)
        if len(joined) <= max_length:
            return joined
        return np.append(joined[: max_length - 1], separator)


@dataclass(frozen=True)
class View:
    """One text that an encoder reads of a pair: `[CLS] query [SEP] field [SEP] … field [SEP]`, cut from the right.

    A missing field keeps its separator, so that the place of a field says which one it is.
    """

    query: bool
    fields: tuple[str, ...]


def views(architecture: str, field_order: str, contest: Contest) -> tuple[View, ...]:
    """Return the texts that an architecture reads of a pair, in the order in which they are stacked.

    A cross-encoder reads query and product as one text; each of three experts of a mixture the
    query with one text, the last with all that are left (none where there are fewer: its gate is
    closed then); a bi-encoder and a two-tower model the query and the product apart.
    """
    if architecture == "mixture-of-experts":
        texts = contest.texts
        return tuple(View(True, part) for part in (texts[:1], texts[1:2], texts[2:]))

    fields = contest.field_orders[field_order]
    if architecture in ("two-tower", "bi-encoder"):
        return View(True, ()), View(False, fields)
    return (View(True, fields),)


@dataclass(frozen=True)
class Attributes:
    """Categories, locales and 3-grams of pairs as ids, see `vocabulary.py`.

    Attributes:
        names: category -> that of each product, in the order of `Pairs.fields`, `(products + 1,)`;
            the last stands for a product that the catalogue lacks, which is why -1 finds it.
        country: `(rows,)` into the contest's locales.
        query_grams: of each of `Pairs.queries`; empty without 3-gram units.
        product_grams: of each product, one per unit of its texts; empty without units.
    """

    names: dict[str, NDArray[np.int64]]
    country: NDArray[np.int64]
    query_grams: tuple[Ragged, ...]
    product_grams: tuple[Ragged, ...]

    @classmethod
    def make(
        cls,
        vocabulary: Vocabulary,
        products: pd.DataFrame,
        used: NDArray[np.int64],
        locale: pd.Series,
        locales: Sequence[Locale],
    ) -> Self:
        """Return the attributes of the products at the positions `used`, and of the rows' locales, without 3-grams."""
        names = {
            name: vocabulary.name_ids(name, [*products[name].iloc[used], ""])
            for name in vocabulary.names
        }
        base = locale.map(base_locales(locales))
        known = [each.name for each in locales] or [""]
        return cls(
            names=names,
            country=np.asarray(pd.Categorical(base, categories=known).codes, np.int64),
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
        """Return the same with the 3-grams of distinct queries and of these products, as far as they are not stored."""
        query_grams = vocabulary.gram_ids([simplify(query) for query in queries])
        make = make_gram_maker(vocabulary)
        product_grams = tuple(
            read_sequences(unit, make, stored, used)
            for unit in product_units(products, list(vocabulary.names))
        )
        return replace(self, query_grams=(query_grams,), product_grams=product_grams)


@dataclass(frozen=True)
class Pairs:
    """Query-product pairs as numbers. Each text is there once; a pair is put together on demand.

    Attributes:
        example_id: `(rows,)`.
        query: `(rows,)` into `queries`.
        product: `(rows,)` into each of `fields`; -1 where the catalogue lacks the product.
        queries: the tokens of the distinct queries.
        fields: the tokens of each field that a view reads.
        views: what is read of a pair.
        attributes: what is known beside the tokens, if asked for.
        special: the tokenizer's special tokens.
        max_length: of each view, in tokens with the special ones.
        layout: of query and document, where they do not stand as `SpecialTokens.join` puts them.
            Then there is one view, whose one field is the document.
    """

    example_id: NDArray[np.int64]
    query: NDArray[np.int64]
    product: NDArray[np.int64]
    queries: Ragged
    fields: dict[str, Ragged]
    views: tuple[View, ...]
    attributes: Attributes | None
    special: SpecialTokens
    max_length: int
    layout: Layout | None = None

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
        locales: Sequence[Locale] = (),
        layout: Layout | None = None,
    ) -> "Pairs":
        """Tokenise the distinct queries and the products of `examples`, as far as their tokens are not stored.

        Args:
            tokenizer: of the encoder.
            examples: the rows.
            products: the catalogue.
            views: what is read of a pair.
            max_length: of a view, in tokens with the special ones.
            vocabulary: for categories and country; without it there are no attributes.
            units: whether the character 3-grams of query and product are looked up as well.
            stored: of this tokenizer and this vocabulary.
            locales: of the contest, for country.
            layout: of query and document, for recipes that have one; the document is made of the
                fields of the only view.
        """
        query, distinct = pd.factorize(examples["query"])
        used, product = _used_products(examples, products)

        # Stored texts are uncut: recipes of different lengths share them.
        every = np.arange(len(distinct))
        asked = pd.DataFrame({"query": distinct})
        if layout is None:
            read = partial(read_sequences, make=make_token_maker(tokenizer), stored=stored.tokens)
            queries = read(asked, positions=every)
            names = sorted({field for view in views for field in view.fields})
            fields = {
                field: read(products[[field]], positions=used).cut(max_length) for field in names
            }
        else:
            (view,) = views
            store = stored.tokens if layout.is_plain else None
            queries = read_sequences(asked, layout.make_query, store, every)
            texts = documents(products.iloc[used], view.fields)
            read_documents = read_sequences(
                texts, layout.make_document, store, np.arange(len(texts))
            )
            fields = {DOCUMENT_FIELD: read_documents.cut(max_length)}
            views = (View(True, (DOCUMENT_FIELD,)),)

        attributes = None
        if vocabulary is not None:
            attributes = Attributes.make(vocabulary, products, used, examples["locale"], locales)
            if units:
                attributes = attributes.with_grams(
                    vocabulary, list(distinct), products, used, stored.grams
                )

        return cls(
            example_id=examples["example_id"].to_numpy(np.int64),
            query=query.astype(np.int64),
            product=product.astype(np.int64),
            queries=queries.cut(max_length),
            fields=fields,
            views=views,
            attributes=attributes,
            special=SpecialTokens.of(tokenizer),
            max_length=max_length,
            layout=layout,
        )

    def __len__(self) -> int:
        return len(self.example_id)

    def ids(self, row: int, view: View) -> tuple[NDArray[np.int32], int]:
        """Return the token ids of one view of a pair, and how many of them belong to its first text.

        There are at most `max_length` tokens. The first text is the query's side where there are
        two, else all of it.
        """
        product = self.product[row]
        texts = [self.queries[self.query[row]]] if view.query else []
        texts += [
            self.fields[field][product] if product >= 0 else _NO_TOKENS for field in view.fields
        ]

        if self.layout is not None:
            return self.layout.join(texts[0], texts[1], self.max_length)

        ids = self.special.join(texts, self.max_length)
        if not (view.query and view.fields):
            return ids, len(ids)
        first_text = len(texts[0]) + 2  # with [CLS] and [SEP]
        return ids, min(first_text, len(ids))

    def has_text(self, row: int, view: View) -> bool:
        """Return whether a view holds any text of the product."""
        product = self.product[row]
        return product >= 0 and any(len(self.fields[field][product]) for field in view.fields)

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each pair's longest view, `(rows,)`."""
        longest = np.zeros(len(self), np.int64)
        listed = self.product >= 0
        for view in self.views:
            # [CLS], and a [SEP] behind each text.
            special = 1 + view.query + len(view.fields)
            special = special if self.layout is None else self.layout.special
            total = np.full(len(self), special)
            if view.query:
                total += self.queries.lengths[self.query]
            for field in view.fields:
                total[listed] += self.fields[field].lengths[self.product[listed]]
            longest = np.maximum(longest, total)

        return np.minimum(longest, self.max_length)


def _used_products(
    examples: pd.DataFrame, products: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct rows of `products` that examples use, ascending, and each example's place among them.

    The place is -1 where the catalogue lacks the product.
    """
    rows = product_rows(examples, products)
    used, product = np.unique(rows, return_inverse=True)
    if len(used) and used[0] == -1:
        return used[1:], product - 1
    return used, product
