"""How a tokenizer itself puts a query and a document together, which is what servers of rerankers do.

`[CLS] query [SEP] document [SEP]` for BERT, `<s> query </s></s> document </s>` for RoBERTa, and so
on: what stands before, between and behind the two is read off the tokenizer.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.core.errors import InputError

Tokens = NDArray[np.int32]

# Two texts that share no token, to be found again in a pair.
_QUERY = "red"
_DOCUMENT = "a blue shoe"


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens around a query and a document, and where the second token type begins."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    behind: tuple[int, ...]
    typed: bool  # whether the document is of another type than the query

    @classmethod
    def of(cls, tokenizer: Any) -> "PairTemplate":
        """Return the template of a tokenizer; BERT's where it adds no special token.

        Raises:
            InputError: it does not put a query before a document.
        """
        query = _ids(tokenizer, _QUERY)
        document = _ids(tokenizer, _DOCUMENT)
        encoded = tokenizer(_QUERY, _DOCUMENT, return_token_type_ids=True)
        pair: list[int] = list(encoded["input_ids"])
        if not adds_special_tokens(tokenizer):
            separator = (tokenizer.sep_token_id,)
            return cls((tokenizer.cls_token_id,), separator, separator, typed=True)

        first = _find(pair, query, 0)
        second = _find(pair, document, first + len(query)) if first >= 0 else -1
        if second < 0:
            raise InputError(
                f"The tokenizer {type(tokenizer).__name__} does not put a query before a document, which "
                "servable = true needs: take another encoder."
            )

        end = second + len(document)
        types: list[int] = list(encoded.get("token_type_ids") or [0] * len(pair))
        return cls(
            tuple(pair[:first]),
            tuple(pair[first + len(query) : second]),
            tuple(pair[end:]),
            typed=types == [0] * second + [1] * (len(pair) - second),
        )

    @property
    def special(self) -> int:
        """The number of special tokens of a pair."""
        return len(self.before) + len(self.between) + len(self.behind)

    def join(self, query: Tokens, document: Tokens, max_length: int) -> tuple[Tokens, int]:
        """Return the ids of a pair, cut as servers cut, and how many of them are of the first type."""
        n, m = longest_first(len(query), len(document), max_length - self.special)
        before, between, behind = self._arrays
        ids = np.concatenate([before, query[:n], between, document[:m], behind])
        first_type = len(before) + n + len(between) if self.typed else len(ids)
        return ids, first_type

    @cached_property
    def _arrays(self) -> tuple[Tokens, Tokens, Tokens]:
        before, between, behind = (
            np.array(part, np.int32) for part in (self.before, self.between, self.behind)
        )
        return before, between, behind


def adds_special_tokens(tokenizer: Any) -> bool:
    """Return whether a tokenizer has a template of its own."""
    return bool(tokenizer.num_special_tokens_to_add(pair=True))


def longest_first(query: int, document: int, room: int) -> tuple[int, int]:
    """Return how many tokens of two texts are kept, at most `room` in all.

    The `longest_first` of the library tokenizers, which CrossEncoder and
    text-embeddings-inference ask for: the longer text is cut to what the shorter one leaves, and
    both to a half where that is not enough.
    """
    shorter, longer = sorted((query, document))
    longer = shorter if shorter > room else min(longer, max(shorter, room - shorter))
    if shorter + longer > room:
        shorter, longer = room // 2, room // 2 + room % 2
    return (shorter, longer) if query <= document else (longer, shorter)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _find(tokens: list[int], part: list[int], start: int) -> int:
    """Return where a part begins in some tokens, from `start` on; -1 where it does not."""
    last = len(tokens) - len(part)
    return next((i for i in range(start, last + 1) if tokens[i : i + len(part)] == part), -1)
