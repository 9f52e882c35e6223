"""Token ids of texts word by word: a word that comes again is looked up instead of tokenised.

Exact for tokenizers that cut a text at its blanks before anything else: then the tokens of a text
are those of its words, each with the blank before it. What is known to be so is listed here; other
tokenizers, and texts with a word that does not stand alone, are tokenised as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from competition.data.ragged import Positions, Ragged, concatenate

FEW = 1_000  # texts, in which hardly a word comes again
_CHUNK = 10_000  # texts
_MOST_WORDS = 500_000  # that are remembered: about 100 MB
_UNKNOWN = -1

# Of the library's normalizers, those that change a character by itself or with marks beside it.
_BY_CHARACTER = {
    *("NFC", "NFD", "NFKC", "NFKD", "Precompiled"),
    *("BertNormalizer", "Lowercase", "StripAccents"),
}
# Its pre-tokenizers that cut at each blank whatever else they do.
_AT_BLANKS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}


class WordTokens:
    """A tokenizer that remembers the tokens of words."""

    def __init__(self, backend: Any) -> None:
        """Remember nothing yet. `backend` is a tokenizer of the tokenizers library for which `cuts_at_blanks` holds."""
        self._backend = backend
        self._place: dict[str, int] = {}  # of a word, with the blank before it, in `_tokens`
        self._tokens = concatenate([])

    def tokenise(self, texts: Sequence[str]) -> Ragged:
        """Return the token ids of texts that `text.clean` made, without special tokens."""
        chunks = (list(texts[first : first + _CHUNK]) for first in range(0, len(texts), _CHUNK))
        return concatenate(map(self._tokenise_chunk, chunks))

    def _tokenise_chunk(self, texts: list[str]) -> Ragged:
        lists = pc.split_pattern(pa.array(texts, pa.large_string()), " ")
        begins = np.asarray(lists.offsets)[:-1].astype(np.int64)  # (texts,)
        encoded = lists.flatten().dictionary_encode()
        words = encoded.dictionary.to_pylist()
        word = np.asarray(encoded.indices).astype(np.int64)  # (words of all texts,)

        # The first word of a text has no blank before it, and is another one therefore.
        first, first_word = np.unique(word[begins], return_inverse=True)
        word[begins] = len(words) + first_word
        distinct = [f" {each}" for each in words] + [words[i] for i in first]
        place, tokens = self._look_up(distinct)
        place = place[word]

        # A text with a word that does not stand alone becomes one long word.
        is_odd = np.minimum.reduceat(place, begins) == _UNKNOWN  # (texts,)
        odd = np.flatnonzero(is_odd)
        place[begins[odd]] = len(tokens) + np.arange(len(odd))
        tokens = concatenate([tokens, _encode(self._backend, [texts[i] for i in odd])])
        counts = np.diff(np.append(begins, len(word)))  # (texts,)
        kept = ~np.repeat(is_odd, counts)
        kept[begins] = True
        counts[odd] = 1

        found = tokens.take(place[kept])
        return Ragged(found.values, np.add.reduceat(found.lengths, np.cumsum(counts) - counts))

    def _look_up(self, words: list[str]) -> tuple[Positions, Ragged]:
        """Return the place of each word in the tokens that come along, `_UNKNOWN` for one that does not stand alone."""
        known = self._place
        place = np.fromiter((known.get(word, _UNKNOWN) for word in words), np.int64, len(words))
        new = [i for i in np.flatnonzero(place == _UNKNOWN) if self._stands_alone(words[i])]
        place[new] = len(self._tokens) + np.arange(len(new))
        tokens = concatenate([self._tokens, _encode(self._backend, [words[i] for i in new])])
        if len(tokens) <= _MOST_WORDS:
            known |= {words[i]: int(place[i]) for i in new}
            self._tokens = tokens
        return place, tokens

    def _stands_alone(self, word: str) -> bool:
        """Return whether normalising a word brings no blank, and takes none from beside it."""
        if word.isascii() and word.isprintable():
            return True

        normalizer = self._backend.normalizer
        if normalizer is None:
            return True
        blank = " " if word.startswith(" ") else ""
        normal = normalizer.normalize_str(word)
        behind = normalizer.normalize_str(f"{word} x")
        inner = normal.removeprefix(blank)
        return (
            len(inner) == len(normal) - len(blank) > 0
            and not any(map(str.isspace, inner))
            and behind == normal + normalizer.normalize_str(" x")
        )


def cuts_at_blanks(backend: Any) -> bool:
    """Return whether a tokenizer of the tokenizers library is known to cut a text at its blanks."""
    # A token that is added may hold a blank. Special ones are read as ordinary characters.
    if not all(token.special for token in backend.get_added_tokens_decoder().values()):
        return False
    if getattr(backend.model, "dropout", None):
        return False
    return _keeps_blanks(_state(backend.normalizer)) and _cuts(_state(backend.pre_tokenizer))


def _state(part: Any) -> dict[str, Any]:
    """Return what a part of a tokenizer says of itself."""
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _keeps_blanks(normalizer: dict[str, Any]) -> bool:
    """Return whether a normalizer keeps single blanks, and reads nothing across them."""
    match normalizer.get("type"):
        case None:
            return True
        case "Sequence":
            return all(map(_keeps_blanks, normalizer["normalizers"]))
        case "Strip":
            return not normalizer["strip_left"]
        case "Replace":
            # Neither changes a single blank.
            pattern = normalizer["pattern"].get("Regex")
            keeps_one = pattern == r"\s+" and normalizer["content"] == " "
            return bool(pattern == " {2,}" or keeps_one)
        case kind:
            return kind in _BY_CHARACTER


def _cuts(pre_tokenizer: dict[str, Any]) -> bool:
    """Return whether a pre-tokenizer cuts at each single blank."""
    match pre_tokenizer.get("type"):
        case "Sequence":
            return pre_tokenizer["pretokenizers"][0].get("type") in _AT_BLANKS
        case "ByteLevel":
            return bool(pre_tokenizer["use_regex"])
        case "Metaspace":
            return bool(pre_tokenizer["split"])
        case kind:
            return kind in _AT_BLANKS


def _encode(backend: Any, texts: list[str]) -> Ragged:
    """Return the token ids of each text without special tokens, none of which is read in a text."""
    # The library's own calls leave other settings behind.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    ids = [each.ids for each in backend.encode_batch_fast(texts, add_special_tokens=False)]

    lengths: NDArray[np.int64] = np.fromiter(map(len, ids), np.int64, len(ids))
    return Ragged(np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum())), lengths)
