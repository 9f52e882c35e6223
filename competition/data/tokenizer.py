"""Texts as token ids."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from competition.core.fingerprint import fingerprint, fingerprint_files
from competition.data.ragged import Ragged, concatenate
from competition.data.text import clean_all
from competition.data.token_store import SequenceMaker
from competition.data.word_tokens import FEW, WordTokens, cuts_at_blanks

UNCUT = 1_000_000  # tokens: no text is cut
_CHUNK = 10_000  # texts


def tokenise(tokenizer: Any, texts: Sequence[str], max_length: int = UNCUT) -> Ragged:
    """Return the token ids of each text without special tokens, at most `max_length` each.

    A special token that is spelled out in a text (`[SEP]`, `</s>`) is read as ordinary characters.
    """
    chunks = (list(texts[first : first + _CHUNK]) for first in range(0, len(texts), _CHUNK))
    return concatenate(_tokenise_chunk(tokenizer, chunk, max_length) for chunk in chunks)


def _tokenise_chunk(tokenizer: Any, texts: list[str], max_length: int) -> Ragged:
    ids = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        truncation=True,
        max_length=max_length,
    )["input_ids"]

    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    return Ragged(np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum())), lengths)


def make_token_maker(tokenizer: Any) -> SequenceMaker:
    """Return a function that gives the token ids of rows of one column of text, cleaned and never cut.

    Of many texts, it tokenises each word once, where that makes no difference.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = WordTokens(backend) if backend is not None and cuts_at_blanks(backend) else None

    def make(rows: pd.DataFrame) -> Ragged:
        texts = clean_all(rows.iloc[:, 0])
        if words is None or len(texts) < FEW:
            return tokenise(tokenizer, texts)
        return words.tokenise(texts)

    return make


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a stable name for what a tokenizer does: encoders that share it share the tokens of texts."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # one without a fast version
        with TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            return fingerprint_files(Path(folder))

    # Truncation and padding are left in the tokenizer by the last call: no part of what it does.
    return fingerprint({**json.loads(backend.to_str()), "truncation": None, "padding": None})
