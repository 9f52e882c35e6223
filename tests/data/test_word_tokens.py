"""Words that are tokenised once give the tokens of whole texts, by each tokenizer that is known to cut at blanks."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from competition.data import word_tokens
from competition.data.ragged import Ragged
from competition.data.text import clean, clean_all
from competition.data.tokenizer import make_token_maker, tokenise
from competition.data.word_tokens import WordTokens, cuts_at_blanks

# Words that repeat, some of which do not stand alone: their normal form begins with a blank.
WORDS = [
    *("red", "shoe's", "42", "café", "ÉTÉ", "水筒", "a-b", "[SEP]", "…"),
    *("´b", "\u0301x", "\u00a8", "½", "▁b", "x\u200b", "\ufffd"),
]


def byte_level(prefix: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return train(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["[UNK]", "[SEP]"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=["[UNK]", "[SEP]"], show_progress=False
    )
    return train(tokenizer, trainer)


def unigram(splits: bool, scheme: str) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(r"\s+"), " ")
            if splits
            else normalizers.Replace(Regex(" {2,}"), "▁"),
        ]
    )
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    parts = [pre_tokenizers.WhitespaceSplit(), metaspace]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts) if splits else metaspace
    trainer = trainers.UnigramTrainer(
        vocab_size=60, unk_token="[UNK]", special_tokens=["[UNK]", "[SEP]"], show_progress=False
    )
    return train(tokenizer, trainer)


def train(tokenizer: Tokenizer, trainer: object) -> Tokenizer:
    texts = ["a red shoe's box 42 café", "the shoe-box, red & blue", "box of red shoes 2b"] * 4
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": lambda: byte_level(prefix=True),
    "byte-level without a first blank": lambda: byte_level(prefix=False),
    "word piece": word_piece,
    "unigram": lambda: unigram(splits=False, scheme="always"),
    "unigram of split texts": lambda: unigram(splits=True, scheme="first"),
}


def same(actual: Ragged, expected: Ragged) -> bool:
    return np.array_equal(actual.lengths, expected.lengths) and np.array_equal(
        actual.values, expected.values
    )


@pytest.fixture(scope="module", params=KINDS)
def library(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=KINDS[request.param](), sep_token="[SEP]")


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=4)).map(" ".join)))
def test_words_give_the_tokens_of_whole_texts(
    library: PreTrainedTokenizerFast, texts: list[str]
) -> None:
    cleaned = clean_all([*texts, "red"])
    assert cuts_at_blanks(library.backend_tokenizer)
    words = WordTokens(library.backend_tokenizer)

    expected = tokenise(library, cleaned)

    assert same(words.tokenise(cleaned), expected)
    assert same(words.tokenise(cleaned), expected)  # now that the words are known


def test_a_word_is_tokenised_once_until_there_are_too_many(
    library: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []
    encode = word_tokens._encode

    def noted(backend: Tokenizer, texts: list[str]) -> Ragged:
        sent.append(texts)
        return encode(backend, texts)

    monkeypatch.setattr(word_tokens, "_encode", noted)
    monkeypatch.setattr(word_tokens, "_MOST_WORDS", 5)
    words = WordTokens(library.backend_tokenizer)
    for texts in (["red shoe red", "shoe"], ["shoe red", "a b c d e f"], ["red a", "red shoe"]):
        assert same(words.tokenise(texts), tokenise(library, texts))

    # A word behind a blank is another one than at the beginning of a text.
    first, second, third = (set(texts) for texts in sent[::2])
    assert first == {"red", " shoe", " red", "shoe"}
    assert second == {" a", "a", " b", " c", " d", " e", " f"}  # too many to be kept
    assert third == {" a"}


def test_a_maker_gives_the_same_of_few_and_of_many_texts(
    library: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pd.DataFrame({"title": ["a <b>red</b>  shoe", "´b café", "", "red"] * 3})
    expected = tokenise(library, [clean(text) for text in texts["title"]])
    for few in (100, 1):
        monkeypatch.setattr("competition.data.tokenizer.FEW", few)
        assert same(make_token_maker(library)(texts), expected)


def test_a_tokenizer_that_may_read_across_blanks_is_left_alone() -> None:
    # A token that is added can hold a blank.
    added = word_piece()
    added.add_tokens([AddedToken("red shoe")])
    # Without a pre-tokenizer, whole texts are merged.
    whole = byte_level(prefix=True)
    whole.pre_tokenizer = None
    # Blanks are taken out, or put before what had none.
    stripped = word_piece()
    stripped.normalizer = normalizers.Strip()
    replaced = word_piece()
    replaced.normalizer = normalizers.Replace("d ", "d")
    dropping = byte_level(prefix=True)
    dropping.model.dropout = 0.1
    unsplit = unigram(splits=False, scheme="always")
    unsplit.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    for tokenizer in (added, whole, stripped, replaced, dropping, unsplit):
        assert not cuts_at_blanks(tokenizer)
