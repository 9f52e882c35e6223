"""The catalogue that pre-training reads: which products, how often, in which blocks, and what is kept for measuring."""

from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pytest

from competition.data.catalogue import (
    HELD_OUT_SHARE,
    IGNORED,
    Catalogue,
    held_out_mask,
    select_products,
)
from competition.data.folds import normalise
from competition.data.grams import gram_codes
from competition.data.text import clean
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import train_tokenizer
from tests.esci import CONTEST, FIELDS, LOCALES

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def tokenizer(catalogue: Tables) -> Any:
    """A small tokenizer of the built-in catalogue."""
    return train_tokenizer(catalogue[1], vocabulary=1_000)


def products(*rows: dict) -> pd.DataFrame:
    """A catalogue of us products B0, B1, …, each read once, with these fields and all others empty."""
    blank = {"locale": "us", **dict.fromkeys(FIELDS, ""), "copies": 1}
    return pd.DataFrame([blank | {"product_id": f"B{i}"} | row for i, row in enumerate(rows)])


def examples(**splits: str) -> pd.DataFrame:
    """Return rows of locale us; `train="B1 B2"` are the products of that split's."""
    rows = [
        {"split": split, "product_id": one}
        for split, listed in splits.items()
        for one in listed.split()
    ]
    return pd.DataFrame(rows, columns=["split", "product_id"]).assign(locale="us")


def documents(tokenizer: Any, rows: pd.DataFrame) -> list[list[int]]:
    """The tokens of each product: locale, fields, [SEP], each read for itself."""
    texts = [
        [row["locale"], *(clean(row[field]) for field in FIELDS)] for row in rows.to_dict("records")
    ]
    read = [
        [tokenizer(part, add_special_tokens=False)["input_ids"] for part in row] for row in texts
    ]
    return [[*chain.from_iterable(parts), tokenizer.sep_token_id] for parts in read]


# --- which products ---


@pytest.mark.parametrize(
    ("test_copies", "copies"),
    [
        (0, {"B1": 1, "B3": 1}),
        (1, {"B1": 1, "B2": 1, "B3": 1}),
        (2, {"B1": 1, "B2": 2, "B3": 2}),
        (5, {"B1": 1, "B2": 5, "B3": 5}),
    ],
)
def test_test_products_are_read_so_many_times(test_copies: int, copies: dict[str, int]) -> None:
    """B1 is a product of training rows, B2 of test rows, B3 of both, B0 and B4 of none."""
    rows = examples(train="B1 B3 B1", test="B3 B2 B2 lost")
    selected = select_products(
        rows, products(*[{"title": "x"}] * 5).drop(columns="copies"), test_copies
    )
    assert dict(zip(selected["product_id"], selected["copies"], strict=True)) == copies
    assert selected.index.tolist() == list(range(len(copies)))


def test_a_product_of_another_locale_is_another_product() -> None:
    listed = products({"product_id": "B1", "locale": "es"}, {"product_id": "B1", "title": "cup"})
    assert select_products(examples(train="B1"), listed, 2)["title"].tolist() == ["cup"]


def test_the_order_of_rows_and_products_does_not_matter(catalogue: Tables) -> None:
    selected = select_products(*catalogue, 2)
    other = select_products(*(table.sample(frac=1, random_state=1) for table in catalogue), 2)
    key = ["locale", "product_id"]
    pd.testing.assert_frame_equal(
        other.sort_values(key, ignore_index=True), selected.sort_values(key, ignore_index=True)
    )


# --- held-out titles ---


def titles(count: int) -> pd.DataFrame:
    return pd.DataFrame({"title": [f"cup {i}" for i in range(count)]})


def test_a_twentieth_of_the_titles_is_held_out() -> None:
    # Two standard deviations of a share of 1/20 among 10,000: 2 * sqrt(.05 * .95 / 10,000) < .005
    assert held_out_mask(titles(10_000)["title"]).mean() == pytest.approx(HELD_OUT_SHARE, abs=0.005)
    assert HELD_OUT_SHARE == 0.05


def test_a_large_catalogue_holds_out_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    all_held = held_out_mask(titles(10_000)["title"])
    monkeypatch.setattr("competition.data.catalogue.HELD_OUT_PRODUCTS", 100)
    held = held_out_mask(titles(10_000)["title"])
    assert held.sum() == pytest.approx(100, abs=20)
    assert not (held & ~all_held).any()


def test_a_title_alone_decides() -> None:
    rows = titles(2_000)
    held = held_out_mask(rows["title"])
    order = np.random.default_rng(1).permutation(2_000)
    assert (held_out_mask(rows.iloc[order]["title"]) == held[order]).all()
    assert (held_out_mask(rows.tail(500)["title"]) == held[-500:]).all()


def test_equal_titles_are_on_the_same_side() -> None:
    same = [lambda i: f"Cup {i}", lambda i: f"cup  <b>{i}</b> ", lambda i: f"ＣＵＰ&nbsp;{i}"]
    sides = [
        held_out_mask(pd.DataFrame({"title": [write(i) for i in range(1_000)]})["title"])
        for write in same
    ]
    assert sides[0].any()
    assert (sides[1] == sides[0]).all()
    assert (sides[2] == sides[0]).all()


def test_a_blank_title_is_not_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("competition.data.catalogue.HELD_OUT_SHARE", 1.0)
    mask = held_out_mask(pd.DataFrame({"title": ["", "  ", "<br>", "&nbsp;", "cup"]})["title"])
    assert mask.tolist() == [False, False, False, False, True]
    assert held_out_mask(pd.DataFrame({"title": []})["title"]).tolist() == []


def test_held_out_titles_are_never_in_the_catalogue(tokenizer: Any) -> None:
    listed = products(*({"title": f"cup {i % 400}", "brand": f"b{i}"} for i in range(1_000)))
    held = held_out_mask(listed["title"])
    made = Catalogue.make(tokenizer, listed[~held], CONTEST, None, seed=1)
    read = [tokenizer.decode(made.fields["title"][i]).strip() for i in range(len(made))]
    kept_back = {normalise(title) for title in listed["title"][held]}
    assert len(read) == 1_000 - held.sum()
    assert kept_back
    assert not kept_back & {normalise(title) for title in read}


# --- blocks ---


@pytest.mark.parametrize("size", [1, 7, 62, 254, 1_000_000])
def test_blocks_cover_the_stream_once(size: int, tokenizer: Any, catalogue: Tables) -> None:
    listed = select_products(*catalogue, 2).sample(30, random_state=1)
    made = Catalogue.make(tokenizer, listed, CONTEST, None, seed=1)
    text = documents(tokenizer, listed)
    stream = [token for product in made.order for token in text[product]]
    numbers = range(made.blocks(size))
    # The last one first: a block does not depend on those before it.
    blocks = [made.block(number, size).tolist() for number in reversed(numbers)][::-1]
    assert list(chain.from_iterable(blocks)) == stream
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert 1 <= len(blocks[-1]) <= size


def test_a_stream_of_whole_blocks_has_no_empty_one(tokenizer: Any) -> None:
    made = Catalogue.make(tokenizer, products(*[{"title": "cup"}] * 6), CONTEST, None, seed=1)
    whole = int(made.ends[-1])
    assert whole % 6 == 0
    assert [made.blocks(whole // n) for n in (1, 2, 3, 6)] == [1, 2, 3, 6]
    assert [made.blocks(whole - 1), made.blocks(whole + 1)] == [2, 1]


def test_each_product_is_in_the_stream_as_often_as_it_is_read(
    tokenizer: Any, catalogue: Tables
) -> None:
    listed = select_products(*catalogue, 3)
    made = Catalogue.make(tokenizer, listed, CONTEST, None, seed=1)
    assert set(listed["copies"]) == {1, 3}
    assert np.bincount(made.order).tolist() == listed["copies"].tolist()


def test_the_seed_orders_the_stream(tokenizer: Any, catalogue: Tables) -> None:
    listed = select_products(*catalogue, 2)
    first, again, other = (
        Catalogue.make(tokenizer, listed, CONTEST, None, seed) for seed in (1, 1, 2)
    )
    assert (first.order == again.order).all()
    assert (first.block(3, 50) == again.block(3, 50)).all()
    assert (first.order != other.order).mean() > 0.9
    assert (np.sort(first.order) == np.sort(other.order)).all()
    assert (first.order != np.sort(first.order)).mean() > 0.9


# --- what is known of a product ---


def test_products_without_text_are_left_out(tokenizer: Any) -> None:
    blank = {"title": "<br>", "brand": " ", "description": "&nbsp;", "copies": 5}
    listed = products(
        blank,
        {"title": "cup", "copies": 2},
        blank,
        {"description": "red", "locale": "jp", "copies": 3},
    )
    made = Catalogue.make(
        tokenizer,
        listed,
        CONTEST,
        Vocabulary({"brand": (), "color": ()}, gram_codes([])[0]),
        seed=1,
    )
    assert len(made) == 2
    assert made.text == ["cup", ""]
    assert [LOCALES[i] for i in made.locale] == ["us", "jp"]
    assert np.bincount(made.order).tolist() == [2, 3]
    assert [
        len(made.categories["brand"]),
        len(made.categories["color"]),
        len(made.fields["title"]),
    ] == [2, 2, 2]
    text = documents(tokenizer, listed.iloc[[1, 3]])
    assert made.block(0, 1_000).tolist() == [
        token for product in made.order for token in text[product]
    ]


def test_a_catalogue_without_products_has_no_blocks(tokenizer: Any) -> None:
    for listed in (products({"title": "<br>"}), products({}).head(0)):
        made = Catalogue.make(tokenizer, listed, CONTEST, None, seed=1)
        assert (len(made), made.blocks(254)) == (0, 0)


def test_queries_are_cut_from_title_brand_and_color(tokenizer: Any) -> None:
    rows = [
        {
            "title": "<b>Red</b>  cup",
            "brand": "Ac&amp;me",
            "color": "Dark red",
            "bullets": "big",
            "description": "so",
        },
        {"title": "cup", "color": "red"},
        {"brand": "Acme"},
        {"bullets": "big"},
    ]
    made = Catalogue.make(tokenizer, products(*rows), CONTEST, None, seed=1)
    assert made.text == ["Red cup Ac&me Dark red", "cup red", "Acme", ""]


def test_no_field_is_cut(tokenizer: Any) -> None:
    long = {field: f"{field} cup " * 500 for field in FIELDS}
    made = Catalogue.make(tokenizer, products(long), CONTEST, None, seed=1)
    assert made.block(0, 10**6).tolist() == documents(tokenizer, products(long))[0]


def test_brands_and_colors_are_classes_from_zero(tokenizer: Any) -> None:
    """Acme is there twice and zeta three times, so zeta is class 0; one that is there once, or missing, is ignored."""
    brands = ["Acme", "<b>ZETA</b>", "once", "", "acme!", "zeta", "zeta", "-"]
    colors = ["red", "", "blue", "Red", "", "", "", "green"]
    listed = products(
        *({"title": "x", "brand": b, "color": c} for b, c in zip(brands, colors, strict=True))
    )
    made = Catalogue.make(
        tokenizer, listed, CONTEST, Vocabulary.make(listed, CONTEST.categories), seed=1
    )
    no = IGNORED
    assert made.categories["brand"].tolist() == [1, 0, no, no, 1, 0, 0, no]
    assert made.categories["color"].tolist() == [0, no, no, 0, no, no, no, no]
    without = Catalogue.make(tokenizer, listed, CONTEST, None, seed=1)
    assert (
        set(without.categories["brand"]) == set(without.categories["color"]) == {IGNORED} == {-100}
    )
    assert len(without.categories["brand"]) == len(without.categories["color"]) == len(listed)
