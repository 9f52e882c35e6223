"""The catalogue as pre-training reads it: product text alone, no query and no label."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.fingerprint import derive_seed
from competition.data.folds import normalise
from competition.data.pairs import SpecialTokens
from competition.data.ragged import Ragged
from competition.data.store import product_rows
from competition.data.text import clean, clean_all
from competition.data.token_store import SequenceStore, read_sequences
from competition.data.tokenizer import make_token_maker, tokenise
from competition.data.vocabulary import RARE, Vocabulary
from competition.scoring.contest import Contest, Locale

IGNORED = -100  # a target that nothing is learned from
HELD_OUT_SHARE = 0.05
HELD_OUT_PRODUCTS = 5_000  # at most: enough for an interval, and bounded in time


def select_products(
    examples: pd.DataFrame, products: pd.DataFrame, test_copies: int
) -> pd.DataFrame:
    """Return the products that pre-training may read, with a column `copies`: how often each is read in an epoch.

    Products of training rows once, those of test rows `test_copies` times; 0 leaves them out.
    """
    copies = np.zeros(len(products), np.int64)
    for split, times in (("test", test_copies), ("train", 1)):
        rows = product_rows(examples[examples["split"] == split], products)
        rows = rows[rows >= 0]
        copies[rows] = np.maximum(copies[rows], times)

    return products.assign(copies=copies)[copies > 0].reset_index(drop=True)


def held_out_mask(titles: pd.Series) -> NDArray[np.bool_]:
    """Return which products' titles are kept for measuring, `(products,)`.

    They are drawn by the hash of the title, so that a title that occurs twice is never on both
    sides.
    """
    share = min(HELD_OUT_SHARE, HELD_OUT_PRODUCTS / max(1, len(titles)))
    limit = share * 2**31  # seeds are below 2**31
    normalised = [normalise(clean(title)) for title in titles]
    return np.array(
        [bool(title) and derive_seed("held-out title", title) < limit for title in normalised], bool
    )


@dataclass(frozen=True)
class Catalogue:
    """Products as numbers. Each field is tokenised once, uncut; blocks of it are put together on demand.

    Products without any text have been left out. The stream of blocks is the products one after
    the other, copies among them.

    Attributes:
        fields: the tokens of each field of the contest, in its order.
        texts: the fields that are no categories.
        locales: of the contest, or one without a name.
        locale: `(products,)` into `locales`.
        locale_names: the tokens of the name of each locale.
        text: name and categories of each product, which fake queries are cut from.
        categories: category -> `(products,)` from 0, IGNORED where it is missing or seen once.
        special: the tokenizer's special tokens.
        order: the products in the order of the stream, `(stream,)`.
        ends: the token at which each of them ends in the stream, `(stream,)`.
    """

    fields: dict[str, Ragged]
    texts: tuple[str, ...]
    locales: tuple[Locale, ...]
    locale: NDArray[np.int64]
    locale_names: Ragged
    text: list[str]
    categories: dict[str, NDArray[np.int64]]
    special: SpecialTokens
    order: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def make(
        cls,
        tokenizer: Any,
        products: pd.DataFrame,
        contest: Contest,
        vocabulary: Vocabulary | None,
        seed: int,
        stored: SequenceStore | None = None,
    ) -> "Catalogue":
        """Tokenise products, as far as their tokens are not stored.

        Args:
            tokenizer: of the encoder.
            products: those of `select_products` that are not held out.
            contest: whose fields, categories and locales products have.
            vocabulary: of the categories' names; without it, every one is IGNORED.
            seed: orders the stream.
            stored: of this tokenizer.
        """
        rows = zip(*(products[field] for field in contest.fields), strict=True)
        kept = np.flatnonzero([any(map(clean, row)) for row in rows])
        queried = dict.fromkeys((contest.fields[0], *contest.categories))
        texts = {field: clean_all(products[field].iloc[kept]) for field in queried}
        parts = zip(*texts.values(), strict=True)

        read = partial(
            read_sequences, make=make_token_maker(tokenizer), stored=stored, positions=kept
        )
        fields = {field: read(products[[field]]) for field in contest.fields}
        codes = pd.Categorical(products["locale"], categories=list(contest.locale_names)).codes
        locale = np.asarray(codes, np.int64)[kept]
        locale_names = tokenise(tokenizer, contest.locale_names)

        copies = products["copies"].to_numpy(np.int64)[kept]
        stream = np.repeat(np.arange(len(kept)), copies)
        order = np.random.default_rng(derive_seed(seed, "stream")).permutation(stream)
        separator = 1
        lengths = sum(ragged.lengths for ragged in fields.values())
        lengths = lengths + locale_names.lengths[locale] + separator  # (products,)

        ignored = np.full(len(kept), IGNORED)
        return cls(
            fields=fields,
            texts=contest.texts,
            locales=contest.locales or (Locale(""),),
            locale=locale,
            locale_names=locale_names,
            text=[" ".join(filter(None, row)) for row in parts],
            categories={
                name: _classes(vocabulary.name_ids(name, texts[name])) if vocabulary else ignored
                for name in contest.categories
            },
            special=SpecialTokens.of(tokenizer),
            order=order,
            ends=np.cumsum(lengths[order]),
        )

    def __len__(self) -> int:
        return len(self.text)

    def blocks(self, size: int) -> int:
        """Return how many blocks of `size` tokens the stream has; the last one may be shorter."""
        return -(-int(self.ends[-1]) // size) if len(self.ends) else 0

    def block(self, number: int, size: int) -> NDArray[np.int32]:
        """Return the tokens of the stream from `number * size` on, at most `size` of them.

        Each product is `locale field … field [SEP]`.
        """
        start = number * size
        stop = min(start + size, int(self.ends[-1]))
        first, last = np.searchsorted(self.ends, [start, stop - 1], side="right")
        before = int(self.ends[first - 1]) if first else 0

        tokens = np.concatenate([self._tokens(product) for product in self.order[first : last + 1]])
        return tokens[start - before : stop - before]

    def _tokens(self, product: int) -> NDArray[np.int32]:
        locale = self.locale_names[self.locale[product]]
        fields = [field[product] for field in self.fields.values()]
        separator = np.array([self.special.separator], np.int32)
        return np.concatenate([locale, *fields, separator])


def _classes(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ids of the vocabulary as classes from 0; IGNORED for missing and rare names."""
    return np.where(ids > RARE, ids - RARE - 1, IGNORED)
