"""Token ids of pairs against the tokenizer's own ids of the joined text."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from competition.data.text import FIELD_ORDERS, FIELDS, clean
from competition.data.tokens import Pairs, Ragged, tokenise
from competition.model.encoder import train_tokenizer

LONG = 512  # tokens, more than any pair here has
Catalogue = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def tokenizer(catalogue: Catalogue) -> Any:
    """A small tokenizer of the built-in catalogue."""
    return train_tokenizer(catalogue[1], vocabulary=1_000)


def joined(query: str, product: dict[str, str], order: str) -> str:
    """A pair as one text; without spaces at the separators, since a space there would be a token of its own."""
    return "".join(["[CLS]", clean(query), *(f"[SEP]{clean(product[f])}" for f in FIELD_ORDERS[order]), "[SEP]"])


def one_pair(tokenizer: Any, max_length: int = LONG, query: str = "water bottle", **fields: str) -> Pairs:
    """A single pair; `fields` are the product's texts, none: the catalogue lacks the product."""
    product = {"locale": "us", "product_id": "B1", **dict.fromkeys(FIELDS, ""), **fields}
    example = {"example_id": 7, "locale": "us", "product_id": "B1" if fields else "B2", "query": query}
    return Pairs.make(tokenizer, pd.DataFrame([example]), pd.DataFrame([product]), "ptbcbd", max_length)


@pytest.mark.parametrize("order", FIELD_ORDERS)
def test_ids_are_those_of_the_joined_text(order: str, tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    pairs = Pairs.make(tokenizer, examples, products, order, LONG)
    rows = examples.merge(products, on=["locale", "product_id"], how="left").to_dict("records")
    assert pairs.example_id.tolist() == examples["example_id"].tolist()
    for i, row in enumerate(rows):
        ids, query_side = pairs.ids(i)
        expected = tokenizer(joined(row["query"], row, order), add_special_tokens=False)["input_ids"]
        assert ids.tolist() == expected
        assert query_side == expected.index(tokenizer.sep_token_id) + 1


def test_ids_are_their_own_text_again(tokenizer: Any) -> None:
    pairs = one_pair(tokenizer, query="Water  Bottle", title="<b>big</b> bottle", color="red")
    words = tokenizer.decode(pairs.ids(0)[0], clean_up_tokenization_spaces=False)
    assert words.replace(" ", "") == "[CLS]waterbottle[SEP]bigbottle[SEP][SEP]red[SEP][SEP][SEP]"


@pytest.mark.parametrize("max_length", [16, 24, 40])
def test_truncated_pairs_are_cut_from_the_right(max_length: int, tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    whole, cut = (Pairs.make(tokenizer, examples, products, "ptbcbd", n) for n in (LONG, max_length))
    for i in range(len(cut)):
        (all_ids, _), (ids, query_side) = whole.ids(i), cut.ids(i)
        assert len(ids) == min(len(all_ids), max_length)
        assert ids[-1] == tokenizer.sep_token_id
        assert ids[:-1].tolist() == all_ids[: len(ids) - 1].tolist()
        assert query_side <= len(ids)
    assert (whole.lengths() > max_length).any()


@pytest.mark.parametrize("max_length", [16, 40, LONG])
def test_lengths_are_the_real_lengths(max_length: int, tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    fewer = products[products.index % 3 != 0]  # so that some rows lack their product
    pairs = Pairs.make(tokenizer, examples, fewer, "ptbcbd", max_length)
    assert (pairs.product < 0).any() and (pairs.product >= 0).any()
    np.testing.assert_array_equal(pairs.lengths(), [len(pairs.ids(i)[0]) for i in range(len(pairs))])


def test_a_query_longer_than_everything(tokenizer: Any) -> None:
    pairs = one_pair(tokenizer, max_length=16, query="water bottle " * 20, title="bottle")
    ids, query_side = pairs.ids(0)
    assert (len(ids), query_side) == (16, 16)
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer.sep_token_id not in ids[:-1]
    assert pairs.lengths().tolist() == [16]


def test_a_missing_product_is_the_query_and_separators(tokenizer: Any) -> None:
    ids, query_side = one_pair(tokenizer).ids(0)
    query = tokenizer("water bottle", add_special_tokens=False)["input_ids"]
    # One separator before each of the five fields and one at the end.
    assert ids.tolist() == [tokenizer.cls_token_id, *query, *[tokenizer.sep_token_id] * 6]
    assert query_side == 1 + len(query) + 1


def test_a_catalogue_without_any_product_of_the_rows(tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    pairs = Pairs.make(tokenizer, examples, products.head(0), "ptbcbd", LONG)
    assert (pairs.product == -1).all()
    assert len(pairs.ids(0)[0]) == pairs.lengths()[0]


@pytest.mark.parametrize("word", ["[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]"])
def test_a_special_token_in_a_text_is_ordinary_characters(word: str, tokenizer: Any) -> None:
    ids = one_pair(tokenizer, query=f"bottle {word}", title=f"big {word} bottle", bullets=word).ids(0)[0].tolist()
    special = set(tokenizer.all_special_ids)
    assert [i for i in ids if i in special] == [tokenizer.cls_token_id, *[tokenizer.sep_token_id] * 6]
    spelled = tokenizer.decode([i for i in ids if i not in special])
    assert spelled.count(word.lower()) == 3


def test_each_distinct_text_is_tokenised_once(tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    twice = pd.concat([examples, examples.assign(example_id=examples["example_id"] + 10_000)])
    pairs = Pairs.make(tokenizer, twice, products, "ptbcbd", LONG)
    assert len(pairs) == 2 * len(examples)
    assert len(pairs.queries.offsets) - 1 == examples["query"].nunique()
    assert len(pairs.fields[0].offsets) - 1 == len(products)
    half = len(examples)
    for i in range(0, half, 7):
        np.testing.assert_array_equal(pairs.ids(i)[0], pairs.ids(half + i)[0])


def test_ragged_gives_back_its_sequences() -> None:
    sequences = [[1, 2, 3], [], [4], [5, 6]]
    values = np.array([x for sequence in sequences for x in sequence], np.int32)
    ragged = Ragged(values, np.array([len(sequence) for sequence in sequences]))
    assert [ragged[i].tolist() for i in range(4)] == sequences
    assert Ragged(np.empty(0, np.int32), np.empty(0, np.int64)).offsets.tolist() == [0]


def test_tokenising_in_chunks_changes_nothing(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"bottle {i}" for i in range(25)]
    whole = tokenise(tokenizer, texts, LONG)
    monkeypatch.setattr("competition.data.tokens._CHUNK", 10)
    pieces = tokenise(tokenizer, texts, LONG)
    np.testing.assert_array_equal(whole.values, pieces.values)
    np.testing.assert_array_equal(whole.offsets, pieces.offsets)
