"""Token ids of queries and product fields: each text is tokenised once, a pair is put together at batch time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.store import product_rows
from competition.data.text import FIELD_ORDERS, clean_all

_CHUNK = 10_000


class Ragged:
    """Many integer sequences in one flat array: sequence i is `values[offsets[i]:offsets[i + 1]]`."""

    def __init__(self, values: NDArray[np.int32], lengths: NDArray[np.int64]) -> None:
        self.values = values
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])

    def __getitem__(self, i: int) -> NDArray[np.int32]:
        return self.values[self.offsets[i] : self.offsets[i + 1]]


def tokenise(tokenizer: Any, texts: Sequence[str], max_length: int) -> Ragged:
    """Token ids of each text without special tokens, at most `max_length` each.

    A special token that is spelled out in a text (`[SEP]`, `</s>`) is read as ordinary characters.
    """
    values, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for first in range(0, len(texts), _CHUNK):
        encoded = tokenizer(
            list(texts[first : first + _CHUNK]),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            truncation=True,
            max_length=max_length,
        )
        ids = encoded["input_ids"]
        lengths.append(np.fromiter(map(len, ids), np.int64, len(ids)))
        values.append(np.fromiter(chain.from_iterable(ids), np.int32, int(lengths[-1].sum())))
    return Ragged(np.concatenate(values), np.concatenate(lengths))


@dataclass(frozen=True)
class Pairs:
    """Query-product pairs as token ids: `[CLS] query [SEP] field [SEP] … field [SEP]`, cut from the right.

    A missing field keeps its separator, so that the place of a field says which one it is.
    """

    example_id: NDArray[np.int64]  # (rows,)
    query: NDArray[np.int64]  # (rows,) into `queries`
    product: NDArray[np.int64]  # (rows,) into each of `fields`; -1 where the catalogue lacks the product
    queries: Ragged
    fields: tuple[Ragged, ...]
    first: int  # the id of [CLS] or <s>
    separator: int  # the id of [SEP] or </s>
    max_length: int

    @classmethod
    def make(
        cls, tokenizer: Any, examples: pd.DataFrame, products: pd.DataFrame, field_order: str, max_length: int
    ) -> "Pairs":
        """Tokenise the distinct queries and the products of `examples`."""
        query, texts = pd.factorize(examples["query"])
        rows = product_rows(examples, products)
        used, product = np.unique(rows, return_inverse=True)
        if len(used) and used[0] == -1:
            used, product = used[1:], product - 1
        catalogue = products.iloc[used]
        fields = tuple(
            tokenise(tokenizer, clean_all(catalogue[field]), max_length) for field in FIELD_ORDERS[field_order]
        )
        return cls(
            example_id=examples["example_id"].to_numpy(np.int64),
            query=query.astype(np.int64),
            product=product.astype(np.int64),
            queries=tokenise(tokenizer, clean_all(texts), max_length),
            fields=fields,
            first=tokenizer.cls_token_id,
            separator=tokenizer.sep_token_id,
            max_length=max_length,
        )

    def __len__(self) -> int:
        return len(self.example_id)

    def ids(self, row: int) -> tuple[NDArray[np.int32], int]:
        """The token ids of one pair, at most `max_length`, and how many of them are the query's side."""
        head = self.queries[self.query[row]]
        pieces = [np.array([self.first], np.int32), head]
        separator = np.array([self.separator], np.int32)
        for field in self.fields:
            pieces.append(separator)
            if self.product[row] >= 0:
                pieces.append(field[self.product[row]])
        body = np.concatenate(pieces)[: self.max_length - 1]
        return np.concatenate([body, separator]), min(len(head) + 2, self.max_length)

    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each pair, `(rows,)`."""
        total = np.diff(self.queries.offsets)[self.query] + 2 + len(self.fields)
        listed = self.product >= 0
        for field in self.fields:
            total[listed] += np.diff(field.offsets)[self.product[listed]]
        return np.minimum(total, self.max_length)
