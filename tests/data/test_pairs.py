"""Token ids of pairs against the tokenizer's own ids of the joined text, and the ids that stand beside them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from competition.data.grams import gram_codes
from competition.data.pairs import Attributes, Pairs, views
from competition.data.ragged import Ragged
from competition.data.text import clean
from competition.data.tokenizer import tokenise
from competition.data.vocabulary import MISSING, RARE, Vocabulary
from competition.models.encoder.encoder import train_tokenizer
from tests.esci import CONTEST, FIELD_ORDERS, FIELDS, LOCALES

LONG = 512  # tokens, more than any pair here has
ARCHITECTURES = ("cross-encoder", "mixture-of-experts", "two-tower", "bi-encoder")
CROSS = views("cross-encoder", "ptbcbd", CONTEST)
Catalogue = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def tokenizer(catalogue: Catalogue) -> Any:
    """A small tokenizer of the built-in catalogue."""
    return train_tokenizer(catalogue[1], vocabulary=1_000)


def texts_read(row: dict[str, str], architecture: str, order: str) -> list[tuple[str, bool]]:
    """The views of a pair as one text each, and whether it has a query's and a product's side.

    Without spaces at the separators, since a space there would be a token of its own.
    """
    fields = FIELD_ORDERS[order]
    read = {
        "cross-encoder": [("query", *fields)],
        "mixture-of-experts": [("query", "title"), ("query", "bullets"), ("query", "description")],
        "two-tower": [("query",), fields],
        "bi-encoder": [("query",), fields],
    }
    names: Any = read[architecture]
    sides = architecture not in ("two-tower", "bi-encoder")
    return [
        ("[CLS]" + "".join(f"{clean(row[name])}[SEP]" for name in view), sides) for view in names
    ]


def one_pair(
    tokenizer: Any, max_length: int = LONG, query: str = "water bottle", **fields: str
) -> Pairs:
    """A single pair; `fields` are the product's texts, none: the catalogue lacks the product."""
    return pair_of(tokenizer, query, fields, max_length=max_length)


def pair_of(
    tokenizer: Any,
    query: str,
    fields: dict[str, str],
    architecture: str = "cross-encoder",
    **more: Any,
) -> Pairs:
    """The same for any architecture; `more` goes to `Pairs.make`."""
    product = {"locale": "us", "product_id": "B1", **dict.fromkeys(FIELDS, ""), **fields}
    example = {
        "example_id": 7,
        "locale": "us",
        "product_id": "B1" if fields else "B2",
        "query": query,
    }
    keys = {"views": views(architecture, "ptbcbd", CONTEST), "max_length": LONG} | more
    return Pairs.make(tokenizer, pd.DataFrame([example]), pd.DataFrame([product]), **keys)


@pytest.mark.parametrize("order", FIELD_ORDERS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ids_are_those_of_the_joined_text(
    architecture: str, order: str, tokenizer: Any, catalogue: Catalogue
) -> None:
    examples, products = catalogue
    pairs = Pairs.make(tokenizer, examples, products, views(architecture, order, CONTEST), LONG)
    rows = examples.merge(products, on=["locale", "product_id"], how="left").to_dict("records")
    assert pairs.example_id.tolist() == examples["example_id"].tolist()
    for i, row in enumerate(rows):
        for view, (text, two_sides) in zip(
            pairs.views, texts_read(row, architecture, order), strict=True
        ):
            ids, first_side = pairs.ids(i, view)
            expected = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert ids.tolist() == expected
            assert first_side == (
                expected.index(tokenizer.sep_token_id) + 1 if two_sides else len(expected)
            )


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("cross-encoder", {*FIELDS}),
        ("mixture-of-experts", {"title", "bullets", "description"}),
        ("two-tower", {*FIELDS}),
    ],
)
def test_only_what_is_read_is_tokenised(
    architecture: str, fields: set[str], tokenizer: Any
) -> None:
    assert set(pair_of(tokenizer, "bottle", {"title": "bottle"}, architecture).fields) == fields


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"bullets": "big"},
            {"cross-encoder": [1], "mixture-of-experts": [0, 1, 0], "two-tower": [0, 1]},
        ),
        (
            {"brand": "Acme"},
            {"cross-encoder": [1], "mixture-of-experts": [0, 0, 0], "two-tower": [0, 1]},
        ),
        (
            {"title": "<br>"},
            {"cross-encoder": [0], "mixture-of-experts": [0, 0, 0], "two-tower": [0, 0]},
        ),
        ({}, {"cross-encoder": [0], "mixture-of-experts": [0, 0, 0], "two-tower": [0, 0]}),
    ],
)
def test_a_view_has_text_where_it_says_something_of_the_product(
    fields: dict[str, str], said: dict[str, list[int]], tokenizer: Any
) -> None:
    for architecture, expected in said.items():
        pairs = pair_of(tokenizer, "water bottle", fields, architecture)
        assert [pairs.has_text(0, view) for view in pairs.views] == expected


def test_ids_are_their_own_text_again(tokenizer: Any) -> None:
    pairs = one_pair(tokenizer, query="Water  Bottle", title="<b>big</b> bottle", color="red")
    words = tokenizer.decode(pairs.ids(0, CROSS[0])[0], clean_up_tokenization_spaces=False)
    assert words.replace(" ", "") == "[CLS]waterbottle[SEP]bigbottle[SEP][SEP]red[SEP][SEP][SEP]"


@pytest.mark.parametrize("max_length", [16, 24, 40])
def test_truncated_pairs_are_cut_from_the_right(
    max_length: int, tokenizer: Any, catalogue: Catalogue
) -> None:
    examples, products = catalogue
    whole, cut = (Pairs.make(tokenizer, examples, products, CROSS, n) for n in (LONG, max_length))
    for i in range(len(cut)):
        (all_ids, _), (ids, query_side) = whole.ids(i, CROSS[0]), cut.ids(i, CROSS[0])
        assert len(ids) == min(len(all_ids), max_length)
        assert ids[-1] == tokenizer.sep_token_id
        assert ids[:-1].tolist() == all_ids[: len(ids) - 1].tolist()
        assert query_side <= len(ids)
    assert (whole.lengths() > max_length).any()


@pytest.mark.parametrize("max_length", [16, 40, LONG])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lengths_are_the_real_lengths(
    architecture: str, max_length: int, tokenizer: Any, catalogue: Catalogue
) -> None:
    examples, products = catalogue
    fewer = products[products.index % 3 != 0]  # so that some rows lack their product
    pairs = Pairs.make(
        tokenizer, examples, fewer, views(architecture, "ptbcbd", CONTEST), max_length
    )
    assert (pairs.product < 0).any()
    assert (pairs.product >= 0).any()
    longest = [max(len(pairs.ids(i, view)[0]) for view in pairs.views) for i in range(len(pairs))]
    np.testing.assert_array_equal(pairs.lengths(), longest)


def test_a_query_longer_than_everything(tokenizer: Any) -> None:
    pairs = one_pair(tokenizer, max_length=16, query="water bottle " * 20, title="bottle")
    ids, query_side = pairs.ids(0, CROSS[0])
    assert (len(ids), query_side) == (16, 16)
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer.sep_token_id not in ids[:-1]
    assert pairs.lengths().tolist() == [16]


def test_a_missing_product_is_the_query_and_separators(tokenizer: Any) -> None:
    ids, query_side = one_pair(tokenizer).ids(0, CROSS[0])
    query = tokenizer("water bottle", add_special_tokens=False)["input_ids"]
    # One separator before each of the five fields and one at the end.
    assert ids.tolist() == [tokenizer.cls_token_id, *query, *[tokenizer.sep_token_id] * 6]
    assert query_side == 1 + len(query) + 1


def test_a_catalogue_without_any_product_of_the_rows(tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    pairs = Pairs.make(tokenizer, examples, products.head(0), CROSS, LONG)
    assert (pairs.product == -1).all()
    assert len(pairs.ids(0, CROSS[0])[0]) == pairs.lengths()[0]


@pytest.mark.parametrize("word", ["[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]"])
def test_a_special_token_in_a_text_is_ordinary_characters(word: str, tokenizer: Any) -> None:
    pairs = one_pair(tokenizer, query=f"bottle {word}", title=f"big {word} bottle", bullets=word)
    ids = pairs.ids(0, CROSS[0])[0].tolist()
    special = set(tokenizer.all_special_ids)
    assert [i for i in ids if i in special] == [
        tokenizer.cls_token_id,
        *[tokenizer.sep_token_id] * 6,
    ]
    spelled = tokenizer.decode([i for i in ids if i not in special])
    assert spelled.count(word.lower()) == 3


def test_each_distinct_text_is_tokenised_once(tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    twice = pd.concat([examples, examples.assign(example_id=examples["example_id"] + 10_000)])
    pairs = Pairs.make(tokenizer, twice, products, CROSS, LONG)
    assert len(pairs) == 2 * len(examples)
    assert len(pairs.queries) == examples["query"].nunique()
    assert {len(texts) for texts in pairs.fields.values()} == {len(products)}
    half = len(examples)
    for i in range(0, half, 7):
        np.testing.assert_array_equal(pairs.ids(i, CROSS[0])[0], pairs.ids(half + i, CROSS[0])[0])


def test_ragged_gives_back_its_sequences() -> None:
    sequences = [[1, 2, 3], [], [4], [5, 6]]
    values = np.array([x for sequence in sequences for x in sequence], np.int32)
    ragged = Ragged(values, np.array([len(sequence) for sequence in sequences]))
    assert len(ragged) == 4
    assert ragged.lengths.tolist() == [3, 0, 1, 2]
    assert [ragged[i].tolist() for i in range(4)] == sequences
    assert Ragged(np.empty(0, np.int32), np.empty(0, np.int64)).begins.tolist() == []


def test_tokenising_in_chunks_changes_nothing(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"bottle {i}" for i in range(25)]
    whole = tokenise(tokenizer, texts, LONG)
    monkeypatch.setattr("competition.data.tokenizer._CHUNK", 10)
    pieces = tokenise(tokenizer, texts, LONG)
    np.testing.assert_array_equal(whole.values, pieces.values)
    np.testing.assert_array_equal(whole.begins, pieces.begins)


# --- attributes ---


def small_vocabulary(*grams: str) -> Vocabulary:
    """Two brands, a color and the given 3-grams: gram k has the id k + 1."""
    return Vocabulary({"brand": ("acme", "zeta"), "color": ("dark red",)}, gram_codes(grams)[0])


def attributes(
    tokenizer: Any, vocabulary: Vocabulary, units: bool = True, **fields: str
) -> Attributes:
    """What is known of a water bottle."""
    actual = pair_of(
        tokenizer, "Water bottle", fields, vocabulary=vocabulary, units=units
    ).attributes
    assert actual is not None
    return actual


@pytest.mark.parametrize(
    ("brand", "expected"),
    [("<b>ACME!</b>", RARE + 1), ("Zeta", RARE + 2), ("Beta", RARE), ("", MISSING), ("-", MISSING)],
)
def test_brands_are_their_place_in_the_vocabulary(
    brand: str, expected: int, tokenizer: Any
) -> None:
    actual = attributes(
        tokenizer, small_vocabulary(), title="bottle", brand=brand, color="Dark  Red"
    )
    # The last entry stands for products that the catalogue lacks.
    assert (actual.names["brand"].tolist(), actual.names["color"].tolist()) == (
        [expected, MISSING],
        [RARE + 1, MISSING],
    )


def test_country_is_the_locale_of_the_row(tokenizer: Any, catalogue: Catalogue) -> None:
    examples, products = catalogue
    pairs = Pairs.make(tokenizer, examples, products.head(0), CROSS, LONG, small_vocabulary())
    assert pairs.attributes is not None
    assert [LOCALES[i] for i in pairs.attributes.country] == examples["locale"].tolist()
    assert pairs.attributes.names["brand"].tolist() == [MISSING]  # no product is listed


def test_each_unit_has_the_grams_of_its_own_texts(tokenizer: Any) -> None:
    vocabulary = small_vocabulary("ter", "ott", "big", "cme", "red", "top")
    fields = {
        "title": "<b>Big</b> bottle",
        "brand": "Acme",
        "color": "red",
        "bullets": "Top!",
        "description": "Water-red",
    }
    actual = attributes(tokenizer, vocabulary, **fields)
    (query,), (product, description) = actual.query_grams, actual.product_grams
    assert query[0].tolist() == [1, 2]  # waTER bOTTle
    assert product[0].tolist() == [3, 2, 4, 5, 6]  # BIG bOTTle aCME RED TOP
    assert description[0].tolist() == [1, 5]  # waTERRED


def test_grams_are_looked_up_for_distinct_texts_and_only_where_they_are_asked_for(
    tokenizer: Any, catalogue: Catalogue
) -> None:
    examples, products = catalogue
    pairs = Pairs.make(
        tokenizer,
        examples,
        products,
        CROSS,
        LONG,
        Vocabulary.make(products, CONTEST.categories),
        units=True,
    )
    assert pairs.attributes is not None
    assert [len(unit) for unit in pairs.attributes.query_grams] == [examples["query"].nunique()]
    assert [len(unit) for unit in pairs.attributes.product_grams] == [len(products)] * 2
    without = attributes(tokenizer, small_vocabulary("ter"), units=False, title="water")
    assert without.query_grams == without.product_grams == ()
    assert one_pair(tokenizer, title="water").attributes is None
