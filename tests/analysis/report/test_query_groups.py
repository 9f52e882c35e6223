"""Each query is in one group of every grouping, by what its text and its products hold."""

import pandas as pd

from competition.analysis.report.query_groups import group_queries, what_queries_hold
from competition.data import synthetic
from competition.data.store import product_rows
from tests.esci import CONTEST

QUERIES = {
    1: ("running shoes without laces", "acme", "red"),
    2: ("Acme 42 shoes", "ACME", "red"),
    3: ("dark red shoes", "acme", "Dark  Red"),
    4: ("acmestyle 42", "acme", "red"),  # a part of a word is no brand
    5: ("shoes", "", "red"),
    6: ("\u9774\u306a\u3057", "acme", "red"),  # Japanese: shoes, none
    7: ("\u8d64\u3044\u9774", "acme", "\u8d64\u3044"),  # Japanese: red shoes
}


def rows_of() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per query, and its product."""
    rows = pd.DataFrame(
        [(i, i, text, "us", f"P{i}", i % 2) for i, (text, *_) in QUERIES.items()],
        columns=["example_id", "query_id", "query", "locale", "product_id", "fold"],
    )
    products = pd.DataFrame(
        [("us", f"P{i}", brand, color) for i, (_, brand, color) in QUERIES.items()],
        columns=["locale", "product_id", "brand", "color"],
    )
    return rows, products


def test_a_query_holds_the_first_that_fits() -> None:
    rows, products = rows_of()
    held = what_queries_hold(rows, CONTEST, products, product_rows(rows, products))
    assert held.to_dict() == {
        1: "a negation",
        2: "a brand",
        3: "a color",
        4: "a number",
        5: "none of these",
        6: "a negation",
        7: "a color",
    }


def test_rows_without_a_product_hold_no_name_of_one() -> None:
    rows, products = rows_of()
    held = what_queries_hold(
        rows, CONTEST, products.iloc[:1], product_rows(rows, products.iloc[:1])
    )
    assert held[2] == "a number"
    assert held[3] == "none of these"


def test_every_query_is_in_one_group_of_each_grouping() -> None:
    examples, products, _ = synthetic.make(30, noise=0.0, seed=1)
    rows = examples.assign(fold=examples["query_id"] % 3)
    position = product_rows(rows, products)
    groups = group_queries(rows, "query_id", CONTEST, products, position)
    for by, group in groups.items():
        assert sorted(group.index) == sorted(rows["query_id"].unique()), by
        assert group.notna().all(), by
    depth = rows.groupby("query_id").size()
    deep = groups["products of the query"] == "20+"
    assert deep.to_dict() == (depth >= 20).to_dict()

    by_rows = group_queries(rows, "example_id", CONTEST, products, position)
    fold = rows.set_index("example_id")["fold"].map("fold {}".format)
    assert by_rows["fold"].astype(object).to_dict() == fold.to_dict()
