"""BM25 by hand, from the products of training rows alone."""

import numpy as np
import pandas as pd
import pytest

from competition.models.lexical.bm25 import TextIndex, bm25_features
from tests.esci import CONTEST

Catalogue = tuple[pd.DataFrame, pd.DataFrame]


def two_documents() -> Catalogue:
    """One query and two products: titles of 3 and 5 words, one of them with 2 words of other text."""
    examples = pd.DataFrame({"example_id": [1, 2], "product_id": ["A", "B"]})
    examples = examples.assign(query_id=5, query="red shoes", locale="us", split="train")
    products = pd.DataFrame(
        {"product_id": ["A", "B"], "title": ["red red shoes", "blue hat with red band"]}
    )
    return examples, products.assign(
        locale="us", brand="", color="", bullets=["", "two shoes"], description=""
    )


def score(idf: float, times: int, length: int, mean_length: float) -> float:
    """What a word that a document has some times adds (k1 1.2, b 0.75)."""
    return idf * times * (1.2 + 1) / (times + 1.2 * (1 - 0.75 + 0.75 * length / mean_length))


def test_values_by_hand() -> None:
    found = bm25_features(*two_documents(), CONTEST)
    # Two documents; both titles have "red", one has "shoes". Together with the other text both have
    # both.
    in_both, in_one = np.log(1 + (2 - 2 + 0.5) / (2 + 0.5)), np.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    title_a = score(in_both, 2, 3, (3 + 5) / 2) + score(in_one, 1, 3, (3 + 5) / 2)
    title_b = score(in_both, 1, 5, (3 + 5) / 2)
    assert found["bm25_title"].tolist() == pytest.approx([title_a, title_b])
    all_a = score(in_both, 2, 3, (3 + 7) / 2) + score(in_both, 1, 3, (3 + 7) / 2)
    all_b = score(in_both, 1, 7, (3 + 7) / 2) * 2
    assert found["bm25_all"].tolist() == pytest.approx([all_a, all_b])
    assert found["bm25_title_rank"].tolist() == [1, 0.5]
    assert found["bm25_title_relative"].tolist() == pytest.approx(
        [(title_a - title_b) / 2, (title_b - title_a) / 2]
    )


def test_a_word_counts_once_however_often_the_query_says_it() -> None:
    examples, products = two_documents()
    often = examples.assign(query="red shoes red red")
    pd.testing.assert_frame_equal(
        bm25_features(often, products, CONTEST), bm25_features(examples, products, CONTEST)
    )


def test_words_that_no_document_has_add_nothing() -> None:
    examples, products = two_documents()
    found = bm25_features(examples.assign(query="green umbrella"), products, CONTEST)
    assert found[["bm25_title", "bm25_all"]].to_numpy().tolist() == [[0, 0], [0, 0]]


def test_test_products_are_scored_by_the_words_of_training_products() -> None:
    examples, products = two_documents()
    found = bm25_features(examples.assign(split=["train", "test"]), products, CONTEST)
    # One document of 3 words is known, and has both words of the query.
    idf = np.log(1 + (1 - 1 + 0.5) / (1 + 0.5))
    assert found["bm25_title"].tolist() == pytest.approx(
        [score(idf, 2, 3, 3) + score(idf, 1, 3, 3), score(idf, 1, 5, 3)]
    )


def test_texts_are_found_by_the_words_they_share_the_rarest_first() -> None:
    texts = ["red lamp", "red shoe", "Red shoes of LEATHER", "", "lamp"]
    index = TextIndex(texts)
    # Lamp and red are in two each, and the shorter text is the better one; no other has a word.
    assert index.search("Lamp RED", 9) == [0, 4, 1, 2]
    assert index.search("lamp red", 2) == [0, 4]
    assert index.search("leather", 9) == [2]
    assert index.search("umbrella", 9) == []
