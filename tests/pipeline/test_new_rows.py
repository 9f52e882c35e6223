"""Rows that belong to no workspace: what is read of them, and what is refused with which sentence."""

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import InputError
from competition.pipeline.new_rows import NewRows, from_python, read_map
from tests.esci import CONTEST, EXAMPLE_COLUMNS, PRODUCT_COLUMNS

ROWS = pd.DataFrame(
    {
        "query": ["usb cable", "usb cable", "café", "usb cable", "usb cable"],
        "product_title": ["USB cable", "Hose", "Café molido", "USB cable", "USB cable"],
        "product_locale": ["us", "us", "es", "us", "es"],
    }
)


def refused(table: pd.DataFrame) -> str:
    """The sentence that rows are refused with."""
    with pytest.raises(InputError) as error:
        NewRows.make(table, "FILE", CONTEST)
    return str(error.value)


def test_each_distinct_pair_is_there_once_and_each_row_knows_its_own() -> None:
    rows = NewRows.make(ROWS, "FILE", CONTEST, first_id=-5)
    assert tuple(rows.examples) == EXAMPLE_COLUMNS
    assert tuple(rows.products) == PRODUCT_COLUMNS
    # The fourth row repeats the first, the fifth has another locale.
    assert rows.of_row.tolist() == [0, 1, 2, 0, 3]
    assert rows.examples["example_id"].tolist() == [-5, -4, -3, -2]
    # One list of candidates per locale and query.
    assert rows.examples["query_id"].tolist() == [0, 0, 1, 2]
    joined = rows.examples.merge(rows.products, on=["locale", "product_id"]).iloc[rows.of_row]
    assert joined["title"].tolist() == ROWS["product_title"].tolist()
    assert (rows.examples["split"] == "test").all()
    assert rows.examples["label"].isna().all()


def test_products_that_differ_in_any_field_or_in_their_id_are_different() -> None:
    table = pd.DataFrame(
        {"query": "q", "product_title": ["t"] * 4, "product_brand": ["", None, "b", "b"]}
    )
    assert NewRows.make(table, "FILE", CONTEST).of_row.tolist() == [0, 0, 1, 1]
    with_ids = NewRows.make(table.assign(product_id=["1", "1", "1", "2"]), "FILE", CONTEST)
    assert with_ids.of_row.tolist() == [0, 0, 1, 2]


def test_columns_may_be_called_as_in_a_workspace_and_numbers_are_text() -> None:
    table = pd.DataFrame(
        {"query": [501, 502], "title": [1, 2], "locale": ["jp", ""], "bullets": [None, "  "]}
    )
    rows = NewRows.make(table, "FILE", CONTEST, locale="es")
    assert rows.examples["query"].tolist() == ["501", "502"]
    assert rows.products["title"].tolist() == ["1", "2"]
    assert rows.products["locale"].tolist() == ["jp", "es"]  # the locale of rows that name none
    assert rows.products["bullets"].tolist() == ["", ""]


def test_what_is_missing_is_said() -> None:
    table = pd.DataFrame(
        {"query": ["a", "b"], "product_title": ["t", " "], "product_description": [None, ""]}
    )
    assert NewRows.make(table, "FILE", CONTEST).remarks == (
        "FILE has no product_brand, product_color, product_bullet_point: what is missing is read as empty.",
        "FILE: 1 of 2 rows say nothing of their product.",
    )


def test_rows_that_cannot_be_answered_are_refused_by_name() -> None:
    assert refused(ROWS.head(0)) == "FILE has no rows."
    assert (
        refused(ROWS.drop(columns="query"))
        == "FILE lacks the column 'query': it has product_title, product_locale; say which it is with "
        "`--map query=COLUMN`."
    )
    assert "lacks the column 'product_title'" in refused(ROWS.drop(columns="product_title"))
    spelled = "FILE: the column 'Query' is to be written 'query'."
    assert refused(ROWS.rename(columns={"query": "Query"})) == spelled
    assert "'TITLE' is to be written 'title'" in refused(
        ROWS.rename(columns={"product_title": "TITLE"})
    )
    assert "'Brand' is to be written 'brand'" in refused(
        ROWS.assign(Brand="b")
    )  # else it would be read as empty
    # A query of blanks alone says nothing, nor does one of zero-width characters that NFKC keeps as
    # they are.
    blank = ROWS.assign(query=["a", " \u3000", "", "b", None])
    assert refused(blank).startswith("FILE: row 2 has an empty query (3 such rows)")
    assert refused(ROWS.assign(product_locale="uk")) == (
        "FILE: row 1 has the unknown locale 'uk': known are us, es, jp."
    )
    with pytest.raises(InputError, match=r"^There is no locale 'fr': known are us, es, jp\.$"):
        NewRows.make(ROWS, "FILE", CONTEST, locale="fr")
    assert "row 1 holds bytes in 'query'" in refused(ROWS.assign(query=[b"a"] * 5))
    assert "row 3 holds list in 'product_title'" in refused(
        ROWS.assign(product_title=["a", "b", ["c"], "d", "e"])
    )
    assert "half a character" in refused(from_python("a", ["x", "\ud83d"], CONTEST))


def test_python_gives_one_query_per_product_or_one_for_all() -> None:
    assert from_python("a", ["x", "y"], CONTEST)["query"].tolist() == ["a", "a"]
    frame = pd.DataFrame({"product_title": ["x", "y"], "product_brand": ["b", "c"]}, index=[7, 3])
    table = from_python(["a", "b"], frame, CONTEST)
    assert table["query"].tolist() == ["a", "b"]
    assert table["product_brand"].tolist() == ["b", "c"]
    with pytest.raises(InputError, match="There are 1 query and 2 products"):
        from_python(["a"], ["x", "y"], CONTEST)


def test_ids_follow_the_rows_in_their_order() -> None:
    rows = NewRows.make(ROWS.iloc[::-1], "FILE", CONTEST)
    assert np.array_equal(rows.examples["example_id"], np.arange(4))


def test_other_column_names_are_mapped_and_unread_ones_known() -> None:
    table = pd.DataFrame(
        {"search": ["usb"], "name": ["USB cable"], "product_titel": ["x"], "sku": [7]}
    )
    rows = NewRows.make(
        table, "FILE", CONTEST, called=read_map(["query=search", "product_title=name"], CONTEST)
    )
    assert rows.examples["query"].tolist() == ["usb"]
    assert rows.products["title"].tolist() == ["USB cable"]
    assert rows.unread == ("product_titel", "sku")
    assert "product_brand" in rows.remarks[0]
    assert "lacks the column 'serch' (did you mean 'search'?)" in refusal_of_map(
        table, "query=serch"
    )
    for pairs, words in (
        (["query"], "names no column"),
        (["qury=a"], "did you mean 'query'"),
        (["title=a"] * 2, "twice"),
    ):
        with pytest.raises(InputError, match=words):
            read_map(pairs, CONTEST)


def refusal_of_map(table: pd.DataFrame, pair: str) -> str:
    with pytest.raises(InputError) as error:
        NewRows.make(table, "FILE", CONTEST, called=read_map([pair], CONTEST))
    return str(error.value)


def test_rows_of_a_workspace_are_recognised_by_locale_query_and_title() -> None:
    examples = pd.DataFrame(
        {"query": ["USB  Cable", "hose"], "locale": "us", "product_id": ["1", "2"]}
    )
    products = pd.DataFrame(
        {"product_id": ["1", "2"], "locale": "us", "title": ["USB cable", "Hose"]}
    )
    known = NewRows.make(ROWS, "FILE", CONTEST).among(examples, products)
    assert known.tolist() == [True, False, False, True, False]


def test_text_where_a_list_is_meant_is_refused() -> None:
    for products in ("USB cable", b"USB", {"product_title": ["USB"]}):
        with pytest.raises(InputError, match="where a list is expected"):
            from_python("usb", products, CONTEST)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="The queries are a bytes"):
        from_python(b"usb", ["x", "y", "z"], CONTEST)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'product_brand' holds double"):
        NewRows.make(
            from_python(
                "usb",
                pd.DataFrame({"product_title": ["a", "b"], "product_brand": [501, None]}),
                CONTEST,
            ),
            "X",
            CONTEST,
        )
